-- 0001 pre: the first schema. Runs the same on TimescaleDB (both editions) and on plain PostgreSQL >= 15;
-- what only TimescaleDB has (hypertables) is added by timescale.sql, found at start.

CREATE TABLE area (
    area_id text PRIMARY KEY,
    parent text REFERENCES area,
    level text NOT NULL CHECK (level IN ('city', 'county', 'town')),
    en text NOT NULL,
    zh text NOT NULL
);

CREATE TABLE site (
    site_id text PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    kind text NOT NULL,
    en text NOT NULL,
    zh text NOT NULL,
    lon double precision NOT NULL CHECK (lon BETWEEN -180 AND 180),
    lat double precision NOT NULL CHECK (lat BETWEEN -90 AND 90),
    external_id text,
    grid_cell text,
    target_class smallint CHECK (target_class BETWEEN 1 AND 5),
    demo boolean NOT NULL DEFAULT false
);

CREATE TABLE device (
    device_id text PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    kind text NOT NULL,
    status jsonb,
    status_received timestamptz
);

CREATE TABLE series (
    series_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id text NOT NULL REFERENCES site,
    quantity text NOT NULL,
    interval_s double precision NOT NULL CHECK (interval_s > 0),
    limits jsonb NOT NULL DEFAULT '{}',
    UNIQUE (site_id, quantity)
);

CREATE TABLE channel (
    device_id text NOT NULL REFERENCES device,
    name text NOT NULL,
    series_id integer NOT NULL REFERENCES series,
    PRIMARY KEY (device_id, name)
);

CREATE TABLE node (
    node_id text PRIMARY KEY,
    network text NOT NULL CHECK (network IN ('river', 'road')),
    area_id text NOT NULL REFERENCES area,
    kind text NOT NULL,
    en text NOT NULL,
    zh text NOT NULL,
    lon double precision NOT NULL,
    lat double precision NOT NULL,
    site_id text REFERENCES site
);

CREATE TABLE link (
    link_id text PRIMARY KEY,
    network text NOT NULL CHECK (network IN ('river', 'road')),
    from_node text NOT NULL REFERENCES node,
    to_node text NOT NULL REFERENCES node,
    en text NOT NULL,
    zh text NOT NULL,
    length_m double precision NOT NULL CHECK (length_m > 0),
    speed_m_s double precision NOT NULL CHECK (speed_m_s > 0),
    lanes smallint,
    coordinates jsonb NOT NULL DEFAULT '[]'
);

-- One row: grows with every enrolment, so that every process knows when to read the directory again.
CREATE TABLE directory_version (version bigint NOT NULL);
INSERT INTO directory_version VALUES (0);

-- Readings are never updated in place. expected and spread are NaN where the judge could not say.
CREATE TABLE reading (
    "time" timestamptz NOT NULL,
    received timestamptz NOT NULL,
    value double precision NOT NULL,
    series_id integer NOT NULL,
    expected real NOT NULL,
    spread real NOT NULL,
    quality smallint NOT NULL,
    rules smallint NOT NULL,
    PRIMARY KEY (series_id, "time")
);

-- Flags that later evidence changed.
CREATE TABLE flag_revision (
    series_id integer NOT NULL,
    "time" timestamptz NOT NULL,
    quality smallint NOT NULL,
    rules smallint NOT NULL,
    revised timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (series_id, "time")
);

CREATE TABLE latest (
    series_id integer PRIMARY KEY REFERENCES series,
    "time" timestamptz NOT NULL,
    received timestamptz NOT NULL,
    value double precision NOT NULL,
    expected real NOT NULL,
    spread real NOT NULL,
    quality smallint NOT NULL,
    rules smallint NOT NULL
) WITH (fillfactor = 50);

CREATE SEQUENCE anomaly_revision;

CREATE TABLE anomaly (
    anomaly_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    revision bigint NOT NULL DEFAULT nextval('anomaly_revision'),
    subject text NOT NULL,
    site_id text NOT NULL REFERENCES site,
    series_id integer REFERENCES series,
    device_id text REFERENCES device,
    detector text NOT NULL,
    version text NOT NULL,
    start timestamptz NOT NULL,
    "end" timestamptz,
    peak timestamptz NOT NULL,
    observed double precision,
    expected double precision,
    spread double precision,
    score double precision NOT NULL,
    severity smallint NOT NULL CHECK (severity BETWEEN 1 AND 3),
    n_readings integer NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'closed', 'withdrawn')),
    reason_en text NOT NULL,
    reason_zh text NOT NULL,
    evidence jsonb NOT NULL DEFAULT '{}',
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    UNIQUE (subject, start)
);
CREATE INDEX anomaly_by_start ON anomaly (start DESC, anomaly_id DESC);
CREATE INDEX anomaly_by_site ON anomaly (site_id, start DESC);
CREATE INDEX anomaly_by_series ON anomaly (series_id, start DESC);
CREATE INDEX anomaly_by_revision ON anomaly (revision);
CREATE INDEX anomaly_open ON anomaly (site_id) WHERE state = 'open';

CREATE TABLE detector_state (
    shard text PRIMARY KEY,
    version integer NOT NULL,
    payload bytea NOT NULL,
    saved timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE dead_letter (
    letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received timestamptz NOT NULL,
    topic text NOT NULL,
    payload bytea NOT NULL,
    content_type text,
    properties jsonb NOT NULL DEFAULT '{}',
    reason text NOT NULL,
    detail text NOT NULL
);

-- min, max and mean are over good readings (flag 1 or 2); count is over all.
CREATE TABLE rollup_1min (
    series_id integer NOT NULL,
    bucket timestamptz NOT NULL,
    count integer NOT NULL,
    good integer NOT NULL,
    min double precision,
    max double precision,
    mean double precision,
    PRIMARY KEY (series_id, bucket)
);
CREATE TABLE rollup_1h (LIKE rollup_1min INCLUDING ALL);

-- Written by the pipeline with each batch, emptied by the service: hours whose rollups are out of date.
CREATE TABLE rollup_due (
    series_id integer NOT NULL,
    hour timestamptz NOT NULL
);
