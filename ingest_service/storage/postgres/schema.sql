-- The whole schema, as the sum of the migrations (a test proves it). To read; databases are made by the migrations.

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

-- 0002 pre: what people and programs read. The gateway and Grafana see these, never the tables.

CREATE VIEW series_view AS
SELECT
    s.series_id, s.quantity, s.interval_s, s.site_id,
    site.kind AS site_kind, site.en AS site_en, site.zh AS site_zh, site.lon, site.lat, site.target_class,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh,
    county.area_id AS county_id, county.en AS county_en, county.zh AS county_zh,
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh
FROM series AS s
JOIN site USING (site_id)
JOIN area AS town ON town.area_id = site.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent;

-- Readings with revised flags; lower and upper are the expected band of three robust standard deviations.
CREATE VIEW reading_judged AS
SELECT
    r.series_id, r."time", r.received, r.value,
    coalesce(v.quality, r.quality) AS quality,
    coalesce(v.rules, r.rules) AS rules,
    nullif(r.expected, 'NaN') AS expected,
    nullif(r.spread, 'NaN') AS spread,
    nullif(r.expected - 3 * r.spread, 'NaN') AS lower,
    nullif(r.expected + 3 * r.spread, 'NaN') AS upper
FROM reading AS r
LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time";

CREATE VIEW latest_judged AS
SELECT
    l.series_id, l."time", l.received, l.value,
    coalesce(v.quality, l.quality) AS quality,
    coalesce(v.rules, l.rules) AS rules,
    nullif(l.expected, 'NaN') AS expected,
    nullif(l.spread, 'NaN') AS spread,
    nullif(l.expected - 3 * l.spread, 'NaN') AS lower,
    nullif(l.expected + 3 * l.spread, 'NaN') AS upper
FROM latest AS l
LEFT JOIN flag_revision AS v ON v.series_id = l.series_id AND v."time" = l."time";

CREATE VIEW anomaly_view AS
SELECT
    a.anomaly_id, a.revision, a.subject, a.site_id, a.series_id, a.device_id, a.detector, a.version,
    a.start, a."end", a.peak, a.observed, a.expected, a.spread, a.score, a.severity, a.n_readings, a.state,
    a.reason_en, a.reason_zh, a.evidence, a.created, a.updated,
    s.quantity,
    site.kind AS site_kind, site.en AS site_en, site.zh AS site_zh, site.lon, site.lat,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh,
    county.area_id AS county_id, county.en AS county_en, county.zh AS county_zh,
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh
FROM anomaly AS a
JOIN site USING (site_id)
JOIN area AS town ON town.area_id = site.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent
LEFT JOIN series AS s ON s.series_id = a.series_id;

CREATE VIEW device_view AS
SELECT
    d.device_id, d.area_id, d.kind,
    (d.status ->> 'online')::boolean AS online,
    (d.status ->> 'spool_depth')::bigint AS spool_depth,
    d.status ->> 'agent' AS agent,
    d.status_received,
    max(l."time") AS measured, max(l.received) AS received
FROM device AS d
LEFT JOIN channel AS c USING (device_id)
LEFT JOIN latest AS l USING (series_id)
GROUP BY d.device_id;

CREATE VIEW dead_letter_view AS
SELECT letter_id, received, topic, length(payload) AS bytes, reason, detail FROM dead_letter;

CREATE VIEW link_view AS
SELECT
    k.link_id, k.network, k.en, k.zh, k.length_m, k.speed_m_s, k.lanes, k.coordinates,
    k.from_node, a.lon AS from_lon, a.lat AS from_lat, a.site_id AS from_site,
    k.to_node, b.lon AS to_lon, b.lat AS to_lat, b.site_id AS to_site
FROM link AS k
JOIN node AS a ON a.node_id = k.from_node
JOIN node AS b ON b.node_id = k.to_node;

CREATE VIEW rollup_1min_view AS SELECT * FROM rollup_1min;
CREATE VIEW rollup_1h_view AS SELECT * FROM rollup_1h;

-- 0003 pre: group roles, one a room; where the migrating user may not make roles, this does nothing.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['towntwin_ingest', 'towntwin_analytics', 'towntwin_gateway', 'towntwin_grafana'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    END LOOP;
    GRANT SELECT ON area, site, device, series, channel, node, link, directory_version
        TO towntwin_ingest, towntwin_analytics, towntwin_gateway;
    GRANT SELECT, INSERT, UPDATE ON reading, flag_revision, latest, anomaly, detector_state TO towntwin_ingest;
    GRANT SELECT, INSERT ON dead_letter, rollup_due TO towntwin_ingest;
    GRANT UPDATE ON device TO towntwin_ingest;
    GRANT USAGE ON SEQUENCE anomaly_revision TO towntwin_ingest, towntwin_analytics;
    GRANT SELECT ON reading, flag_revision, latest TO towntwin_analytics;
    GRANT SELECT, INSERT, UPDATE ON anomaly, rollup_1min, rollup_1h TO towntwin_analytics;
    GRANT SELECT, DELETE ON rollup_due TO towntwin_analytics;
    GRANT DELETE ON rollup_1min, rollup_1h TO towntwin_analytics;
    GRANT SELECT ON reading, flag_revision, latest, anomaly, dead_letter, rollup_1min, rollup_1h, rollup_due
        TO towntwin_gateway;
    GRANT SELECT ON series_view, reading_judged, latest_judged, anomaly_view, device_view, dead_letter_view,
        link_view, rollup_1min_view, rollup_1h_view TO towntwin_gateway, towntwin_grafana;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0004 pre: owners of shards, dead letters that are worked, clocks of devices, readings to be judged again.

-- The epoch fences: a process that lost its shard finds another epoch here, and its commit is refused.
CREATE TABLE shard (
    shard text PRIMARY KEY,
    epoch bigint NOT NULL,
    taken timestamptz NOT NULL DEFAULT now()
);

-- Device clock less platform clock, ahead positive [s].
ALTER TABLE device ADD COLUMN clock_offset_s double precision;

-- digest: of a message that has a place in a spool, so that a second delivery is no second letter.
ALTER TABLE dead_letter
    ADD COLUMN digest bytea UNIQUE,
    ADD COLUMN state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'replay')),
    ADD COLUMN replays integer NOT NULL DEFAULT 0;
CREATE INDEX dead_letter_to_replay ON dead_letter (letter_id) WHERE state = 'replay';

-- Written by the pipeline, emptied by the service: since when a series got late readings.
CREATE TABLE rejudge_due (
    series_id integer PRIMARY KEY,
    since timestamptz NOT NULL
);

CREATE OR REPLACE VIEW device_view AS
SELECT
    d.device_id, d.area_id, d.kind,
    (d.status ->> 'online')::boolean AS online,
    (d.status ->> 'spool_depth')::bigint AS spool_depth,
    d.status ->> 'agent' AS agent,
    d.status_received,
    max(l."time") AS measured, max(l.received) AS received,
    d.clock_offset_s
FROM device AS d
LEFT JOIN channel AS c USING (device_id)
LEFT JOIN latest AS l USING (series_id)
GROUP BY d.device_id;

CREATE OR REPLACE VIEW dead_letter_view AS
SELECT letter_id, received, topic, length(payload) AS bytes, reason, detail, state, replays FROM dead_letter;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON shard, rejudge_due TO towntwin_ingest, towntwin_analytics;
    GRANT SELECT, UPDATE, DELETE ON dead_letter TO towntwin_ingest, towntwin_gateway;
    GRANT DELETE ON rejudge_due TO towntwin_analytics;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0005 pre: what the roles lacked for doing their rooms' work.
DO $$
BEGIN
    IF to_regclass('schema_migration') IS NOT NULL THEN
        GRANT SELECT ON schema_migration TO towntwin_ingest, towntwin_analytics, towntwin_gateway;
    END IF;
    GRANT UPDATE ON rollup_due TO towntwin_analytics;
    GRANT SELECT ON reading_judged, latest_judged TO towntwin_analytics;
    GRANT SELECT ON shard, rejudge_due TO towntwin_gateway;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0006 pre: what is judged again, and what operators say of anomalies.

-- until: the newest late reading; readings: how many came; due: not judged again before.
ALTER TABLE rejudge_due
    ADD COLUMN until timestamptz,
    ADD COLUMN readings bigint NOT NULL DEFAULT 1,
    ADD COLUMN due timestamptz NOT NULL DEFAULT now();
UPDATE rejudge_due SET until = since;
ALTER TABLE rejudge_due ALTER COLUMN until SET NOT NULL;

-- An anomaly has one standing verdict at most; what was withdrawn or replaced stays on record.
CREATE TABLE feedback (
    feedback_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    anomaly_id bigint NOT NULL REFERENCES anomaly,
    verdict text NOT NULL CHECK (verdict IN ('false-alarm', 'confirmed')),
    who text NOT NULL,
    note text NOT NULL,
    "at" timestamptz NOT NULL DEFAULT now(),
    withdrawn timestamptz,
    withdrawn_by text,
    withdrawn_note text
);
CREATE UNIQUE INDEX feedback_standing ON feedback (anomaly_id) WHERE withdrawn IS NULL;
CREATE INDEX feedback_by_anomaly ON feedback (anomaly_id, feedback_id);

DO $$
BEGIN
    GRANT INSERT, UPDATE ON flag_revision TO towntwin_analytics;
    GRANT INSERT ON rollup_due TO towntwin_analytics;
    GRANT SELECT ON feedback TO towntwin_ingest, towntwin_analytics, towntwin_gateway;
    GRANT INSERT, UPDATE ON feedback TO towntwin_gateway;
    GRANT UPDATE ON directory_version TO towntwin_gateway;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0008 pre: who may come in, what was done, and the wall that keeps each area's rows its own.

-- hash: argon2 of the secret. area_id NULL is everything; scopes empty are all that the role may.
CREATE TABLE api_key (
    key_id text PRIMARY KEY,
    name text NOT NULL,
    hash text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'operator', 'engineer', 'administrator')),
    scopes text[] NOT NULL DEFAULT '{}',
    area_id text REFERENCES area,
    loopback boolean NOT NULL DEFAULT false,
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires timestamptz,
    revoked timestamptz,
    revoked_by text,
    last_used timestamptz
);

-- area: what the one who did it was bound to; NULL is everything.
CREATE TABLE audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "at" timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL,
    name text NOT NULL,
    areas text[],
    action text NOT NULL,
    target text NOT NULL,
    address text NOT NULL,
    status smallint NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_by_who ON audit (who, audit_id DESC);

CREATE FUNCTION audit_stands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only: its lines are neither changed nor deleted' USING ERRCODE = '42501';
END
$$;
CREATE TRIGGER audit_stands BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stands();

-- Areas of the scope that a transaction has set (towntwin.area: names joined by commas, * is everything), with all
-- below them. Without a scope, none: who forgets to set one sees nothing.
CREATE FUNCTION area_seen() RETURNS SETOF text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH RECURSIVE seen AS (
        SELECT a.area_id FROM area AS a
        WHERE current_setting('towntwin.area', true) = '*'
            OR a.area_id = ANY (string_to_array(current_setting('towntwin.area', true), ','))
        UNION
        SELECT a.area_id FROM area AS a JOIN seen ON a.parent = seen.area_id
    )
    SELECT area_id FROM seen
$$;

-- Run as whoever asks, so the wall of series holds here.
CREATE FUNCTION series_seen() RETURNS SETOF integer LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT series_id FROM series
$$;

-- Put a table behind the wall: the gateway sees and writes only rows that meet a condition, everybody else as before.
-- Whoever sees everything is asked once a statement, not once a row.
CREATE PROCEDURE wall(walled regclass, condition text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', walled);
    EXECUTE format('CREATE POLICY everybody ON %s USING (true)', walled);
    EXECUTE format('CREATE POLICY wall ON %s AS RESTRICTIVE TO towntwin_gateway '
        'USING ((SELECT current_setting(''towntwin.area'', true) = ''*'') OR %s)', walled, condition);
END
$$;

-- Row-level security would keep TimescaleDB from compressing readings and from rolling them up, so these are seen
-- through views that have the wall in them. The schema "walled" has one of the same name for each, and a copy of every
-- view that stands on walled tables; the gateway's transactions look there first. To be called again by a migration
-- that changes a view.
CREATE PROCEDURE wall_views() LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
    path text := current_setting('search_path');
    base text;
    kind text;
    copied text[];
BEGIN
    DROP SCHEMA IF EXISTS walled CASCADE;
    CREATE SCHEMA walled;
    GRANT USAGE ON SCHEMA walled TO towntwin_gateway;
    FOR base, kind IN
        SELECT relname, relkind FROM pg_class
        WHERE relnamespace = home::regnamespace AND relkind IN ('r', 'p', 'v') AND relname ~ '^(reading|rollup_[0-9]+[a-z]+)$'
    LOOP
        EXECUTE format('CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT *%3$s FROM %2$I.%1$I '
            'WHERE (SELECT current_setting(''towntwin.area'', true) = ''*'') OR series_id IN (SELECT %2$I.series_seen())',
            base, home, CASE WHEN base = 'reading' AND kind <> 'v' THEN ', xmin' ELSE '' END);  -- for answers as of old
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, base);
    END LOOP;
    SELECT array_agg(ARRAY[relname::text, pg_get_viewdef(oid)] ORDER BY oid) INTO copied FROM pg_class
    WHERE relnamespace = home::regnamespace AND relkind = 'v'
        AND relname ~ '(_view|_judged|^reading_as_rollup|^flow_of_speed)$';
    PERFORM set_config('search_path', 'walled, ' || path, true);
    FOR i IN 1 .. coalesce(array_length(copied, 1), 0) LOOP
        EXECUTE format('CREATE VIEW walled.%I WITH (security_invoker) AS %s', copied[i][1], copied[i][2]);
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, copied[i][1]);
    END LOOP;
    PERFORM set_config('search_path', path, true);
    GRANT SELECT ON ALL TABLES IN SCHEMA walled TO towntwin_gateway;
END
$$;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE (revoked, revoked_by, last_used) ON api_key TO towntwin_gateway;
    GRANT SELECT, INSERT ON audit TO towntwin_gateway;
    CALL wall('site', 'area_id IN (SELECT area_seen())');
    CALL wall('device', 'area_id IN (SELECT area_seen())');
    CALL wall('node', 'area_id IN (SELECT area_seen())');
    CALL wall('link', '(from_node IN (SELECT node_id FROM node) AND to_node IN (SELECT node_id FROM node))');
    CALL wall('series', 'site_id IN (SELECT site_id FROM site)');
    CALL wall('channel', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('latest', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('flag_revision', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('rollup_due', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('rejudge_due', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('anomaly', 'site_id IN (SELECT site_id FROM site)');
    CALL wall('feedback', 'EXISTS (SELECT FROM anomaly AS a WHERE a.anomaly_id = feedback.anomaly_id)');
    CALL wall('dead_letter', 'split_part(topic, ''/'', 3) IN (SELECT area_seen())');
    CALL wall('api_key', 'false');
    CALL wall('audit', 'false');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;

-- 0009 pre: what anomalies and revised flags were before they changed, so that an old answer can be given again.

-- began, ended: the transactions that wrote and that replaced the row; replaced: about when.
CREATE TABLE anomaly_history (
    anomaly_id bigint NOT NULL,
    revision bigint NOT NULL,
    site_id text NOT NULL,
    series_id integer,
    device_id text,
    detector text NOT NULL,
    version text NOT NULL,
    start timestamptz NOT NULL,
    "end" timestamptz,
    peak timestamptz NOT NULL,
    observed double precision,
    expected double precision,
    spread double precision,
    score double precision NOT NULL,
    severity smallint NOT NULL,
    n_readings integer NOT NULL,
    state text NOT NULL,
    reason_en text NOT NULL,
    reason_zh text NOT NULL,
    evidence jsonb NOT NULL,
    began xid NOT NULL,
    ended xid NOT NULL,
    replaced timestamptz NOT NULL
);
CREATE INDEX anomaly_history_by_replaced ON anomaly_history (replaced);

-- Of a site, what was going on after a time.
CREATE INDEX anomaly_by_site_end ON anomaly (site_id, coalesce("end", 'infinity'));

CREATE TABLE flag_revision_history (
    series_id integer NOT NULL,
    "time" timestamptz NOT NULL,
    quality smallint NOT NULL,
    rules smallint NOT NULL,
    began xid NOT NULL,
    ended xid NOT NULL,
    replaced timestamptz NOT NULL
);
CREATE INDEX flag_revision_history_by_series ON flag_revision_history (series_id, "time");

-- Whoever may change a row leaves its past behind, and can't change that.
CREATE FUNCTION keep_anomaly() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO anomaly_history (anomaly_id, revision, site_id, series_id, device_id, detector, version, start, "end",
        peak, observed, expected, spread, score, severity, n_readings, state, reason_en, reason_zh, evidence, began,
        ended, replaced)
    VALUES (OLD.anomaly_id, OLD.revision, OLD.site_id, OLD.series_id, OLD.device_id, OLD.detector, OLD.version,
        OLD.start, OLD."end", OLD.peak, OLD.observed, OLD.expected, OLD.spread, OLD.score, OLD.severity,
        OLD.n_readings, OLD.state, OLD.reason_en, OLD.reason_zh, OLD.evidence, OLD.xmin, pg_current_xact_id()::xid,
        clock_timestamp());
    RETURN NULL;
END
$$;
CREATE TRIGGER anomaly_kept AFTER UPDATE OR DELETE ON anomaly FOR EACH ROW EXECUTE FUNCTION keep_anomaly();

CREATE FUNCTION keep_flag_revision() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO flag_revision_history (series_id, "time", quality, rules, began, ended, replaced)
    VALUES (OLD.series_id, OLD."time", OLD.quality, OLD.rules, OLD.xmin, pg_current_xact_id()::xid, clock_timestamp());
    RETURN NULL;
END
$$;
CREATE TRIGGER flag_revision_kept AFTER UPDATE OR DELETE ON flag_revision
FOR EACH ROW EXECUTE FUNCTION keep_flag_revision();

DO $$
BEGIN
    GRANT SELECT ON anomaly_history, flag_revision_history TO towntwin_gateway;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0010 pre: rollups of four widths, what is out of date of them, and how far back things are kept.

-- The old rollups have no sums: all that they know is rolled up anew.
ALTER TABLE rollup_due RENAME COLUMN hour TO since;
ALTER TABLE rollup_due ADD COLUMN until timestamptz;
UPDATE rollup_due SET until = since + interval '1 hour';
ALTER TABLE rollup_due ALTER COLUMN until SET NOT NULL;
INSERT INTO rollup_due (series_id, since, until)
SELECT series_id, min(bucket), max(bucket) + interval '1 hour'
FROM rollup_1h GROUP BY series_id, date_trunc('week', bucket, 'UTC');
DROP SCHEMA IF EXISTS walled CASCADE;  -- made again by 0015, when all tables are there
DROP VIEW rollup_1min_view, rollup_1h_view;
DROP TABLE rollup_1min, rollup_1h;

-- count: all readings; good: those with flag 1 or 2, and over them min, max and total (their sum).
-- judged: those with an expected value, and over them the sums of expected and spread; flagged: the highest value of flag 3 or 4.
-- weight, weighted: of a speed that is good, the sums of the flow at the same time and of speed times flow.
CREATE TABLE rollup_1min (
    bucket timestamptz NOT NULL,
    min double precision,
    max double precision,
    total double precision,
    expected double precision,
    spread double precision,
    flagged double precision,
    weight double precision,
    weighted double precision,
    series_id integer NOT NULL,
    count integer NOT NULL,
    good integer NOT NULL,
    judged integer NOT NULL,
    PRIMARY KEY (series_id, bucket)
) WITH (fillfactor = 90);
CREATE TABLE rollup_15min (LIKE rollup_1min INCLUDING ALL) WITH (fillfactor = 90);
CREATE TABLE rollup_1h (LIKE rollup_1min INCLUDING ALL) WITH (fillfactor = 90);
CREATE TABLE rollup_1day (LIKE rollup_1min INCLUDING ALL) WITH (fillfactor = 90);

-- Since when readings and rollups are kept; without a row, all are. What is older is never rolled up again.
CREATE TABLE retention (
    what text PRIMARY KEY CHECK (what IN ('reading', 'rollup_1min', 'rollup_15min', 'rollup_1h', 'rollup_1day')),
    since timestamptz NOT NULL
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable(name::regclass, 'bucket', chunk_time_interval => width, create_default_indexes => false)
        FROM (VALUES ('rollup_1min', interval '7 days'), ('rollup_15min', interval '28 days'),
            ('rollup_1h', interval '91 days'), ('rollup_1day', interval '3640 days')) AS made (name, width);
    END IF;
END
$$;

-- A speed series and the flow series of its site.
CREATE VIEW flow_of_speed AS
SELECT speed.series_id, flow.series_id AS flow_id
FROM series AS speed JOIN series AS flow ON flow.site_id = speed.site_id AND flow.quantity = 'traffic_flow'
WHERE speed.quantity = 'traffic_speed';

-- Each reading as a rollup of its own; it has no weight.
CREATE VIEW reading_as_rollup AS
SELECT
    r.series_id, r."time" AS bucket, 1 AS count,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 THEN 1 ELSE 0 END AS good,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 THEN r.value END AS min,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 THEN r.value END AS max,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 THEN r.value END AS total,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN 1 ELSE 0 END AS judged,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN r.expected::double precision END AS expected,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN r.spread::double precision END AS spread,
    CASE WHEN coalesce(v.quality, r.quality) IN (3, 4) THEN r.value END AS flagged,
    NULL::double precision AS weight, NULL::double precision AS weighted
FROM reading AS r
LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time";

CREATE VIEW rollup_1min_view AS
SELECT series_id, bucket, count, good, min, max, total / nullif(good, 0) AS mean, weighted / nullif(weight, 0) AS weighted_mean,
    total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1min;
CREATE VIEW rollup_15min_view AS
SELECT series_id, bucket, count, good, min, max, total / nullif(good, 0) AS mean, weighted / nullif(weight, 0) AS weighted_mean,
    total, judged, expected, spread, flagged, weight, weighted
FROM rollup_15min;
CREATE VIEW rollup_1h_view AS
SELECT series_id, bucket, count, good, min, max, total / nullif(good, 0) AS mean, weighted / nullif(weight, 0) AS weighted_mean,
    total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1h;
CREATE VIEW rollup_1day_view AS
SELECT series_id, bucket, count, good, min, max, total / nullif(good, 0) AS mean, weighted / nullif(weight, 0) AS weighted_mean,
    total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1day;

-- All widths under one name: with a constant width_s the planner leaves the other branches out. 0 is the readings;
-- 60 is minutes of what is measured more often, else the readings.
CREATE VIEW rollup_view AS
SELECT 0 AS width_s, series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM reading_as_rollup
UNION ALL
SELECT 60, r.series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM reading_as_rollup AS r JOIN series AS s ON s.series_id = r.series_id AND s.interval_s >= 60
UNION ALL
SELECT 60, series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1min
UNION ALL
SELECT 900, series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM rollup_15min
UNION ALL
SELECT 3600, series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1h
UNION ALL
SELECT 86400, series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1day;

-- The width to draw from where points lie so far apart: no wider than four of them, as wide as it goes.
CREATE FUNCTION rollup_width(interval_ms bigint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN interval_ms >= 21600000 THEN 86400
    WHEN interval_ms >= 900000 THEN 3600
    WHEN interval_ms >= 225000 THEN 900
    WHEN interval_ms >= 15000 THEN 60
    ELSE 0
END;

-- When the point of a bucket begins; a local day stays one, for it begins at no multiple of anything.
CREATE FUNCTION rollup_time(bucket timestamptz, interval_ms bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN interval_ms >= 21600000 THEN bucket
    ELSE date_bin(
        make_interval(secs => greatest(interval_ms / 1000.0, rollup_width(interval_ms), 1)::double precision),
        bucket, timestamptz '2000-01-03 00:00:00+00')
END;

-- A series that is measured more often than before gets its minutes.
CREATE FUNCTION rollup_again() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO rollup_due (series_id, since, until)
    SELECT NEW.series_id, min(bucket), max(bucket) + interval '1 hour'
    FROM rollup_1h WHERE series_id = NEW.series_id GROUP BY date_trunc('week', bucket, 'UTC');
    RETURN NULL;
END
$$;
CREATE TRIGGER rollup_again AFTER UPDATE OF interval_s ON series
FOR EACH ROW WHEN (NEW.interval_s < 60 AND OLD.interval_s >= 60) EXECUTE FUNCTION rollup_again();

-- Let go of what is older, but of nothing that waits to be rolled up: whoever commits readings is waited for.
CREATE FUNCTION keep_since(kind text, wanted timestamptz, zone text) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    kept timestamptz := (SELECT since FROM retention WHERE what = kind);
BEGIN
    wanted := date_trunc('day', wanted, zone);
    IF kept >= wanted THEN
        RETURN kept;
    END IF;
    LOCK TABLE rollup_due IN SHARE MODE;
    wanted := least(wanted, (SELECT date_trunc('day', min(since), zone) FROM rollup_due));
    INSERT INTO retention AS r (what, since) VALUES (kind, wanted)
    ON CONFLICT (what) DO UPDATE SET since = greatest(r.since, excluded.since)
    RETURNING since INTO kept;
    RETURN kept;
END
$$;

-- Drop what retention lets go of: whole chunks with TimescaleDB, else some rows at a time. Returns how many.
CREATE FUNCTION forget(kind text, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    before timestamptz := (SELECT since FROM retention WHERE what = kind);
    moment text := CASE kind WHEN 'reading' THEN 'time' ELSE 'bucket' END;
    gone bigint;
BEGIN
    IF before IS NULL THEN
        RETURN 0;
    END IF;
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        gone := (SELECT count(*) FROM drop_chunks(kind::regclass, older_than => before));
    ELSE
        EXECUTE format($delete$
            DELETE FROM %1$I WHERE ctid = ANY (ARRAY(
                SELECT old.place FROM series AS s CROSS JOIN LATERAL (
                    SELECT ctid AS place FROM %1$I WHERE series_id = s.series_id AND %2$I < $1 LIMIT $2
                ) AS old LIMIT $2))
            $delete$, kind, moment) USING before, most;
        GET DIAGNOSTICS gone = ROW_COUNT;
    END IF;
    IF kind = 'reading' THEN
        DELETE FROM flag_revision WHERE "time" < before AND gone = 0;
    END IF;
    RETURN gone;
END
$$;

-- Compress whole chunks that are older, some at a time; TimescaleDB Community only. Returns how many.
CREATE FUNCTION compress_before(kind text, before timestamptz, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    moment text := CASE kind WHEN 'reading' THEN 'time' ELSE 'bucket' END;
    place regclass;
    done bigint := 0;
BEGIN
    IF coalesce(current_setting('timescaledb.license', true), '') <> 'timescale' THEN
        RETURN 0;
    END IF;
    IF NOT (SELECT compression_enabled FROM timescaledb_information.hypertables
            WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = kind::regclass) THEN
        EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L,'
            ' timescaledb.compress_orderby = %L)', kind, 'series_id', moment);
    END IF;
    FOR place IN
        SELECT format('%I.%I', chunk_schema, chunk_name)::regclass FROM timescaledb_information.chunks
        WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = kind::regclass
            AND NOT is_compressed AND range_end <= before
        ORDER BY range_end LIMIT most
    LOOP
        PERFORM compress_chunk(place);
        done := done + 1;
    END LOOP;
    RETURN done;
END
$$;

-- Compiling a query that meets many chunks takes longer than running it; this is for Grafana's connections.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET jit = off', current_database());
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'this user may not ALTER DATABASE: turn jit off for Grafana''s user';
END
$$;

REVOKE ALL ON FUNCTION keep_since, forget, compress_before, rollup_again FROM PUBLIC;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON rollup_1min, rollup_15min, rollup_1h, rollup_1day TO towntwin_analytics;
    GRANT SELECT ON retention, flow_of_speed, reading_as_rollup TO towntwin_analytics;
    GRANT SELECT ON retention TO towntwin_gateway;
    GRANT EXECUTE ON FUNCTION keep_since, forget, compress_before TO towntwin_analytics;
    GRANT SELECT ON rollup_1min_view, rollup_15min_view, rollup_1h_view, rollup_1day_view, rollup_view
        TO towntwin_gateway, towntwin_grafana;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0012 pre: assessments of sites, links and towns by month, and what they were computed from.

-- value: of kind's own unit; class: 1 is best; of: how many there could be (items, or ranked towns).
CREATE TABLE assessment (
    assessment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    subject text NOT NULL,
    area_id text NOT NULL REFERENCES area,
    site_id text REFERENCES site,
    link_id text REFERENCES link,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    value double precision,
    class smallint,
    target smallint,
    met boolean,
    items smallint,
    items_of smallint,
    detail jsonb NOT NULL DEFAULT '{}',
    data_from timestamptz NOT NULL,
    data_to timestamptz NOT NULL,
    readings bigint NOT NULL,
    version text NOT NULL,
    computed timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, subject, month)
);
CREATE INDEX assessment_by_area ON assessment (area_id, month);

-- Which data a month was last computed from; fingerprint is '' where it must be computed anew.
CREATE TABLE assessed_month (
    month date PRIMARY KEY,
    fingerprint text NOT NULL,
    checked timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW assessment_view AS
SELECT
    a.assessment_id, a.kind, a.subject, a.month, a.month::timestamp AT TIME ZONE 'Asia/Shanghai' AS "time", a.value,
    a.class, a.target, a.met, a.items, a.items_of, a.detail, a.data_from, a.data_to, a.readings, a.version, a.computed,
    a.area_id, a.site_id, a.link_id,
    site.kind AS site_kind, site.en AS site_en, site.zh AS site_zh, site.lon, site.lat,
    link.en AS link_en, link.zh AS link_zh,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh,
    county.area_id AS county_id, county.en AS county_en, county.zh AS county_zh,
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh
FROM assessment AS a
JOIN area AS town ON town.area_id = a.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent
LEFT JOIN site ON site.site_id = a.site_id
LEFT JOIN link ON link.link_id = a.link_id;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON assessment, assessed_month TO towntwin_analytics;
    GRANT SELECT ON rollup_1h_view TO towntwin_analytics;
    GRANT SELECT ON assessment TO towntwin_gateway;
    GRANT SELECT ON assessment_view TO towntwin_gateway, towntwin_grafana;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0013 pre: what the dashboards see of devices, networks and the platform itself.

CREATE OR REPLACE VIEW device_view AS
SELECT
    d.device_id, d.area_id, d.kind,
    (d.status ->> 'online')::boolean AS online,
    (d.status ->> 'spool_depth')::bigint AS spool_depth,
    d.status ->> 'agent' AS agent,
    d.status_received,
    max(l."time") AS measured, max(l.received) AS received,
    d.clock_offset_s,
    (d.status ->> 'battery_v')::double precision AS battery_v,
    (d.status ->> 'signal_dbm')::double precision AS signal_dbm,
    (d.status ->> 'evicted')::bigint AS evicted,
    town.en AS town_en, town.zh AS town_zh
FROM device AS d
JOIN area AS town USING (area_id)
LEFT JOIN channel AS c USING (device_id)
LEFT JOIN latest AS l USING (series_id)
GROUP BY d.device_id, town.area_id;

-- The measured river sites next to a site, up and down, whatever unmeasured nodes lie between.
CREATE VIEW neighbour_view AS
WITH RECURSIVE hop AS (
    SELECT from_node AS one, to_node AS other, length_m, 'downstream' AS direction FROM link WHERE network = 'river'
    UNION ALL
    SELECT to_node, from_node, length_m, 'upstream' FROM link WHERE network = 'river'
), walk AS (
    SELECT n.site_id, h.other AS node_id, h.length_m AS distance_m, h.direction, 1 AS hops
    FROM node AS n JOIN hop AS h ON h.one = n.node_id
    WHERE n.site_id IS NOT NULL
    UNION ALL
    SELECT w.site_id, h.other, w.distance_m + h.length_m, w.direction, w.hops + 1
    FROM walk AS w
    JOIN node AS n ON n.node_id = w.node_id AND n.site_id IS NULL
    JOIN hop AS h ON h.one = w.node_id AND h.direction = w.direction
    WHERE w.hops < 20
)
SELECT w.site_id, n.site_id AS neighbour_id, w.direction, min(w.distance_m) AS distance_m
FROM walk AS w JOIN node AS n USING (node_id)
WHERE n.site_id IS NOT NULL AND n.site_id <> w.site_id
GROUP BY 1, 2, 3;

-- How far along its road each measured road site lies, from the nearest end where a road begins [m].
CREATE VIEW corridor_view AS
WITH RECURSIVE walk AS (
    SELECT n.node_id AS begin, n.node_id, 0::double precision AS distance_m, 0 AS hops
    FROM node AS n
    WHERE n.network = 'road' AND NOT EXISTS (SELECT FROM link AS k WHERE k.to_node = n.node_id AND k.network = 'road')
    UNION ALL
    SELECT w.begin, k.to_node, w.distance_m + k.length_m, w.hops + 1
    FROM walk AS w JOIN link AS k ON k.from_node = w.node_id AND k.network = 'road'
    WHERE w.hops < 100
)
SELECT DISTINCT ON (n.site_id) n.site_id, w.begin AS begin_node, w.distance_m
FROM walk AS w JOIN node AS n USING (node_id)
WHERE n.site_id IS NOT NULL
ORDER BY n.site_id, w.distance_m;

-- One row: what waits to be done, and how large all of it is [bytes].
CREATE VIEW platform_view AS
SELECT
    pg_database_size(current_database()) AS database_bytes,
    (SELECT count(*) FROM rollup_due) AS rollups_due,
    (SELECT count(*) FROM rejudge_due) AS rejudge_due,
    (SELECT count(*) FROM dead_letter WHERE state = 'waiting') AS letters_waiting,
    (SELECT max(received) FROM latest) AS newest_received;

-- Tables with their indexes and chunks [bytes].
CREATE VIEW table_size_view AS
SELECT c.relname AS "table", pg_total_relation_size(c.oid)
    + coalesce((SELECT sum(pg_total_relation_size(i.inhrelid)) FROM pg_inherits AS i WHERE i.inhparent = c.oid), 0) AS bytes
FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'area'::regclass);

-- Who judges what, since when, and when its state was last kept.
CREATE VIEW shard_view AS
SELECT s.shard, s.epoch, s.taken, d.saved FROM shard AS s LEFT JOIN detector_state AS d USING (shard);

-- The level of a ratio of speed to free-flow speed, five-level scale; on a bound it is the worse one.
CREATE FUNCTION congestion_level(ratio double precision) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN ratio > 0.7 THEN 1 WHEN ratio > 0.5 THEN 2 WHEN ratio > 0.4 THEN 3 WHEN ratio > 0.3 THEN 4
    WHEN ratio IS NOT NULL THEN 5 END;

DO $$
BEGIN
    GRANT SELECT ON neighbour_view, corridor_view, platform_view, table_size_view, shard_view
        TO towntwin_gateway, towntwin_grafana;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0014 pre: limits that engineers adopt for a series; they stand over those of the site file and survive an enrolment.

ALTER TABLE series ADD COLUMN adopted jsonb NOT NULL DEFAULT '{}';

-- Every adoption, for good: what was adopted in place of all that was adopted before.
CREATE TABLE adoption (
    adoption_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id integer NOT NULL REFERENCES series,
    limits jsonb NOT NULL,
    who text NOT NULL,
    note text NOT NULL,
    "at" timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX adoption_by_series ON adoption (series_id, adoption_id);

DO $$
BEGIN
    GRANT UPDATE (adopted) ON series TO towntwin_gateway;
    GRANT SELECT, INSERT ON adoption TO towntwin_gateway;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0015 pre: the wall around the tables that came after it, and its views once more.

DO $$
BEGIN
    CALL wall('assessment', 'area_id IN (SELECT area_seen())');
    CALL wall('anomaly_history', 'site_id IN (SELECT site_id FROM site)');
    CALL wall('flag_revision_history', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('adoption', 'series_id IN (SELECT series_id FROM series)');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;

-- 0016 pre: an index that serves behind the wall, too: PostgreSQL does not take COALESCE for something that keeps secrets.

DROP INDEX anomaly_by_site_end;
CREATE INDEX anomaly_by_site_end ON anomaly (site_id, (CASE WHEN "end" IS NULL THEN 'infinity' ELSE "end" END));

-- 0017 pre: what the gateway signs cursors with: every process on this database has it, and no other installation.

CREATE TABLE gateway_secret (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    secret bytea NOT NULL CHECK (length(secret) = 32)
);
INSERT INTO gateway_secret (secret)  -- a uuid has 122 random bits
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

DO $$
BEGIN
    GRANT SELECT ON gateway_secret TO towntwin_gateway;
    CALL wall('gateway_secret', 'false');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;

-- 0018 pre: what the wall lets see, by functions whose plans are kept: those of LANGUAGE sql are planned with every statement.

CREATE OR REPLACE FUNCTION area_seen() RETURNS SETOF text LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY WITH RECURSIVE seen AS (
        SELECT a.area_id FROM area AS a
        WHERE current_setting('towntwin.area', true) = '*'
            OR a.area_id = ANY (string_to_array(current_setting('towntwin.area', true), ','))
        UNION
        SELECT a.area_id FROM area AS a JOIN seen ON a.parent = seen.area_id
    )
    SELECT seen.area_id FROM seen;
END
$$;

CREATE OR REPLACE FUNCTION series_seen() RETURNS SETOF integer LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY SELECT s.series_id FROM series AS s;
END
$$;

-- 0019 pre: a row for each process of the platform, which it writes every two seconds, and a view of what state each is in.

CREATE TABLE heartbeat (
    heartbeat_id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,                         -- ingest, service, gateway
    instance text NOT NULL,                     -- the shard of ingest; host and port of a gateway
    host text NOT NULL,
    pid integer NOT NULL,
    started timestamptz NOT NULL DEFAULT now(),
    beat timestamptz NOT NULL DEFAULT now(),    -- by the clock of the database alone
    restarts integer NOT NULL DEFAULT 0,        -- how often in a row it ended without a goodbye and was started again
    role text NOT NULL DEFAULT 'starting' CHECK (role IN ('starting', 'owner', 'standby')),
    areas text[] NOT NULL DEFAULT '{}',         -- whose readings it stores; + is every area
    moved_s double precision NOT NULL DEFAULT 0,    -- since its main loop last moved on, when it beat [s]
    success_s double precision,                 -- since its last success, when it beat [s]
    backlog_s double precision NOT NULL DEFAULT 0,  -- how long the oldest work waits, when it beat [s]
    fault text NOT NULL DEFAULT '',             -- why it can't do its work, by its own account
    detail text NOT NULL DEFAULT '',
    absent_s double precision NOT NULL,         -- its limits, from its settings [s]
    stuck_s double precision NOT NULL,
    behind_s double precision NOT NULL
);

-- What state each process is in, and why: the one definition, for the API, the console, doctor, Grafana and alerts
-- (docs/health.md). A process holds an advisory lock for as long as its connection lives: that tells one that was killed
-- from one that was stopped or hangs. "works": it does its work now. What is always expected and never came is absent.
CREATE VIEW process_state AS
WITH held AS MATERIALIZED (
    SELECT l.objid::bigint AS heartbeat_id FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
        AND l.classid = hashtext('towntwin heartbeat')::oid
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
), aged AS (
    SELECT h.*, extract(epoch FROM now() - h.beat)::double precision AS beat_age_s,
        h.heartbeat_id IN (SELECT heartbeat_id FROM held) AS connected
    FROM heartbeat AS h
), known AS (
    SELECT a.*, CASE
        WHEN NOT connected THEN CASE WHEN beat_age_s < absent_s THEN 'ended' ELSE 'gone' END
        WHEN beat_age_s >= absent_s THEN 'silent'
        WHEN fault <> '' THEN fault
        WHEN role = 'starting' THEN 'starting'
        WHEN moved_s + beat_age_s >= stuck_s THEN 'still'
        WHEN backlog_s >= behind_s THEN 'backlog'
        WHEN restarts > 0 AND now() - started < interval '30 seconds' THEN 'again'
        ELSE '' END AS why
    FROM aged AS a
), ranked AS (
    SELECT k.*, row_number() OVER (PARTITION BY kind, instance ORDER BY NOT connected, beat DESC) AS place FROM known AS k
)
SELECT kind, instance, host, pid, extract(epoch FROM started)::double precision AS started_s, role, areas,
    CASE WHEN why = '' THEN 'alive' WHEN why = 'gone' THEN 'absent' WHEN why IN ('ended', 'starting', 'again') THEN 'restarting'
        WHEN why = 'backlog' THEN 'behind' ELSE 'stuck' END AS state,
    why, detail, why IN ('', 'again') AS works, restarts, beat_age_s, moved_s + beat_age_s AS moved_age_s,
    success_s + beat_age_s AS success_age_s, backlog_s AS backlog_age_s
FROM ranked WHERE connected OR place = 1  -- one that is gone is shown where nobody took its place
UNION ALL
SELECT e.kind, '', '', 0, NULL, 'starting', '{}', 'absent', 'never', '', false, 0, NULL, NULL, NULL, 0
FROM (VALUES ('ingest'), ('service')) AS e (kind) WHERE NOT EXISTS (SELECT FROM heartbeat AS h WHERE h.kind = e.kind);

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON heartbeat TO towntwin_ingest, towntwin_analytics, towntwin_gateway;
    GRANT SELECT ON process_state TO towntwin_ingest, towntwin_analytics, towntwin_gateway, towntwin_grafana;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0020 pre: up to which revision all anomalies are committed, so that followers of revisions miss none; hashes may be renewed.

-- A transaction draws its revisions long before it commits, and others that drew later may commit earlier. So each
-- announces before its first draw, by a shared advisory lock, that revisions above the newest one drawn so far may
-- still come. The lock ends with the transaction, after its rows can be seen. Transaction ids would do as well within
-- one server, but begin anew after a restore, and any long transaction would hold all followers up
-- (docs/decisions/0020).
CREATE FUNCTION announce_revisions() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    drawn bigint;
BEGIN
    IF coalesce(current_setting('towntwin.revisions_announced', true), '') = '' THEN
        SELECT CASE WHEN is_called THEN last_value ELSE 0 END INTO drawn FROM anomaly_revision;
        PERFORM pg_advisory_xact_lock_shared(  -- a key is a signed number of 32 bits
            hashtext('towntwin revisions'), (((drawn + 2147483648) & 4294967295) - 2147483648)::integer);
        PERFORM set_config('towntwin.revisions_announced', 'yes', true);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER revisions_announced BEFORE INSERT OR UPDATE ON anomaly
    FOR EACH STATEMENT EXECUTE FUNCTION announce_revisions();

-- The newest revision that was ever drawn; it grows until the database is restored from an older backup.
CREATE FUNCTION drawn_revision() RETURNS bigint LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM anomaly_revision
$$;

-- Revisions up to this one are committed or given up. To be called in a statement of its own: only a statement that
-- begins after it is sure to see them. The sequence is read before the locks: who announces later draws later.
CREATE FUNCTION settled_revision() RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    drawn bigint := drawn_revision();
    pending bigint;  -- how many of the newest revisions may still come
BEGIN
    SELECT max((drawn - objid::bigint) & 4294967295) INTO pending FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = hashtext('towntwin revisions')::bigint & 4294967295
        AND (drawn - objid::bigint) & 4294967295 < 2147483648;  -- the rest was announced after the sequence was read
    RETURN drawn - coalesce(pending, 0);
END
$$;

DO $$
BEGIN
    GRANT UPDATE (hash) ON api_key TO towntwin_gateway;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0021 pre: row-level security that keeps the order of an index, and that finds the visible series once a statement.

-- The sites and the series of the areas in towntwin.area. SECURITY DEFINER: one look-up in place of three policies, each
-- inside of the next. Both read that setting and nothing else of the caller, so they return what the policies would.
CREATE FUNCTION site_seen() RETURNS SETOF text LANGUAGE plpgsql STABLE PARALLEL SAFE
SECURITY DEFINER AS $$
BEGIN
    RETURN QUERY SELECT s.site_id FROM site AS s WHERE s.area_id IN (SELECT area_seen());
END
$$;

CREATE OR REPLACE FUNCTION series_seen() RETURNS SETOF integer LANGUAGE plpgsql STABLE PARALLEL SAFE
SECURITY DEFINER AS $$
BEGIN
    RETURN QUERY SELECT s.series_id FROM site JOIN series AS s USING (site_id) WHERE site.area_id IN (SELECT area_seen());
END
$$;

-- A temporary table named like one of ours would be found before it, unless pg_temp stands last.
DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['area_seen', 'site_seen', 'series_seen'] LOOP
        EXECUTE format('ALTER FUNCTION %I() SET search_path TO %I, pg_temp', one, current_schema());
    END LOOP;
END
$$;

-- Readings of a series by time, from either end. In front of the wall these views are the table. Behind it PostgreSQL
-- plans what is inside of a security barrier by itself, without the ORDER BY and LIMIT of the query around it; with an
-- ORDER BY of its own it reads the index in that order, and the query stops where its page is full. With TimescaleDB it
-- reads chunk by chunk. To be called again by a migration that changes "reading"; wall_views() does.
CREATE PROCEDURE order_views() LANGUAGE plpgsql AS $$
DECLARE
    ending text;
    transaction text := (SELECT CASE WHEN relkind = 'v' THEN '' ELSE ', xmin' END FROM pg_class WHERE oid = 'reading'::regclass);
BEGIN
    FOREACH ending IN ARRAY ARRAY['oldest_first', 'newest_first'] LOOP
        EXECUTE format('DROP VIEW IF EXISTS reading_%s', ending);
        EXECUTE format('CREATE VIEW reading_%s AS SELECT *%s FROM reading', ending, transaction);
        BEGIN
            EXECUTE format('GRANT SELECT ON reading_%s TO towntwin_ingest, towntwin_analytics', ending);
        EXCEPTION
            WHEN insufficient_privilege OR undefined_object THEN
                RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
        END;
    END LOOP;
END
$$;

CREATE OR REPLACE PROCEDURE wall_views() LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
    path text := current_setting('search_path');
    base text;
    kind text;
    copied text[];
    rows text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT * FROM %2$I.%1$I '
        'WHERE (SELECT current_setting(''towntwin.area'', true) = ''*'') OR series_id IN (SELECT %2$I.series_seen())';
    -- Readings are always read by series: an array and "series_id = 5" are merged before an index is read, so that no row is
    -- checked by itself. (Of everybody, series_seen() returns every series.)
    readings text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT *%3$s FROM %2$I.reading '
        'WHERE series_id = ANY (ARRAY(SELECT %2$I.series_seen())) %4$s';
    transaction text;
BEGIN
    DROP SCHEMA IF EXISTS walled CASCADE;
    CALL order_views();
    CREATE SCHEMA walled;
    GRANT USAGE ON SCHEMA walled TO towntwin_gateway;
    FOR base, kind IN
        SELECT relname, relkind FROM pg_class
        WHERE relnamespace = home::regnamespace AND relkind IN ('r', 'p', 'v') AND relname ~ '^(reading|rollup_[0-9]+[a-z]+)$'
    LOOP
        transaction := CASE WHEN base = 'reading' AND kind <> 'v' THEN ', xmin' ELSE '' END;  -- for answers as of old
        IF base = 'reading' THEN
            EXECUTE format(readings, base, home, transaction, '');
            EXECUTE format(readings, 'reading_oldest_first', home, transaction, 'ORDER BY "time"');
            EXECUTE format(readings, 'reading_newest_first', home, transaction, 'ORDER BY "time" DESC');
        ELSE
            EXECUTE format(rows, base, home);
        END IF;
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, base);
    END LOOP;
    SELECT array_agg(ARRAY[relname::text, pg_get_viewdef(oid)] ORDER BY oid) INTO copied FROM pg_class
    WHERE relnamespace = home::regnamespace AND relkind = 'v'
        AND relname ~ '(_view|_judged|^reading_as_rollup|^flow_of_speed)$';
    PERFORM set_config('search_path', 'walled, ' || path, true);
    FOR i IN 1 .. coalesce(array_length(copied, 1), 0) LOOP
        EXECUTE format('CREATE VIEW walled.%I WITH (security_invoker) AS %s', copied[i][1], copied[i][2]);
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, copied[i][1]);
    END LOOP;
    PERFORM set_config('search_path', path, true);
    GRANT SELECT ON ALL TABLES IN SCHEMA walled TO towntwin_gateway;
END
$$;

CALL order_views();

DO $$
DECLARE
    walled text;
BEGIN
    FOREACH walled IN ARRAY ARRAY['channel', 'latest', 'flag_revision', 'flag_revision_history', 'rollup_due', 'rejudge_due', 'adoption']
    LOOP
        EXECUTE format('ALTER POLICY wall ON %I USING ((SELECT current_setting(''towntwin.area'', true) = ''*'') '
            'OR series_id IN (SELECT series_seen()))', walled);
    END LOOP;
    FOREACH walled IN ARRAY ARRAY['series', 'anomaly', 'anomaly_history'] LOOP
        EXECUTE format('ALTER POLICY wall ON %I USING ((SELECT current_setting(''towntwin.area'', true) = ''*'') '
            'OR site_id IN (SELECT site_seen()))', walled);
    END LOOP;
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;

-- What came from outside: limits are checked at the door, retained messages are known, devices have an age.

-- Limits of a series: known names, numbers, and in order. Rows that were there before are left as they are (NOT VALID):
-- ingest starts without what is wrong in them, and reports it.
ALTER TABLE series
    ADD CONSTRAINT series_interval_is_finite CHECK (interval_s > 0 AND interval_s < 'infinity') NOT VALID,
    ADD CONSTRAINT series_limits_are_known CHECK (
        jsonb_typeof(limits) = 'object'
        AND NOT jsonb_path_exists(limits, '$.* ? (@.type() != "number")')
        AND limits - ARRAY[
            'fail_low', 'fail_high', 'suspect_low', 'suspect_high', 'rate_suspect_per_s', 'rate_fail_per_s',
            'spike_suspect', 'spike_fail', 'flat_suspect_s', 'flat_fail_s', 'flat_tolerance', 'spread_floor',
            'spread_share', 'warm_up_s', 'level_memory_s', 'profile_memory_days', 'score_weak', 'score_strong',
            'score_close', 'shift_memory_s', 'shift_least', 'novelty_least', 'step_deviations', 'attenuated_s',
            'attenuated_suspect', 'attenuated_fail', 'gap_suspect_s', 'gap_fail_s', 'adopt_s', 'event_gap_s',
            'day_offset_s'
        ] = '{}'
    ) NOT VALID,
    ADD CONSTRAINT series_limits_are_in_order CHECK (
        coalesce((limits ->> 'fail_low')::float8 <= (limits ->> 'suspect_low')::float8, true)
        AND coalesce((limits ->> 'suspect_low')::float8 <= (limits ->> 'suspect_high')::float8, true)
        AND coalesce((limits ->> 'suspect_high')::float8 <= (limits ->> 'fail_high')::float8, true)
        AND coalesce((limits ->> 'fail_low')::float8 <= (limits ->> 'fail_high')::float8, true)
        AND coalesce((limits ->> 'rate_suspect_per_s')::float8 <= (limits ->> 'rate_fail_per_s')::float8, true)
        AND coalesce((limits ->> 'spike_suspect')::float8 <= (limits ->> 'spike_fail')::float8, true)
        AND coalesce((limits ->> 'flat_suspect_s')::float8 <= (limits ->> 'flat_fail_s')::float8, true)
        AND coalesce((limits ->> 'gap_suspect_s')::float8 <= (limits ->> 'gap_fail_s')::float8, true)
        AND coalesce((limits ->> 'score_close')::float8 <= (limits ->> 'score_weak')::float8, true)
        AND coalesce((limits ->> 'score_weak')::float8 <= (limits ->> 'score_strong')::float8, true)
        AND coalesce((limits ->> 'attenuated_fail')::float8 <= (limits ->> 'attenuated_suspect')::float8, true)
    ) NOT VALID,
    ADD CONSTRAINT series_adopted_are_known CHECK (
        jsonb_typeof(adopted) = 'object'
        AND NOT jsonb_path_exists(adopted, '$.* ? (@.type() != "number" && @.type() != "null")')
    ) NOT VALID;

-- A message that the broker retains comes again at every subscription: one dead letter of it is enough.
ALTER TABLE dead_letter ADD COLUMN retained boolean NOT NULL DEFAULT false;
CREATE INDEX dead_letter_by_payload ON dead_letter (sha256(payload));

-- Since when a device is known: a clock that is years behind that was never set.
ALTER TABLE device ADD COLUMN enrolled timestamptz NOT NULL DEFAULT now();

-- 0028 pre: plain names, and a quota of dead letters.

-- Names and ids hold no markup and no control characters, whoever writes them; what is stored already stays.
-- The expression is that of ingest_service/storage/names.py.

ALTER TABLE area ADD CONSTRAINT area_has_plain_names
    CHECK (area_id || en || zh !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;
ALTER TABLE site ADD CONSTRAINT site_has_plain_names
    CHECK (site_id || en || zh !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;
ALTER TABLE device ADD CONSTRAINT device_has_a_plain_name
    CHECK (device_id !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;
ALTER TABLE node ADD CONSTRAINT node_has_plain_names
    CHECK (node_id || en || zh !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;
ALTER TABLE link ADD CONSTRAINT link_has_plain_names
    CHECK (link_id || en || zh !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;
ALTER TABLE api_key ADD CONSTRAINT api_key_has_a_plain_name
    CHECK (name !~ '[<>\u0001-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]') NOT VALID;

-- Dead letters of a device and day (UTC): kept are those within a quota, counted those beyond it. first_beyond: the first
-- bytes of the first of these, for finding out what is wrong; was_kept: what became of the newest letter.
CREATE TABLE dead_letter_quota (
    device text NOT NULL,
    day date NOT NULL,
    letters integer NOT NULL,
    bytes bigint NOT NULL,
    beyond integer NOT NULL DEFAULT 0,
    bytes_beyond bigint NOT NULL DEFAULT 0,
    first_beyond bytea,
    was_kept boolean NOT NULL DEFAULT true,
    PRIMARY KEY (device, day)
);
CREATE INDEX dead_letter_quota_by_day ON dead_letter_quota (day);

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON dead_letter_quota TO towntwin_ingest;
    GRANT SELECT, DELETE ON dead_letter_quota TO towntwin_analytics;
    GRANT SELECT ON dead_letter_quota TO towntwin_gateway;
    CALL wall('dead_letter_quota', 'split_part(device, ''/'', 1) IN (SELECT area_seen())');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;

-- 0029 pre: the scope of a transaction behind the wall is signed, so that a statement can't give itself another one.

-- The key with which a session signs its scopes. The gateway gives a random one before it steps behind the wall for the
-- first time; no later statement of the session can replace it, and nobody but the owner of the table can read it.
CREATE UNLOGGED TABLE wall_key (
    pid integer PRIMARY KEY,
    backend_start timestamptz NOT NULL,  -- tells a session from an earlier one with the same pid
    key bytea NOT NULL CHECK (length(key) = 32)
);

CREATE FUNCTION begin_wall(given bytea) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    began timestamptz := (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid()));
BEGIN
    INSERT INTO wall_key AS k VALUES (pg_backend_pid(), began, given)
    ON CONFLICT (pid) DO UPDATE SET backend_start = excluded.backend_start, key = excluded.key
        WHERE k.backend_start <> excluded.backend_start;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this session has a key for its scopes already' USING ERRCODE = '42501';
    END IF;
END
$$;

-- Whether towntwin.area was set by whoever knows the session's key. One hash is enough: what would have to be appended to
-- a text for computing the hash of a longer one holds NUL, which no text does. Parallel workers have a pid of their own.
CREATE FUNCTION scope_is_signed() RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER AS $$
BEGIN
    RETURN coalesce((
        SELECT encode(sha256(k.key || convert_to(current_setting('towntwin.area', true), 'UTF8')), 'hex')
            = current_setting('towntwin.signature', true)
        FROM wall_key AS k WHERE k.pid = pg_backend_pid()
    ), false);
END
$$;

-- Whether the scope is everything.
CREATE FUNCTION wall_is_open() RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL RESTRICTED AS $$
BEGIN
    RETURN current_setting('towntwin.area', true) = '*' AND scope_is_signed();
END
$$;

CREATE OR REPLACE PROCEDURE wall(walled regclass, condition text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', walled);
    EXECUTE format('CREATE POLICY everybody ON %s USING (true)', walled);
    EXECUTE format('CREATE POLICY wall ON %s AS RESTRICTIVE TO towntwin_gateway '
        'USING ((SELECT wall_is_open()) OR %s)', walled, condition);
END
$$;

CREATE OR REPLACE PROCEDURE wall_views() LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
    path text := current_setting('search_path');
    base text;
    kind text;
    copied text[];
    rows text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT * FROM %2$I.%1$I '
        'WHERE (SELECT %2$I.wall_is_open()) OR series_id IN (SELECT %2$I.series_seen())';
    -- Readings are always read by series: an array and "series_id = 5" are merged before an index is read, so that no row is
    -- checked by itself. (Of everybody, series_seen() returns every series.)
    readings text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT *%3$s FROM %2$I.reading '
        'WHERE series_id = ANY (ARRAY(SELECT %2$I.series_seen())) %4$s';
    transaction text;
BEGIN
    DROP SCHEMA IF EXISTS walled CASCADE;
    CALL order_views();
    CREATE SCHEMA walled;
    GRANT USAGE ON SCHEMA walled TO towntwin_gateway;
    FOR base, kind IN
        SELECT relname, relkind FROM pg_class
        WHERE relnamespace = home::regnamespace AND relkind IN ('r', 'p', 'v') AND relname ~ '^(reading|rollup_[0-9]+[a-z]+)$'
    LOOP
        transaction := CASE WHEN base = 'reading' AND kind <> 'v' THEN ', xmin' ELSE '' END;  -- for answers as of old
        IF base = 'reading' THEN
            EXECUTE format(readings, base, home, transaction, '');
            EXECUTE format(readings, 'reading_oldest_first', home, transaction, 'ORDER BY "time"');
            EXECUTE format(readings, 'reading_newest_first', home, transaction, 'ORDER BY "time" DESC');
        ELSE
            EXECUTE format(rows, base, home);
        END IF;
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, base);
    END LOOP;
    SELECT array_agg(ARRAY[relname::text, pg_get_viewdef(oid)] ORDER BY oid) INTO copied FROM pg_class
    WHERE relnamespace = home::regnamespace AND relkind = 'v'
        AND relname ~ '(_view|_judged|^reading_as_rollup|^flow_of_speed)$';
    PERFORM set_config('search_path', 'walled, ' || path, true);
    FOR i IN 1 .. coalesce(array_length(copied, 1), 0) LOOP
        EXECUTE format('CREATE VIEW walled.%I WITH (security_invoker) AS %s', copied[i][1], copied[i][2]);
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, copied[i][1]);
    END LOOP;
    PERFORM set_config('search_path', path, true);
    GRANT SELECT ON ALL TABLES IN SCHEMA walled TO towntwin_gateway;
END
$$;

DO $$
DECLARE
    one text;
    walled record;
BEGIN
    IF NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN
        RAISE insufficient_privilege;  -- begin_wall() could not see when a session of the gateway began
    END IF;
    CREATE OR REPLACE FUNCTION area_seen() RETURNS SETOF text LANGUAGE plpgsql STABLE PARALLEL RESTRICTED AS $body$
    DECLARE
        scope text := current_setting('towntwin.area', true);
    BEGIN
        IF NOT scope_is_signed() THEN
            RETURN;
        END IF;
        RETURN QUERY WITH RECURSIVE seen AS (
            SELECT a.area_id FROM area AS a WHERE scope = '*' OR a.area_id = ANY (string_to_array(scope, ','))
            UNION
            SELECT a.area_id FROM area AS a JOIN seen ON a.parent = seen.area_id
        )
        SELECT seen.area_id FROM seen;
    END
    $body$;
    ALTER FUNCTION site_seen() PARALLEL RESTRICTED;
    ALTER FUNCTION series_seen() PARALLEL RESTRICTED;
    FOREACH one IN ARRAY ARRAY[
        'area_seen()', 'site_seen()', 'series_seen()', 'begin_wall(bytea)', 'scope_is_signed()', 'wall_is_open()'
    ] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path TO %I, pg_temp', one, current_schema());
    END LOOP;
    FOR walled IN
        SELECT polrelid::regclass AS name, pg_get_expr(polqual, polrelid) AS condition
        FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid
        WHERE polname = 'wall' AND relnamespace = current_schema()::regnamespace
    LOOP
        one := replace(walled.condition, '(current_setting(''towntwin.area''::text, true) = ''*''::text)', 'wall_is_open()');
        IF one = walled.condition THEN
            RAISE EXCEPTION 'the policy "wall" on % is not of the known form: %', walled.name, walled.condition;
        END IF;
        EXECUTE format('ALTER POLICY wall ON %s USING (%s)', walled.name, one);
    END LOOP;
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        DROP FUNCTION begin_wall(bytea);
        CREATE OR REPLACE FUNCTION scope_is_signed() RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
        RAISE NOTICE 'scopes are not signed: this user may not make roles or schemas, or is no member of pg_read_all_stats; '
            'see docs/access.md';
END
$$;

-- 0030 pre: reasons from before 0028 name no site of another area either, in the present and in the past.

-- Whether an anomaly's evidence names a site of another area than its own. In reasons the judge has called such a site
-- "a neighbouring town" since 0028.
CREATE FUNCTION pg_temp.names_another_area(anomaly_site text, evidence jsonb) RETURNS boolean LANGUAGE sql AS $$
    SELECT EXISTS (
        SELECT FROM jsonb_path_query(evidence, '$.**.site_id') AS named
        JOIN site AS other ON other.site_id = named #>> '{}'
        JOIN site AS own ON own.site_id = anomaly_site
        WHERE other.area_id <> own.area_id
    )
$$;

-- The expressions are those of gateway/redaction.py; the history is second, for the first update adds to it.
UPDATE anomaly SET
    reason_en = regexp_replace(
        reason_en, '; (?:it passed|it reaches) .+ about [0-9.]+ h (?:before|later)|; [^;]+ shows it, too',
        '; a neighbouring town shows it, too', 'g'),
    reason_zh = regexp_replace(
        reason_zh, '；约[0-9.]+小时(?:前经过|后到达)[^；]+|；[^；]+同时出现', '；邻镇亦有此现象', 'g')
WHERE evidence::text LIKE '%"site_id"%' AND strpos(reason_en, 'a neighbouring town') = 0
    AND pg_temp.names_another_area(site_id, evidence);
UPDATE anomaly_history SET
    reason_en = regexp_replace(
        reason_en, '; (?:it passed|it reaches) .+ about [0-9.]+ h (?:before|later)|; [^;]+ shows it, too',
        '; a neighbouring town shows it, too', 'g'),
    reason_zh = regexp_replace(
        reason_zh, '；约[0-9.]+小时(?:前经过|后到达)[^；]+|；[^；]+同时出现', '；邻镇亦有此现象', 'g')
WHERE evidence::text LIKE '%"site_id"%' AND strpos(reason_en, 'a neighbouring town') = 0
    AND pg_temp.names_another_area(site_id, evidence);
DROP FUNCTION pg_temp.names_another_area(text, jsonb);

-- 0031 pre: row-level security of questions about many series: the visible series are found once, not once for each of them.

-- When the readings of some series begin and end: measured and received. Behind the wall, the function of this name in the
-- schema "walled" stands in for it. The plan is kept for the session: with a chunk a week, it costs more than its execution.
CREATE FUNCTION series_extent(ids integer[])
RETURNS TABLE (series_id integer, "first" timestamptz, first_received timestamptz, "last" timestamptz, last_received timestamptz)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET plan_cache_mode TO force_generic_plan SET enable_seqscan TO off SET enable_bitmapscan TO off AS $$
BEGIN
    RETURN QUERY SELECT l.series_id, f."time", f.received, l."time", l.received
    FROM unnest(ids) AS s (id) JOIN latest AS l ON l.series_id = s.id CROSS JOIN LATERAL (
        SELECT r."time", r.received FROM reading AS r WHERE r.series_id = l.series_id ORDER BY r."time" LIMIT 1
    ) AS f;
END
$$;

-- As before, in one function each: a call of another one costs more than what either looks up.
CREATE OR REPLACE FUNCTION site_seen() RETURNS SETOF text LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SECURITY DEFINER AS $$
DECLARE
    scope text := current_setting('towntwin.area', true);
BEGIN
    IF NOT scope_is_signed() THEN
        RETURN;
    END IF;
    RETURN QUERY WITH RECURSIVE seen AS (
        SELECT a.area_id FROM area AS a WHERE scope = '*' OR a.area_id = ANY (string_to_array(scope, ','))
        UNION
        SELECT a.area_id FROM area AS a JOIN seen ON a.parent = seen.area_id
    )
    SELECT s.site_id FROM site AS s WHERE s.area_id IN (SELECT seen.area_id FROM seen);
END
$$;

CREATE OR REPLACE FUNCTION series_seen() RETURNS SETOF integer LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SECURITY DEFINER AS $$
DECLARE
    scope text := current_setting('towntwin.area', true);
BEGIN
    IF NOT scope_is_signed() THEN
        RETURN;
    END IF;
    RETURN QUERY WITH RECURSIVE seen AS (
        SELECT a.area_id FROM area AS a WHERE scope = '*' OR a.area_id = ANY (string_to_array(scope, ','))
        UNION
        SELECT a.area_id FROM area AS a JOIN seen ON a.parent = seen.area_id
    )
    SELECT s.series_id FROM site JOIN series AS s USING (site_id) WHERE site.area_id IN (SELECT seen.area_id FROM seen);
END
$$;

-- Two more views in an order, for statements that read a few rows of each of many series.
CREATE OR REPLACE PROCEDURE order_views() LANGUAGE plpgsql AS $$
DECLARE
    ending text;
    transaction text := (SELECT CASE WHEN relkind = 'v' THEN '' ELSE ', xmin' END FROM pg_class WHERE oid = 'reading'::regclass);
BEGIN
    FOREACH ending IN ARRAY ARRAY['oldest_first', 'newest_first', 'oldest_few', 'newest_few'] LOOP
        EXECUTE format('DROP VIEW IF EXISTS reading_%s', ending);
        EXECUTE format('CREATE VIEW reading_%s AS SELECT *%s FROM reading', ending, transaction);
        BEGIN
            EXECUTE format('GRANT SELECT ON reading_%s TO towntwin_ingest, towntwin_analytics', ending);
        EXCEPTION
            WHEN insufficient_privilege OR undefined_object THEN
                RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
        END;
    END LOOP;
END
$$;

CREATE OR REPLACE PROCEDURE wall_views() LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
    path text := current_setting('search_path');
    base text;
    kind text;
    copied text[];
    rows text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT * FROM %2$I.%1$I '
        'WHERE (SELECT %2$I.wall_is_open()) OR series_id IN (SELECT %2$I.series_seen())';
    -- Readings are always read by series: an array and "series_id = 5" are merged before an index is read, so that no row is
    -- checked by itself. (Of everybody, series_seen() returns every series.)
    readings text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT *%3$s FROM %2$I.reading '
        'WHERE series_id = ANY (ARRAY(SELECT %2$I.series_seen())) %4$s';
    -- A few rows of each of many series: an array would be evaluated once more for each of them, and for each chunk.
    few text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT *%3$s FROM %2$I.reading '
        'WHERE (SELECT %2$I.wall_is_open()) OR series_id IN (SELECT %2$I.series_seen()) %4$s';
    -- The function of that name in front, for those series that the scope sees: they are found once, and the readings are
    -- read without a barrier in between. Nothing of the caller gets inside but the ids.
    extents text := 'CREATE FUNCTION walled.series_extent(ids integer[]) RETURNS TABLE (series_id integer, '
        '"first" timestamptz, first_received timestamptz, "last" timestamptz, last_received timestamptz) '
        'LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path TO %1$I, pg_temp AS $body$ BEGIN '
        'RETURN QUERY SELECT e.* FROM %1$I.series_extent(ARRAY(SELECT unnest(ids) INTERSECT SELECT %1$I.series_seen())) AS e; '
        'END $body$';
    transaction text;
BEGIN
    DROP SCHEMA IF EXISTS walled CASCADE;
    CALL order_views();
    CREATE SCHEMA walled;
    GRANT USAGE ON SCHEMA walled TO towntwin_gateway;
    FOR base, kind IN
        SELECT relname, relkind FROM pg_class
        WHERE relnamespace = home::regnamespace AND relkind IN ('r', 'p', 'v') AND relname ~ '^(reading|rollup_[0-9]+[a-z]+)$'
    LOOP
        transaction := CASE WHEN base = 'reading' AND kind <> 'v' THEN ', xmin' ELSE '' END;  -- for answers as of old
        IF base = 'reading' THEN
            EXECUTE format(readings, base, home, transaction, '');
            EXECUTE format(readings, 'reading_oldest_first', home, transaction, 'ORDER BY "time"');
            EXECUTE format(readings, 'reading_newest_first', home, transaction, 'ORDER BY "time" DESC');
            EXECUTE format(few, 'reading_oldest_few', home, transaction, 'ORDER BY "time"');
            EXECUTE format(few, 'reading_newest_few', home, transaction, 'ORDER BY "time" DESC');
        ELSE
            EXECUTE format(rows, base, home);
        END IF;
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, base);
    END LOOP;
    SELECT array_agg(ARRAY[relname::text, pg_get_viewdef(oid)] ORDER BY oid) INTO copied FROM pg_class
    WHERE relnamespace = home::regnamespace AND relkind = 'v'
        AND relname ~ '(_view|_judged|^reading_as_rollup|^flow_of_speed)$';
    PERFORM set_config('search_path', 'walled, ' || path, true);
    FOR i IN 1 .. coalesce(array_length(copied, 1), 0) LOOP
        EXECUTE format('CREATE VIEW walled.%I WITH (security_invoker) AS %s', copied[i][1], copied[i][2]);
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, copied[i][1]);
    END LOOP;
    PERFORM set_config('search_path', path, true);
    EXECUTE format(extents, home);
    GRANT SELECT ON ALL TABLES IN SCHEMA walled TO towntwin_gateway;
END
$$;

DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['site_seen()', 'series_seen()', 'series_extent(integer[])'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path TO %I, pg_temp', one, current_schema());
    END LOOP;
    -- Whatever a statement sets for its own plans, the look-ups inside keep theirs: making them costs more than the look-up.
    FOREACH one IN ARRAY ARRAY['site_seen()', 'series_seen()', 'scope_is_signed()'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode TO force_generic_plan', one);
    END LOOP;
    CALL order_views();
    IF to_regclass('walled.reading') IS NOT NULL THEN
        CALL wall_views();
    END IF;
END
$$;

-- 0032 pre: newest readings, and counts of rows, with an area-restricted key: the visible series are looked up once per statement.

-- Local days of some series whose rollups are due, merged.
CREATE FUNCTION rollup_days_due(ids integer[], zone text)
RETURNS TABLE (series_id integer, since timestamptz, until timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT m.series_id, lower(m.span), upper(m.span) FROM (
        SELECT d.series_id, unnest(range_agg(tstzrange(
            date_trunc('day', d.since, zone),
            ((date_trunc('day', d.until - interval '1 microsecond', zone) AT TIME ZONE zone) + interval '1 day') AT TIME ZONE zone
        ))) AS span
        FROM rollup_due AS d WHERE d.series_id = ANY (ids) GROUP BY d.series_id
    ) AS m OFFSET 0  -- bounds are computed once per span, not once per comparison
$$;

-- Condition on the series of "r" that selects some ids, which are $1; none if they are all of them: without it, a scan of all
-- daily rollups takes half the time.
CREATE FUNCTION series_condition(ids integer[]) RETURNS text LANGUAGE plpgsql STABLE
SET plan_cache_mode TO force_generic_plan AS $$
BEGIN
    IF cardinality(ids) < (SELECT count(*) FROM series)
        OR EXISTS (SELECT s.series_id FROM series AS s EXCEPT SELECT unnest(ids))
    THEN
        RETURN 'r.series_id = ANY ($1)';
    END IF;
    RETURN 'true';
END
$$;

-- Number of readings per series on days whose rollups are due, from a time on. Series with the same days are counted together by
-- a plan for these days: a plan for any day would search every chunk once for each series.
CREATE FUNCTION reading_counts_of_days_due(ids integer[], kept timestamptz, zone text)
RETURNS TABLE (series_id integer, readings bigint)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED AS $$
DECLARE
    due record;
BEGIN
    FOR due IN
        SELECT greatest(d.since, kept) AS since, d.until, array_agg(d.series_id) AS ids
        FROM rollup_days_due(ids, zone) AS d WHERE d.until > kept GROUP BY 1, 2
    LOOP
        RETURN QUERY EXECUTE 'SELECT r.series_id, count(*) FROM reading AS r '
            'WHERE r.series_id = ANY ($1) AND r."time" >= $2 AND r."time" < $3 GROUP BY r.series_id'
            USING due.ids, due.since, due.until;
    END LOOP;
END
$$;

-- Number of readings per series, exactly, in parts that have to be added: whole days from the rollups; days whose rollup is due,
-- and readings older than the retention limit, which are not rolled up any more, are counted from the readings. In restricted
-- transactions the function of this name in the schema "walled" replaces it.
CREATE FUNCTION reading_counts(ids integer[], zone text) RETURNS TABLE (series_id integer, readings bigint)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED AS $$
DECLARE
    kept timestamptz := (SELECT coalesce(max(t.since), '-infinity') FROM retention AS t);
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT r.series_id, sum(r.count)::bigint FROM rollup_1day AS r WHERE %s AND r.bucket >= $2 AND NOT EXISTS ('
        'SELECT FROM rollup_days_due($1, $3) AS d WHERE d.series_id = r.series_id AND r.bucket >= d.since AND r.bucket < d.until'
        ') GROUP BY r.series_id', series_condition(ids)
    ) USING ids, kept, zone;
    RETURN QUERY SELECT c.* FROM reading_counts_of_days_due(ids, kept, zone) AS c;
    IF kept > '-infinity' THEN
        RETURN QUERY EXECUTE 'SELECT r.series_id, count(*) FROM reading AS r '
            'WHERE r.series_id = ANY ($1) AND r."time" < $2 GROUP BY r.series_id' USING ids, kept;
    END IF;
END
$$;

-- Row counts for the platform's health: of some areas, or of everything. Likewise replaced.
CREATE FUNCTION health_counts(areas text[], zone text)
RETURNS TABLE (
    readings bigint, open_anomalies bigint, dead_letters bigint, rollups_due integer, rejudge_due bigint,
    newest_received timestamptz
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET plan_cache_mode TO force_generic_plan AS $$
DECLARE
    ids integer[] := ARRAY(
        SELECT s.series_id FROM series AS s JOIN site AS t USING (site_id) WHERE areas IS NULL OR t.area_id = ANY (areas)
    );
    kept timestamptz := coalesce((SELECT t.since FROM retention AS t WHERE t.what = 'reading'), '-infinity');
    rolled_up bigint;
BEGIN
    EXECUTE format(
        'SELECT coalesce(sum(r.count), 0)::bigint FROM rollup_1day AS r WHERE %s AND r.bucket >= $2 AND NOT EXISTS ('
        'SELECT FROM rollup_days_due($1, $3) AS d WHERE d.series_id = r.series_id AND r.bucket >= d.since AND r.bucket < d.until'
        ')', series_condition(ids)
    ) INTO rolled_up USING ids, kept, zone;
    RETURN QUERY SELECT
        rolled_up + (
            SELECT coalesce(sum(c.readings), 0)::bigint FROM reading_counts_of_days_due(ids, kept, zone) AS c
        ),
        CASE WHEN areas IS NULL THEN (SELECT count(*) FROM anomaly AS a WHERE a.state = 'open') ELSE (
            SELECT count(*) FROM anomaly AS a JOIN site AS t USING (site_id) WHERE a.state = 'open' AND t.area_id = ANY (areas)
        ) END,
        CASE WHEN areas IS NULL THEN (SELECT count(*) FROM dead_letter)
            ELSE (SELECT count(*) FROM dead_letter AS l WHERE split_part(l.topic, '/', 3) = ANY (areas)) END,
        (
            SELECT coalesce(ceil(sum(extract(epoch FROM d.until - d.since)) / 3600), 0)::integer FROM rollup_due AS d
            WHERE d.series_id IN (SELECT unnest(ids))
        ),
        (SELECT count(*) FROM rejudge_due AS d WHERE d.series_id IN (SELECT unnest(ids))),
        (SELECT max(l.received) FROM latest AS l WHERE l.series_id IN (SELECT unnest(ids)));
END
$$;

-- The newest reading of some series, or of all, with its newest flag, if it was received after a time. Likewise replaced.
CREATE FUNCTION latest_readings(ids integer[], received_after timestamptz)
RETURNS TABLE (
    series_id integer, "time" timestamptz, received timestamptz, value double precision, quality smallint, rules integer,
    expected real, spread real
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET plan_cache_mode TO force_generic_plan AS $$
BEGIN
    RETURN QUERY SELECT l.series_id, l."time", l.received, l.value, l.quality, l.rules::integer, l.expected, l.spread
    FROM latest_judged AS l
    WHERE l.series_id = ANY (coalesce(ids, ARRAY(SELECT s.series_id FROM series AS s)))
        AND (received_after IS NULL OR l.received > received_after);
END
$$;

-- The functions of these names in the schema "walled", for those series and areas that the scope includes: they are
-- looked up once, and the rows are read without a barrier in between. Of the caller, nothing but the ids gets inside.
CREATE PROCEDURE wall_functions() LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
    definer text := 'LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path TO %1$I, pg_temp '
        'SET plan_cache_mode TO force_generic_plan AS $body$ ';
BEGIN
    EXECUTE format('CREATE FUNCTION walled.series_extent(ids integer[]) RETURNS TABLE (series_id integer, '
        '"first" timestamptz, first_received timestamptz, "last" timestamptz, last_received timestamptz) ' || definer || 'BEGIN '
        'RETURN QUERY SELECT e.* FROM %1$I.series_extent(ARRAY(SELECT unnest(ids) INTERSECT SELECT %1$I.series_seen())) AS e; '
        'END $body$', home);
    EXECUTE format('CREATE FUNCTION walled.reading_counts(ids integer[], zone text) '
        'RETURNS TABLE (series_id integer, readings bigint) ' || definer || 'BEGIN RETURN QUERY SELECT c.* FROM '
        '%1$I.reading_counts(ARRAY(SELECT unnest(ids) INTERSECT SELECT %1$I.series_seen()), zone) AS c; '
        'END $body$', home);
    EXECUTE format('CREATE FUNCTION walled.latest_readings(ids integer[], received_after timestamptz) '
        'RETURNS TABLE (series_id integer, "time" timestamptz, received timestamptz, value double precision, quality smallint, '
        'rules integer, expected real, spread real) ' || definer || 'BEGIN '
        'ids := ARRAY(SELECT s.id FROM %1$I.series_seen() AS s (id) WHERE ids IS NULL OR s.id IN (SELECT unnest(ids))); '
        'RETURN QUERY SELECT l.* FROM %1$I.latest_readings(ids, received_after) AS l; '
        'END $body$', home);
    EXECUTE format('CREATE FUNCTION walled.health_counts(areas text[], zone text) '
        'RETURNS TABLE (readings bigint, open_anomalies bigint, dead_letters bigint, rollups_due integer, rejudge_due bigint, '
        'newest_received timestamptz) ' || definer || 'BEGIN '
        'IF NOT %1$I.wall_is_open() THEN '
        'areas := ARRAY(SELECT a.id FROM %1$I.area_seen() AS a (id) WHERE areas IS NULL OR a.id = ANY (areas)); '
        'END IF; '
        'RETURN QUERY SELECT h.* FROM %1$I.health_counts(areas, zone) AS h; '
        'END $body$', home);
END
$$;

CREATE OR REPLACE PROCEDURE wall_views() LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
    path text := current_setting('search_path');
    base text;
    kind text;
    copied text[];
    rows text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT * FROM %2$I.%1$I '
        'WHERE (SELECT %2$I.wall_is_open()) OR series_id IN (SELECT %2$I.series_seen())';
    -- Readings are always read by series: an array and "series_id = 5" are merged before an index is read, so that no row is
    -- checked by itself. (Of everybody, series_seen() returns every series.)
    readings text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT *%3$s FROM %2$I.reading '
        'WHERE series_id = ANY (ARRAY(SELECT %2$I.series_seen())) %4$s';
    -- A few rows of each of many series: an array would be evaluated once more for each of them, and for each chunk.
    few text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT *%3$s FROM %2$I.reading '
        'WHERE (SELECT %2$I.wall_is_open()) OR series_id IN (SELECT %2$I.series_seen()) %4$s';
    transaction text;
BEGIN
    DROP SCHEMA IF EXISTS walled CASCADE;
    CALL order_views();
    CREATE SCHEMA walled;
    GRANT USAGE ON SCHEMA walled TO towntwin_gateway;
    FOR base, kind IN
        SELECT relname, relkind FROM pg_class
        WHERE relnamespace = home::regnamespace AND relkind IN ('r', 'p', 'v') AND relname ~ '^(reading|rollup_[0-9]+[a-z]+)$'
    LOOP
        transaction := CASE WHEN base = 'reading' AND kind <> 'v' THEN ', xmin' ELSE '' END;  -- for answers as of old
        IF base = 'reading' THEN
            EXECUTE format(readings, base, home, transaction, '');
            EXECUTE format(readings, 'reading_oldest_first', home, transaction, 'ORDER BY "time"');
            EXECUTE format(readings, 'reading_newest_first', home, transaction, 'ORDER BY "time" DESC');
            EXECUTE format(few, 'reading_oldest_few', home, transaction, 'ORDER BY "time"');
            EXECUTE format(few, 'reading_newest_few', home, transaction, 'ORDER BY "time" DESC');
        ELSE
            EXECUTE format(rows, base, home);
        END IF;
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, base);
    END LOOP;
    SELECT array_agg(ARRAY[relname::text, pg_get_viewdef(oid)] ORDER BY oid) INTO copied FROM pg_class
    WHERE relnamespace = home::regnamespace AND relkind = 'v'
        AND relname ~ '(_view|_judged|^reading_as_rollup|^flow_of_speed)$';
    PERFORM set_config('search_path', 'walled, ' || path, true);
    FOR i IN 1 .. coalesce(array_length(copied, 1), 0) LOOP
        EXECUTE format('CREATE VIEW walled.%I WITH (security_invoker) AS %s', copied[i][1], copied[i][2]);
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, copied[i][1]);
    END LOOP;
    PERFORM set_config('search_path', path, true);
    CALL wall_functions();
    GRANT SELECT ON ALL TABLES IN SCHEMA walled TO towntwin_gateway;
END
$$;

DO $$
BEGIN
    IF to_regclass('walled.reading') IS NOT NULL THEN
        CALL wall_views();
    END IF;
END
$$;

-- 0033 pre: processes that could not report because the database was away are not shown as ended (decision 0039).

CREATE TABLE heartbeat_gap (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    resumed timestamptz NOT NULL DEFAULT '-infinity'  -- first heartbeat after a time in which no process could write one
);
INSERT INTO heartbeat_gap DEFAULT VALUES;

CREATE FUNCTION note_heartbeat_gap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE heartbeat_gap SET resumed = now()
    WHERE (SELECT max(beat) FROM heartbeat) < now() - interval '5 seconds';  -- two heartbeats, of every process
    RETURN NULL;
END
$$;

CREATE TRIGGER note_heartbeat_gap BEFORE INSERT OR UPDATE OF beat ON heartbeat
    FOR EACH STATEMENT EXECUTE FUNCTION note_heartbeat_gap();

-- As of 0019, with two more reasons, whose state is "unknown". "unreported": the database returned, by its start or by the end
-- of a gap, and the process has not reported since; processes that resume at the same time overlap by less than two seconds.
-- "reconnecting": a process that lost its connection connects again within its heartbeat's interval, unless it has ended.
CREATE OR REPLACE VIEW process_state AS
WITH held AS MATERIALIZED (
    SELECT l.objid::bigint AS heartbeat_id FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
        AND l.classid = hashtext('towntwin heartbeat')::oid
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
), returned AS MATERIALIZED (
    SELECT greatest(resumed - interval '2 seconds', pg_postmaster_start_time()) AS at FROM heartbeat_gap
), aged AS (
    SELECT h.*, extract(epoch FROM now() - h.beat)::double precision AS beat_age_s,
        h.heartbeat_id IN (SELECT heartbeat_id FROM held) AS connected,
        h.beat < (SELECT at FROM returned)
            AND now() < (SELECT at FROM returned) + h.absent_s * interval '1 second' AS unreported
    FROM heartbeat AS h
), known AS (
    SELECT a.*, CASE
        WHEN unreported THEN 'unreported'
        WHEN NOT connected AND beat_age_s < 3 THEN 'reconnecting'
        WHEN NOT connected THEN CASE WHEN beat_age_s < absent_s THEN 'ended' ELSE 'gone' END
        WHEN beat_age_s >= absent_s THEN 'silent'
        WHEN fault <> '' THEN fault
        WHEN role = 'starting' THEN 'starting'
        WHEN moved_s + beat_age_s >= stuck_s THEN 'still'
        WHEN backlog_s >= behind_s THEN 'backlog'
        WHEN restarts > 0 AND now() - started < interval '30 seconds' THEN 'again'
        ELSE '' END AS why
    FROM aged AS a
), ranked AS (
    SELECT k.*, row_number() OVER (PARTITION BY kind, instance ORDER BY NOT connected, beat DESC) AS place FROM known AS k
)
SELECT kind, instance, host, pid, extract(epoch FROM started)::double precision AS started_s, role, areas,
    CASE WHEN why = '' THEN 'alive' WHEN why = 'gone' THEN 'absent' WHEN why IN ('ended', 'starting', 'again') THEN 'restarting'
        WHEN why IN ('unreported', 'reconnecting') THEN 'unknown' WHEN why = 'backlog' THEN 'behind' ELSE 'stuck' END AS state,
    why, detail, why IN ('', 'again') AS works, restarts, beat_age_s, moved_s + beat_age_s AS moved_age_s,
    success_s + beat_age_s AS success_age_s, backlog_s AS backlog_age_s
FROM ranked WHERE connected OR place = 1  -- one that is gone is shown where nobody took its place
UNION ALL
SELECT e.kind, '', '', 0, NULL, 'starting', '{}', 'absent', 'never', '', false, 0, NULL, NULL, NULL, 0
FROM (VALUES ('ingest'), ('service')) AS e (kind) WHERE NOT EXISTS (SELECT FROM heartbeat AS h WHERE h.kind = e.kind);

DO $$
BEGIN
    GRANT SELECT, UPDATE ON heartbeat_gap TO towntwin_ingest, towntwin_analytics, towntwin_gateway;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION note_heartbeat_gap() SET search_path TO %I, pg_temp', current_schema());
END
$$;

-- 0034 pre: limits by month and hour, of a device's clock, and the alarm budget; score limits on the judge's scale of rarity.

ALTER TABLE series
    DROP CONSTRAINT IF EXISTS series_limits_are_known,
    DROP CONSTRAINT IF EXISTS series_limits_are_in_order;

-- Score limits of before were 2.3 (close), 5 (weak) and 8 (strong) by default, and are 7, 7 and 8 now, in decades of rarity on
-- both scales: each keeps its distance from its default (decision 0049).
CREATE FUNCTION converted_score_limits(old jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT (old - ARRAY['score_close', 'score_weak', 'score_strong']) || jsonb_build_object(
        'score_strong', s.strong, 'score_weak', w.weak, 'score_close', least(coalesce(s.close + 4.7, w.weak), w.weak)
    )
    FROM (SELECT coalesce((old ->> 'score_strong')::float8, 8) AS strong, (old ->> 'score_weak')::float8 AS weak,
            (old ->> 'score_close')::float8 AS close) AS s,
        LATERAL (SELECT least(coalesce(s.weak + 2, s.strong - 1), s.strong) AS weak) AS w
$$;

-- Whether there are score limits to convert: not where one is switched off, nor where the limits are no numbers anyway.
CREATE FUNCTION has_score_limits(old jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_typeof(old) = 'object' AND old ?| ARRAY['score_close', 'score_weak', 'score_strong']
        AND NOT jsonb_path_exists(old, '$.* ? (@.type() != "number" && @.type() != "null")')
        AND NOT jsonb_path_exists(old, '$.keyvalue() ? (@.key like_regex "^score_" && @.value.type() == "null")')
$$;

WITH changed AS (
    UPDATE series SET adopted = converted_score_limits(adopted) WHERE has_score_limits(adopted) RETURNING series_id, adopted
)
INSERT INTO adoption (series_id, limits, who, note)
SELECT series_id, adopted, 'migration 0034', 'score limits converted to the scale of rarity, on which 8 is once a month' FROM changed;

UPDATE series SET limits = converted_score_limits(limits) WHERE has_score_limits(limits);

DROP FUNCTION converted_score_limits(jsonb), has_score_limits(jsonb);

-- As of 0022, with what the judge has learned since. A site file with an alarm budget could not be enrolled.
ALTER TABLE series
    ADD CONSTRAINT series_limits_are_known CHECK (
        jsonb_typeof(limits) = 'object'
        AND NOT jsonb_path_exists(limits, '$.* ? (@.type() != "number")')
        AND NOT jsonb_path_exists(limits - ARRAY[
            'alarms_per_month', 'fail_low', 'fail_high', 'suspect_low', 'suspect_high', 'rate_suspect_per_s', 'rate_fail_per_s',
            'spike_suspect', 'spike_fail', 'flat_suspect_s', 'flat_fail_s', 'flat_tolerance', 'spread_floor',
            'spread_share', 'warm_up_s', 'level_memory_s', 'profile_memory_days', 'score_weak', 'score_strong',
            'score_close', 'shift_memory_s', 'shift_least', 'novelty_least', 'step_deviations', 'attenuated_s',
            'attenuated_suspect', 'attenuated_fail', 'gap_suspect_s', 'gap_fail_s', 'stuck_clock_suspect_s',
            'stuck_clock_fail_s', 'adopt_s', 'event_gap_s', 'day_offset_s'
        ], '$.keyvalue() ? (!(@.key like_regex "^(fail|suspect)_(low|high)@[0-9]{1,2}(-[0-9]{1,2})?(/[0-9]{1,2}(-[0-9]{1,2})?)?$"))')
    ) NOT VALID,
    ADD CONSTRAINT series_limits_are_in_order CHECK (
        coalesce((limits ->> 'fail_low')::float8 <= (limits ->> 'suspect_low')::float8, true)
        AND coalesce((limits ->> 'suspect_low')::float8 <= (limits ->> 'suspect_high')::float8, true)
        AND coalesce((limits ->> 'suspect_high')::float8 <= (limits ->> 'fail_high')::float8, true)
        AND coalesce((limits ->> 'fail_low')::float8 <= (limits ->> 'fail_high')::float8, true)
        AND coalesce((limits ->> 'rate_suspect_per_s')::float8 <= (limits ->> 'rate_fail_per_s')::float8, true)
        AND coalesce((limits ->> 'spike_suspect')::float8 <= (limits ->> 'spike_fail')::float8, true)
        AND coalesce((limits ->> 'flat_suspect_s')::float8 <= (limits ->> 'flat_fail_s')::float8, true)
        AND coalesce((limits ->> 'gap_suspect_s')::float8 <= (limits ->> 'gap_fail_s')::float8, true)
        AND coalesce((limits ->> 'stuck_clock_suspect_s')::float8 <= (limits ->> 'stuck_clock_fail_s')::float8, true)
        AND coalesce((limits ->> 'score_close')::float8 <= (limits ->> 'score_weak')::float8, true)
        AND coalesce((limits ->> 'score_weak')::float8 <= (limits ->> 'score_strong')::float8, true)
        AND coalesce((limits ->> 'attenuated_fail')::float8 <= (limits ->> 'attenuated_suspect')::float8, true)
    ) NOT VALID;

-- 0035 pre: enrolment of devices: codes for technicians, proposals of devices, and their access to the broker.

CREATE TABLE enrolment_code (
    code_id text PRIMARY KEY CHECK (code_id ~ '^[0-9a-f]{12}$'),
    hash text NOT NULL,  -- SHA-256 of the secret
    area_id text NOT NULL REFERENCES area,
    devices integer NOT NULL CHECK (devices BETWEEN 1 AND 1000),
    proposals integer NOT NULL DEFAULT 0 CHECK (proposals <= devices),
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires timestamptz NOT NULL,
    revoked timestamptz
);

CREATE TABLE enrolment (
    enrolment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code_id text REFERENCES enrolment_code,  -- NULL: from a file
    area_id text NOT NULL REFERENCES area,
    device_id text NOT NULL CHECK (device_id ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$'),
    state text NOT NULL DEFAULT 'proposed' CHECK (state IN ('proposed', 'confirmed', 'rejected', 'revoked')),
    credential text NOT NULL CHECK (credential IN ('password', 'certificate')),
    token_hash text,  -- SHA-256 of the device's token
    request text,  -- certificate signing request, PEM
    certificate text,  -- PEM
    password text,  -- from its delivery by the device until the broker has it
    channels jsonb NOT NULL DEFAULT '[]',
    agent text NOT NULL DEFAULT '',
    address text NOT NULL DEFAULT '',
    proposed timestamptz NOT NULL DEFAULT now(),
    decided timestamptz,
    decided_by text,
    note text NOT NULL DEFAULT '',
    access text NOT NULL DEFAULT 'none' CHECK (access IN ('none', 'pending', 'granted', 'withdrawn')),
    access_error text NOT NULL DEFAULT '',
    CHECK (password IS NULL OR access = 'pending')
);
CREATE UNIQUE INDEX enrolment_of_device ON enrolment (device_id) WHERE state IN ('proposed', 'confirmed');
CREATE INDEX enrolment_pending ON enrolment (enrolment_id) WHERE access = 'pending';

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'towntwin_access') THEN
        CREATE ROLE towntwin_access NOLOGIN;  -- of the process that passes the access of devices on to the broker
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO towntwin_access', current_schema());
    IF to_regclass('schema_migration') IS NOT NULL THEN
        GRANT SELECT ON schema_migration TO towntwin_access;
    END IF;
    GRANT SELECT, UPDATE (access, access_error, password, certificate) ON enrolment TO towntwin_access;
    GRANT SELECT, INSERT, UPDATE (proposals, revoked) ON enrolment_code TO towntwin_gateway;
    -- The gateway writes passwords, and can't read them.
    GRANT SELECT (enrolment_id, code_id, area_id, device_id, state, credential, token_hash, request, certificate, channels,
            agent, address, proposed, decided, decided_by, note, access, access_error),
        INSERT, DELETE, UPDATE (state, password, decided, decided_by, note, access, access_error)
        ON enrolment TO towntwin_gateway;
    GRANT INSERT, UPDATE (area_id, kind) ON device TO towntwin_gateway;
    GRANT INSERT, UPDATE (area_id, kind, en, zh, lon, lat, external_id, grid_cell, target_class, demo)
        ON site TO towntwin_gateway;
    GRANT INSERT, UPDATE (interval_s, limits) ON series TO towntwin_gateway;
    GRANT INSERT, UPDATE (series_id) ON channel TO towntwin_gateway;
    CALL wall('enrolment_code', 'false');
    CALL wall('enrolment', 'false');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0036 pre: commands to HJ 212 stations, maintenance of probes and their calibrations (decision 0051).

-- The gateway inserts commands, the HJ 212 server sends them and writes what becomes of them; both survive a restart of either.
CREATE TABLE station_command (
    command_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id text NOT NULL REFERENCES device,
    command text NOT NULL,  -- CN
    parameters jsonb NOT NULL DEFAULT '{}',
    who text NOT NULL,
    note text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT now(),
    expires timestamptz NOT NULL,
    over_time_s double precision NOT NULL CHECK (over_time_s > 0),
    re_count integer NOT NULL CHECK (re_count >= 0),
    state text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'sent', 'accepted', 'done', 'refused', 'failed', 'timed_out', 'expired')),
    attempts integer NOT NULL DEFAULT 0,
    request text NOT NULL DEFAULT '',  -- QN, given at the first attempt and kept by later ones
    due timestamptz,  -- of the next answer, while it is sent or accepted
    finished timestamptz,
    result integer,  -- QnRtn or ExeRtn
    answers jsonb NOT NULL DEFAULT '[]',
    uploads integer NOT NULL DEFAULT 0  -- uploads with its request number
);
CREATE INDEX station_command_by_device ON station_command (device_id, command_id);
CREATE INDEX station_command_open ON station_command (device_id, command_id) WHERE finished IS NULL;

-- Times in which readings of a series are flagged and raise nothing.
CREATE TABLE maintenance (
    maintenance_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id integer NOT NULL REFERENCES series,
    begins timestamptz NOT NULL,
    ends timestamptz NOT NULL CHECK (ends > begins),
    who text NOT NULL,
    note text NOT NULL DEFAULT '',
    ended_by text
);
CREATE INDEX maintenance_by_series ON maintenance (series_id, begins);

CREATE TABLE calibration (
    calibration_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id integer NOT NULL REFERENCES series,
    calibrated timestamptz NOT NULL,
    reference double precision NOT NULL,  -- value of the standard, in the unit of the quantity
    before double precision NOT NULL,  -- what the probe read in it before and after its calibration
    after double precision NOT NULL,
    tolerance double precision CHECK (tolerance > 0),  -- drift at which it is due again; NULL: the quantity's
    who text NOT NULL,
    note text NOT NULL DEFAULT '',
    UNIQUE (series_id, calibrated)
);

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON station_command, maintenance TO towntwin_gateway;
    GRANT SELECT, INSERT ON calibration TO towntwin_gateway;
    GRANT SELECT, UPDATE ON station_command TO towntwin_ingest;
    GRANT SELECT ON maintenance TO towntwin_ingest, towntwin_analytics;
    GRANT SELECT ON calibration TO towntwin_analytics;
    CALL wall('station_command', 'device_id IN (SELECT device_id FROM device)');
    CALL wall('maintenance', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('calibration', 'series_id IN (SELECT series_id FROM series)');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;

-- 0037 pre: incidents, the anomalies in them, their history, requests and photos; keys of team members and supervisors.

-- One event that a town works on. area_ids: every touched area. started, last: measured; opened: when the platform opened it.
-- revision: from the sequence of anomalies, so that one cursor follows both.
CREATE TABLE incident (
    incident_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    revision bigint NOT NULL DEFAULT nextval('anomaly_revision'),
    area_id text NOT NULL REFERENCES area,
    area_ids text[] NOT NULL CHECK (area_id = ANY (area_ids)),
    main_site_id text NOT NULL REFERENCES site,
    kind text NOT NULL CHECK (kind IN ('water', 'traffic', 'device', 'platform')),
    cause text NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 4),
    consequence text NOT NULL DEFAULT '',
    urgency text NOT NULL DEFAULT '',
    severity smallint NOT NULL CHECK (severity BETWEEN 1 AND 3),
    state text NOT NULL CHECK (
        state IN ('new', 'filed', 'dispatched', 'in_hand', 'reported', 'verified', 'closed', 'false_alarm')),
    alarm_state text NOT NULL CHECK (alarm_state IN (
        'normal', 'unacknowledged', 'acknowledged', 'returned_unacknowledged', 'shelved', 'suppressed', 'out_of_service')),
    active boolean NOT NULL,
    started timestamptz NOT NULL,
    last timestamptz NOT NULL,
    opened timestamptz NOT NULL,
    updated timestamptz NOT NULL DEFAULT now(),
    returned timestamptz,
    acknowledged timestamptz,
    acknowledged_by text,
    filed timestamptz,
    dispatched timestamptz,
    reported timestamptz,
    closed timestamptz,
    annunciations integer NOT NULL DEFAULT 0,
    team_id text,
    assignee text,
    parent_id bigint REFERENCES incident,
    suppressed_by text CHECK (suppressed_by IN ('parent', 'maintenance', 'flood')),
    merged_into bigint REFERENCES incident,
    shelved_until timestamptz,
    extended_until timestamptz,
    held_until timestamptz,
    summary text NOT NULL DEFAULT '',
    opened_by text NOT NULL
);
CREATE INDEX incident_by_opened ON incident (opened DESC, incident_id DESC);
CREATE INDEX incident_by_revision ON incident (revision);
CREATE INDEX incident_by_last ON incident (last DESC);
CREATE INDEX incident_open ON incident (team_id) WHERE state NOT IN ('closed', 'false_alarm');
CREATE INDEX incident_by_parent ON incident (parent_id) WHERE parent_id IS NOT NULL;
CREATE TRIGGER revisions_announced BEFORE INSERT OR UPDATE ON incident
    FOR EACH STATEMENT EXECUTE FUNCTION announce_revisions();

-- Where each anomaly belongs, and why; incident_id is NULL if it was kept out of all incidents.
CREATE TABLE incident_anomaly (
    anomaly_id bigint PRIMARY KEY REFERENCES anomaly,
    incident_id bigint REFERENCES incident,
    site_id text NOT NULL REFERENCES site,
    role text NOT NULL CHECK (role IN ('opened', 'joined', 'suppressed')),
    reason text NOT NULL,
    reason_en text NOT NULL,
    reason_zh text NOT NULL,
    anomaly_revision bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'closed', 'withdrawn')),
    start timestamptz NOT NULL,
    "end" timestamptz,
    severity smallint NOT NULL,
    series_id integer REFERENCES series,
    device_id text REFERENCES device,
    detector text NOT NULL,
    by text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX incident_anomaly_by_incident ON incident_anomaly (incident_id, start);
CREATE INDEX incident_anomaly_by_site ON incident_anomaly (site_id, start DESC);

-- Append-only: who did what, when and why, from which state. revision: of the incident after it.
CREATE TABLE incident_history (
    history_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id bigint NOT NULL REFERENCES incident,
    revision bigint NOT NULL,
    machine text NOT NULL CHECK (machine IN ('workflow', 'alarm', 'record')),
    event text NOT NULL,
    from_state text,
    to_state text,
    who text NOT NULL,
    why text NOT NULL,
    "at" timestamptz NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX incident_history_by_incident ON incident_history (incident_id, history_id);
CREATE INDEX incident_history_by_revision ON incident_history (revision);
CREATE INDEX incident_history_by_at ON incident_history ("at");
CREATE FUNCTION incident_history_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of incidents is append-only: its entries are neither changed nor deleted'
        USING ERRCODE = '42501';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_history
    FOR EACH STATEMENT EXECUTE FUNCTION incident_history_is_append_only();

CREATE TABLE incident_request (
    request_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id bigint NOT NULL REFERENCES incident,
    kind text NOT NULL CHECK (kind IN ('extension', 'return', 'hold')),
    state text NOT NULL CHECK (state IN ('waiting', 'approved', 'refused', 'withdrawn')),
    requested_by text NOT NULL,
    requested timestamptz NOT NULL,
    why text NOT NULL,
    until timestamptz,
    approver_role text NOT NULL,
    decided_by text,
    decided timestamptz,
    decided_why text
);
CREATE UNIQUE INDEX incident_request_waiting ON incident_request (incident_id, kind) WHERE state = 'waiting';
CREATE INDEX incident_request_by_incident ON incident_request (incident_id, request_id);

CREATE TABLE incident_photo (
    photo_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id bigint NOT NULL REFERENCES incident,
    "at" timestamptz NOT NULL,
    who text NOT NULL,
    caption text NOT NULL,
    media_type text NOT NULL CHECK (media_type IN ('image/jpeg', 'image/png')),
    width integer NOT NULL,
    height integer NOT NULL,
    content bytea NOT NULL
);
CREATE INDEX incident_photo_by_incident ON incident_photo (incident_id, photo_id);

-- Planned work, in which the alarms of a site are suppressed by design.
CREATE TABLE planned_maintenance (
    maintenance_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id text NOT NULL REFERENCES site,
    "from" timestamptz NOT NULL,
    "to" timestamptz NOT NULL CHECK ("to" > "from"),
    who text NOT NULL,
    why text NOT NULL
);
CREATE INDEX planned_maintenance_by_end ON planned_maintenance ("to");

-- Up to which revision the anomalies of an area were grouped.
CREATE TABLE incident_cursor (
    area_id text PRIMARY KEY REFERENCES area,
    revision bigint NOT NULL,
    updated timestamptz NOT NULL DEFAULT now()
);

-- Anomalies from before are grouped if they are open or of the last two days.
INSERT INTO incident_cursor (area_id, revision)
SELECT site.area_id, coalesce(min(a.revision) FILTER (WHERE a.state = 'open' OR a.start > now() - interval '2 days') - 1,
    drawn_revision())
FROM anomaly AS a JOIN site USING (site_id) GROUP BY site.area_id;

CREATE VIEW incident_view AS
SELECT
    i.incident_id, i.opened AS "time", i.started, i.last, i.updated, i.closed, i.kind, i.cause, i.priority, i.severity,
    i.state, i.alarm_state, i.active, i.team_id, i.assignee, i.parent_id, i.annunciations,
    i.state NOT IN ('closed', 'false_alarm') AS is_open,
    (SELECT count(*) FROM incident_anomaly AS m WHERE m.incident_id = i.incident_id AND m.role <> 'suppressed') AS anomalies,
    i.main_site_id AS site_id, site.en AS site_en, site.zh AS site_zh, site.lon, site.lat,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh,
    county.area_id AS county_id, county.en AS county_en, county.zh AS county_zh,
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh
FROM incident AS i
JOIN site ON site.site_id = i.main_site_id
JOIN area AS town ON town.area_id = i.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent;

CREATE VIEW incident_history_view AS
SELECT h.history_id, h.incident_id, h."at" AS "time", h.machine, h.event, h.from_state, h.to_state, h.who, i.kind, i.cause,
    i.priority, i.area_id, i.main_site_id AS site_id
FROM incident_history AS h JOIN incident AS i USING (incident_id);

-- team_id: of team members, who see what is dispatched to their team.
ALTER TABLE api_key DROP CONSTRAINT api_key_role_check;
ALTER TABLE api_key ADD CONSTRAINT api_key_role_check
    CHECK (role IN ('viewer', 'team_member', 'operator', 'supervisor', 'engineer', 'administrator'));
ALTER TABLE api_key ADD COLUMN team_id text;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON incident, incident_anomaly, incident_request TO towntwin_analytics, towntwin_gateway;
    GRANT SELECT, INSERT ON incident_history TO towntwin_analytics, towntwin_gateway;
    GRANT SELECT, INSERT, UPDATE ON incident_cursor TO towntwin_analytics;
    GRANT SELECT, INSERT ON incident_photo TO towntwin_gateway;
    GRANT SELECT, INSERT, UPDATE, DELETE ON planned_maintenance TO towntwin_gateway;
    GRANT SELECT ON planned_maintenance TO towntwin_analytics;
    GRANT SELECT ON incident_view, incident_history_view TO towntwin_gateway, towntwin_grafana, towntwin_analytics;
    GRANT USAGE ON SEQUENCE anomaly_revision TO towntwin_gateway;
    CALL wall('incident', 'area_ids && ARRAY(SELECT area_seen())');
    CALL wall('incident_anomaly', 'site_id IN (SELECT site_id FROM site)');
    CALL wall('incident_history', 'incident_id IN (SELECT incident_id FROM incident)');
    CALL wall('incident_request', 'incident_id IN (SELECT incident_id FROM incident)');
    CALL wall('incident_photo', 'incident_id IN (SELECT incident_id FROM incident)');
    CALL wall('planned_maintenance', 'site_id IN (SELECT site_id FROM site)');
    CALL wall('incident_cursor', 'area_id IN (SELECT area_seen())');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0038 pre: grid cells, teams, rosters and hand-over notes; channels, preferences, deadlines, and the outbox of notifications.

-- setting: whether a cell is in a town or a village; geometry: GeoJSON Polygon or MultiPolygon, WGS 84.
CREATE TABLE grid_cell (
    cell_id text PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    en text NOT NULL,
    zh text NOT NULL,
    setting text NOT NULL CHECK (setting IN ('town', 'village')),
    geometry jsonb NOT NULL CHECK (geometry ->> 'type' IN ('Polygon', 'MultiPolygon')),
    enabled boolean NOT NULL DEFAULT true
);
CREATE INDEX grid_cell_by_area ON grid_cell (area_id);

-- coverage: what the team is responsible for; channels: ids of the channels of its group.
CREATE TABLE team (
    team_id text PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    en text NOT NULL,
    zh text NOT NULL,
    coverage jsonb NOT NULL DEFAULT '[]',
    channels text[] NOT NULL DEFAULT '{}',
    enabled boolean NOT NULL DEFAULT true
);
CREATE INDEX team_by_area ON team (area_id);

-- place: order in the team. A member that left keeps the row, without a team, for the notifications of the past.
CREATE TABLE team_member (
    member_id text PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    team_id text REFERENCES team,
    place integer NOT NULL,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('member', 'leader', 'supervisor')),
    principal text,
    email text,
    language text NOT NULL CHECK (language IN ('zh', 'en'))
);
CREATE INDEX team_member_by_team ON team_member (team_id, place);

CREATE TABLE roster (
    roster_id text PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    team_id text NOT NULL REFERENCES team,
    en text NOT NULL,
    zh text NOT NULL,
    rotations jsonb NOT NULL DEFAULT '[]',
    enabled boolean NOT NULL DEFAULT true
);

CREATE TABLE roster_override (
    override_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    roster_id text NOT NULL REFERENCES roster,
    area_id text NOT NULL REFERENCES area,
    member_id text REFERENCES team_member,
    "from" timestamptz NOT NULL,
    "to" timestamptz NOT NULL CHECK ("to" > "from"),
    who text NOT NULL,
    note text NOT NULL,
    "at" timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX roster_override_by_end ON roster_override ("to");

CREATE TABLE handover_note (
    note_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    team_id text NOT NULL REFERENCES team,
    who text NOT NULL,
    text text NOT NULL,
    incidents bigint[] NOT NULL DEFAULT '{}',
    "at" timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX handover_note_by_team ON handover_note (team_id, note_id DESC);

-- url_secret, sign_secret: names of secrets, which are in files or the environment of the service, never here.
CREATE TABLE notification_channel (
    channel_id text PRIMARY KEY CHECK (channel_id <> 'console'),
    area_id text NOT NULL REFERENCES area,
    kind text NOT NULL CHECK (kind IN ('wecom', 'dingtalk', 'feishu', 'email', 'webhook', 'console')),
    en text NOT NULL,
    zh text NOT NULL,
    url text,
    url_secret text,
    sign_secret text,
    language text NOT NULL CHECK (language IN ('zh', 'en')),
    enabled boolean NOT NULL DEFAULT true
);

CREATE TABLE member_preferences (
    member_id text PRIMARY KEY REFERENCES team_member,
    area_id text NOT NULL REFERENCES area,
    preferences jsonb NOT NULL DEFAULT '[]'
);

-- When a phase of an incident has to be over, and when it was.
CREATE TABLE incident_deadline (
    incident_id bigint NOT NULL REFERENCES incident,
    phase text NOT NULL CHECK (phase IN ('acknowledge', 'file', 'dispatch', 'handle', 'verify')),
    area_id text NOT NULL REFERENCES area,
    due timestamptz NOT NULL,
    met timestamptz,
    PRIMARY KEY (incident_id, phase)
);
CREATE INDEX incident_deadline_open ON incident_deadline (due) WHERE met IS NULL;

-- An attempt to send one message, with everybody who reads it. outcome: 'started' until its response was received.
CREATE TABLE notification_delivery (
    delivery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    channel_id text NOT NULL,
    destination text NOT NULL,
    members text[] NOT NULL,
    notifications integer NOT NULL,
    started timestamptz NOT NULL,
    ended timestamptz,
    outcome text NOT NULL CHECK (outcome IN ('started', 'sent', 'refused', 'limited', 'unknown')),
    detail text NOT NULL DEFAULT ''
);
CREATE INDEX notification_delivery_by_start ON notification_delivery (started DESC);

-- The outbox. One row for each step of an incident, member and channel, whatever restarts in between.
CREATE TABLE notification (
    notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('incident', 'test')),
    area_id text NOT NULL REFERENCES area,
    incident_id bigint REFERENCES incident,
    step text NOT NULL,
    member_id text REFERENCES team_member,
    channel_id text NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 4),
    text_en text NOT NULL,
    text_zh text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'failed', 'suppressed')),
    created timestamptz NOT NULL DEFAULT now(),
    due timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_try timestamptz,
    sent timestamptz,
    detail text NOT NULL DEFAULT '',
    delivery_id bigint REFERENCES notification_delivery,
    UNIQUE NULLS NOT DISTINCT (incident_id, step, member_id, channel_id)
);
CREATE INDEX notification_waiting ON notification (due) WHERE state = 'waiting';
CREATE INDEX notification_of_consoles ON notification (delivery_id) WHERE channel_id = 'console';
CREATE INDEX notification_by_member ON notification (member_id, notification_id DESC);

-- Token bucket of each robot or server: a restart must not refill it.
CREATE TABLE destination_rate (
    destination text PRIMARY KEY,
    tokens double precision NOT NULL,
    "at" timestamptz NOT NULL,
    blocked_until timestamptz
);

-- What links of acknowledgement are signed with, by the service, and verified with, by the gateway.
CREATE TABLE acknowledgement_secret (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    secret bytea NOT NULL CHECK (length(secret) = 32)
);
INSERT INTO acknowledgement_secret (secret)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

DO $$
DECLARE
    one text;
BEGIN
    GRANT SELECT ON grid_cell, team, team_member, roster, roster_override, handover_note, notification_channel,
        member_preferences, acknowledgement_secret TO towntwin_analytics, towntwin_gateway;
    GRANT INSERT, UPDATE ON grid_cell, team, team_member, roster, notification_channel, member_preferences TO towntwin_gateway;
    GRANT INSERT ON roster_override, handover_note TO towntwin_gateway;
    GRANT SELECT, INSERT, UPDATE ON incident_deadline, notification, notification_delivery, destination_rate
        TO towntwin_analytics;
    GRANT SELECT ON incident_deadline, notification_delivery TO towntwin_gateway;
    GRANT SELECT, INSERT ON notification TO towntwin_gateway;
    FOREACH one IN ARRAY ARRAY['grid_cell', 'team', 'team_member', 'roster', 'roster_override', 'handover_note',
        'notification_channel', 'member_preferences', 'incident_deadline', 'notification_delivery', 'notification']
    LOOP
        CALL wall(one::regclass, 'area_id IN (SELECT area_seen())');
    END LOOP;
    CALL wall('destination_rate', 'false');
    CALL wall('acknowledgement_secret', 'false');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0040 pre: the process that passes the access of devices on to the broker reports its state as the others do.

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON heartbeat TO towntwin_access;
    GRANT SELECT, UPDATE ON heartbeat_gap TO towntwin_access;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0040 pre: the posterior over the sources of an incident on the river, one for each incident.

-- inputs: what it was computed from; another one is computed when that changes. posterior: NULL if it can't be computed.
CREATE TABLE incident_trace (
    incident_id bigint PRIMARY KEY REFERENCES incident,
    inputs text NOT NULL,
    computed timestamptz NOT NULL DEFAULT now(),
    computing_s double precision NOT NULL,
    times_computed integer NOT NULL DEFAULT 1,
    posterior jsonb
);

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON incident_trace TO towntwin_analytics;
    GRANT SELECT ON incident_trace TO towntwin_gateway;
    CALL wall('incident_trace', 'incident_id IN (SELECT incident_id FROM incident)');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0041 pre: scenarios, what if something were changed, with their inputs and results.

-- area_ids: of all places that a scenario names, all of which a reader has to be allowed to read.
CREATE TABLE scenario (
    scenario_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    area_ids text[] NOT NULL CHECK (cardinality(area_ids) > 0),
    kind text NOT NULL CHECK (kind IN ('water', 'traffic')),
    name text NOT NULL,
    who text NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    network_version bigint NOT NULL,
    "at" timestamptz NOT NULL,
    computing_s double precision NOT NULL,
    inputs jsonb NOT NULL,
    result jsonb NOT NULL
);

DO $$
BEGIN
    GRANT SELECT, INSERT ON scenario TO towntwin_gateway;
    CALL wall('scenario', 'area_ids <@ ARRAY(SELECT area_seen())');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0042 pre: the service counts dead letters to notice that they grow; it reads no payload.

DO $$
BEGIN
    GRANT SELECT (letter_id, received, topic, reason) ON dead_letter TO towntwin_analytics;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0043 pre: what a town's platform forwards to its county's, and whose rows a county received (decision 0083).

-- Town: ranges of series whose readings or flags changed, each kept until the county has confirmed them. Only while
-- there is a row in federation_uplink; of old ranges, those of a series that touch are merged by the forwarder.
CREATE TABLE federation_due (
    due_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id integer NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    noted timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX federation_due_by_noted ON federation_due (noted);

-- Town: how far the county has confirmed the anomalies and the incidents, by revision; one row.
CREATE TABLE federation_uplink (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    anomaly_revision bigint NOT NULL DEFAULT 0,
    incident_revision bigint NOT NULL DEFAULT 0,
    started timestamptz NOT NULL DEFAULT now(),
    confirmed timestamptz
);

-- Whoever changes readings or flags marks their rollups as due in the same transaction.
CREATE FUNCTION note_federation_due() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM federation_uplink) THEN
        INSERT INTO federation_due (series_id, since, until) SELECT series_id, since, until FROM changed;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER federation_due_noted AFTER INSERT ON rollup_due
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION note_federation_due();

-- Begin to note changes; the first time, what was stored within some days before is due, and true is returned. The lock
-- waits for open transactions that changed readings: they did not note it, and it would be read before they commit.
CREATE FUNCTION begin_federation(history_days double precision) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    LOCK TABLE rollup_due IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO federation_uplink DEFAULT VALUES ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO federation_due (series_id, since, until, noted)
    SELECT series_id, now() - history_days * interval '1 day', now() + interval '1 day', now() - interval '1 day' FROM series;
    RETURN true;
END
$$;
REVOKE EXECUTE ON FUNCTION begin_federation(double precision) FROM PUBLIC;

-- County: whose a row is: the device of the town's platform that forwarded it, or NULL for the county's own rows.
ALTER TABLE area ADD COLUMN origin text REFERENCES device;
ALTER TABLE site ADD COLUMN origin text REFERENCES device;
ALTER TABLE device ADD COLUMN origin text REFERENCES device;
ALTER TABLE incident ADD COLUMN origin text REFERENCES device, ADD COLUMN origin_id bigint;
CREATE UNIQUE INDEX incident_by_origin ON incident (origin, origin_id, opened) WHERE origin IS NOT NULL;

-- County: the newest forwarder of each town, which is the only one that is followed, and its newest block.
CREATE TABLE federation_source (
    device_id text PRIMARY KEY REFERENCES device,
    forwarder bigint NOT NULL,
    block bigint NOT NULL,
    release text NOT NULL,
    received timestamptz NOT NULL DEFAULT now()
);

-- County: which anomaly here is which of the town, as of which change.
CREATE TABLE federated_anomaly (
    anomaly_id bigint PRIMARY KEY REFERENCES anomaly,
    origin text NOT NULL REFERENCES device,
    origin_id bigint NOT NULL,
    forwarder bigint NOT NULL,
    revision bigint NOT NULL
);
CREATE INDEX federated_anomaly_by_origin ON federated_anomaly (origin, origin_id);

-- County: as of which change of the town each of its incidents is.
CREATE TABLE federated_incident (
    incident_id bigint PRIMARY KEY REFERENCES incident,
    forwarder bigint NOT NULL,
    revision bigint NOT NULL
);

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON federation_due, federation_uplink, federation_source, federated_anomaly,
        federated_incident TO towntwin_ingest;
    GRANT SELECT, INSERT, UPDATE ON area, site, device, series, directory_version, incident, incident_anomaly,
        flag_revision TO towntwin_ingest;
    GRANT SELECT, INSERT ON incident_history TO towntwin_ingest;
    GRANT EXECUTE ON FUNCTION begin_federation(double precision) TO towntwin_ingest;
    CALL wall('federation_due', 'false');
    CALL wall('federation_uplink', 'false');
    CALL wall('federation_source', 'false');
    CALL wall('federated_anomaly', 'false');
    CALL wall('federated_incident', 'false');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0044 pre: the service deletes scenarios that are older than their retention time.

CREATE INDEX scenario_by_time ON scenario (created);

DO $$
BEGIN
    GRANT SELECT, DELETE ON scenario TO towntwin_analytics;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0045 pre: when certificates of devices end, so that they are renewed and watched before that.

ALTER TABLE enrolment ADD COLUMN certificate_ends timestamptz;  -- of `certificate`; NULL: issued before this migration
ALTER TABLE enrolment ADD COLUMN held_ends timestamptz;  -- of the certificate that the device collected last

DO $$
BEGIN
    GRANT UPDATE (certificate_ends, held_ends) ON enrolment TO towntwin_access;
    GRANT SELECT (certificate_ends, held_ends), UPDATE (held_ends) ON enrolment TO towntwin_gateway;
    GRANT SELECT (area_id, device_id, state, access, credential, certificate_ends, held_ends) ON enrolment
        TO towntwin_analytics;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0046 pre: attributes of nodes and links, and what the networks were at an earlier time.

-- valid_from: since when the row is valid; NULL for always. Columns as in ingest_service/storage/contract/models.py.
ALTER TABLE node ADD COLUMN elevation_m double precision, ADD COLUMN external_id text,
    ADD COLUMN valid_from timestamptz;
ALTER TABLE link ADD COLUMN direction text NOT NULL DEFAULT 'forward' CHECK (direction IN ('forward', 'both')),
    ADD COLUMN section_shape text CHECK (section_shape IN ('rectangular', 'trapezoidal', 'circular')),
    ADD COLUMN width_m double precision CHECK (width_m > 0),
    ADD COLUMN depth_m double precision CHECK (depth_m > 0),
    ADD COLUMN side_slope double precision CHECK (side_slope >= 0),
    ADD COLUMN manning_n double precision CHECK (manning_n > 0),
    ADD COLUMN structure text CHECK (structure IN ('sluice', 'weir', 'pump')),
    ADD COLUMN lane_capacity_veh_h double precision CHECK (lane_capacity_veh_h > 0),
    ADD COLUMN external_id text,
    ADD COLUMN valid_from timestamptz;

-- A node or link as it was from valid_from (NULL for always) until valid_to. area_ids: of the node, or of both ends.
CREATE TABLE network_history (
    feature text NOT NULL CHECK (feature IN ('node', 'link')),
    feature_id text NOT NULL,
    area_ids text[] NOT NULL CHECK (cardinality(area_ids) > 0),
    valid_from timestamptz,
    valid_to timestamptz NOT NULL CHECK (valid_from < valid_to),
    content jsonb NOT NULL,
    PRIMARY KEY (feature, feature_id, valid_to)
);

-- Assessments of a link that is no more stay.
ALTER TABLE assessment DROP CONSTRAINT assessment_link_id_fkey;

DO $$
BEGIN
    GRANT SELECT ON network_history TO towntwin_ingest, towntwin_analytics, towntwin_gateway;
    CALL wall('network_history', 'area_ids <@ ARRAY(SELECT area_seen())');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0047 pre: commands from a county down to its towns; rollups, assessments, events across borders (decision 0090).

-- At the platform that issues a command, at the one that applies it, and at each one between. device_id: forwarder of the
-- platform below that gets it; NULL: it is applied here. from_above: it was received; its result is reported until the
-- platform above has confirmed that. own_incident: the incident here that it is about.
CREATE TABLE federation_command (
    command_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    area_id text NOT NULL,
    device_id text REFERENCES device,
    from_above boolean NOT NULL,
    kind text NOT NULL,
    content jsonb NOT NULL,
    who text NOT NULL,
    note text NOT NULL,
    issued timestamptz NOT NULL DEFAULT now(),
    own_incident bigint,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'applied', 'refused')),
    detail text NOT NULL DEFAULT '',
    incident_id bigint,  -- opened by it, by its number at the town
    finished timestamptz,
    is_reported boolean NOT NULL DEFAULT false
);
CREATE INDEX federation_command_by_issued ON federation_command (issued);
CREATE INDEX federation_command_waiting ON federation_command (issued) WHERE state = 'waiting';
CREATE INDEX federation_command_unreported ON federation_command (finished)
    WHERE from_above AND state <> 'waiting' AND NOT is_reported;
CREATE INDEX federation_command_by_incident ON federation_command (device_id, incident_id) WHERE own_incident IS NOT NULL;

-- County: whether an incident of a town has changed, for events across borders.
CREATE INDEX incident_of_towns ON incident (revision) WHERE origin IS NOT NULL;

-- County: series of which only rollups are received; assessments that a town made, and its networks.
ALTER TABLE series ADD COLUMN only_rollups boolean NOT NULL DEFAULT false;
ALTER TABLE assessment ADD COLUMN origin text REFERENCES device;
ALTER TABLE node ADD COLUMN origin text REFERENCES device;
ALTER TABLE link ADD COLUMN origin text REFERENCES device;

-- The anomalies of the towns' incidents below one of the county are its own too.
CREATE OR REPLACE VIEW incident_view AS
SELECT
    i.incident_id, i.opened AS "time", i.started, i.last, i.updated, i.closed, i.kind, i.cause, i.priority, i.severity,
    i.state, i.alarm_state, i.active, i.team_id, i.assignee, i.parent_id, i.annunciations,
    i.state NOT IN ('closed', 'false_alarm') AS is_open,
    (SELECT count(*) FROM incident_anomaly AS m WHERE m.incident_id = i.incident_id AND m.role <> 'suppressed')
        + (SELECT count(*) FROM incident AS c JOIN incident_anomaly AS m ON m.incident_id = c.incident_id
            WHERE c.parent_id = i.incident_id AND c.origin IS NOT NULL AND m.role <> 'suppressed') AS anomalies,
    i.main_site_id AS site_id, site.en AS site_en, site.zh AS site_zh, site.lon, site.lat,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh,
    county.area_id AS county_id, county.en AS county_en, county.zh AS county_zh,
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh
FROM incident AS i
JOIN site ON site.site_id = i.main_site_id
JOIN area AS town ON town.area_id = i.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent;

-- A changed flow changes the flow-weighted rollups of the speed at its site.
CREATE OR REPLACE FUNCTION note_federation_due() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM federation_uplink) THEN
        INSERT INTO federation_due (series_id, since, until)
        SELECT series_id, since, until FROM changed
        UNION ALL
        SELECT s.series_id, c.since, c.until FROM changed AS c JOIN flow_of_speed AS s ON s.flow_id = c.series_id
        WHERE s.series_id NOT IN (SELECT series_id FROM changed);
    END IF;
    RETURN NULL;
END
$$;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON assessment TO towntwin_ingest;
    GRANT SELECT, INSERT, UPDATE ON rollup_15min TO towntwin_ingest;
    GRANT SELECT ON flow_of_speed TO towntwin_ingest;
    GRANT SELECT, INSERT, UPDATE ON node, link TO towntwin_ingest;
    GRANT SELECT, INSERT, UPDATE ON federation_command TO towntwin_ingest;
    GRANT SELECT, INSERT ON federation_command TO towntwin_gateway;
    GRANT INSERT ON audit, adoption TO towntwin_ingest;
    CALL wall('federation_command', 'area_id IN (SELECT area_seen())');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0048 pre: whether what a sensor measured in an anomaly is an event or its own fault, one row for each anomaly.

-- inputs: what it was computed from; another one is computed when that changes, until is_final. event_probability: NULL where
-- it can't be computed. others: sites with which the sensor was compared.
CREATE TABLE sensor_verdict (
    anomaly_id bigint PRIMARY KEY REFERENCES anomaly,
    inputs text NOT NULL,
    computed timestamptz NOT NULL DEFAULT now(),
    is_final boolean NOT NULL,
    series_id integer REFERENCES series,
    event_probability double precision CHECK (event_probability BETWEEN 0 AND 1),
    others text[] NOT NULL DEFAULT '{}'
);

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON sensor_verdict TO towntwin_analytics;
    GRANT SELECT ON federated_anomaly TO towntwin_analytics;
    GRANT SELECT ON sensor_verdict TO towntwin_gateway;
    -- Administrators import networks by the gateway.
    GRANT INSERT, UPDATE ON area TO towntwin_gateway;
    GRANT INSERT, UPDATE, DELETE ON node, link TO towntwin_gateway;
    GRANT INSERT ON network_history TO towntwin_gateway;
    CALL wall('sensor_verdict', 'EXISTS (SELECT FROM anomaly AS a WHERE a.anomaly_id = sensor_verdict.anomaly_id)');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0051 pre: the limit of steps during warm-up.

ALTER TABLE series DROP CONSTRAINT IF EXISTS series_limits_are_known;

ALTER TABLE series
    ADD CONSTRAINT series_limits_are_known CHECK (
        jsonb_typeof(limits) = 'object'
        AND NOT jsonb_path_exists(limits, '$.* ? (@.type() != "number")')
        AND NOT jsonb_path_exists(limits - ARRAY[
            'alarms_per_month', 'fail_low', 'fail_high', 'suspect_low', 'suspect_high', 'rate_suspect_per_s', 'rate_fail_per_s',
            'spike_suspect', 'spike_fail', 'flat_suspect_s', 'flat_fail_s', 'flat_tolerance', 'spread_floor',
            'spread_share', 'warm_up_s', 'warm_up_step', 'level_memory_s', 'profile_memory_days', 'score_weak', 'score_strong',
            'score_close', 'shift_memory_s', 'shift_least', 'novelty_least', 'step_deviations', 'attenuated_s',
            'attenuated_suspect', 'attenuated_fail', 'gap_suspect_s', 'gap_fail_s', 'stuck_clock_suspect_s',
            'stuck_clock_fail_s', 'adopt_s', 'event_gap_s', 'day_offset_s'
        ], '$.keyvalue() ? (!(@.key like_regex "^(fail|suspect)_(low|high)@[0-9]{1,2}(-[0-9]{1,2})?(/[0-9]{1,2}(-[0-9]{1,2})?)?$"))')
    ) NOT VALID;

-- 0052 pre: what dashboards need of the alarm performance: when an incident was acknowledged, and every annunciation.

CREATE OR REPLACE VIEW incident_view AS
SELECT
    i.incident_id, i.opened AS "time", i.started, i.last, i.updated, i.closed, i.kind, i.cause, i.priority, i.severity,
    i.state, i.alarm_state, i.active, i.team_id, i.assignee, i.parent_id, i.annunciations,
    i.state NOT IN ('closed', 'false_alarm') AS is_open,
    (SELECT count(*) FROM incident_anomaly AS m WHERE m.incident_id = i.incident_id AND m.role <> 'suppressed')
        + (SELECT count(*) FROM incident AS c JOIN incident_anomaly AS m ON m.incident_id = c.incident_id
            WHERE c.parent_id = i.incident_id AND c.origin IS NOT NULL AND m.role <> 'suppressed') AS anomalies,
    i.main_site_id AS site_id, site.en AS site_en, site.zh AS site_zh, site.lon, site.lat,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh,
    county.area_id AS county_id, county.en AS county_en, county.zh AS county_zh,
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh,
    i.acknowledged
FROM incident AS i
JOIN site ON site.site_id = i.main_site_id
JOIN area AS town ON town.area_id = i.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent;

-- One row for each time that an alarm sounded, with its incident as it is now.
CREATE VIEW annunciation_view AS
SELECT h.history_id, h."at" AS "time", h.incident_id, i.kind, i.cause, i.priority, i.main_site_id AS site_id,
    site.en AS site_en, site.zh AS site_zh, town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh
FROM incident_history AS h
JOIN incident AS i USING (incident_id)
JOIN site ON site.site_id = i.main_site_id
JOIN area AS town ON town.area_id = i.area_id
WHERE h.machine = 'alarm' AND h.to_state = 'unacknowledged';

DO $$
BEGIN
    GRANT SELECT ON annunciation_view TO towntwin_gateway, towntwin_grafana, towntwin_analytics;
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0053 pre: the state of the networks as estimated last, for the dashboards; traces of incidents as rows; verdicts on sensors as before.

-- One row for each node and quantity that has an estimate. measured, expected, quality and measured_at are of the node's
-- newest reading; source is measured where that reading is good and fresh. deviation: standard deviation of estimated.
CREATE TABLE state_estimate (
    quantity text NOT NULL,
    node_id text NOT NULL REFERENCES node ON DELETE CASCADE,
    "at" timestamptz NOT NULL,
    source text NOT NULL CHECK (source IN ('measured', 'estimated')),
    estimated double precision NOT NULL,
    deviation double precision NOT NULL CHECK (deviation >= 0),
    measured double precision,
    expected double precision,
    quality smallint,
    measured_at timestamptz,
    PRIMARY KEY (quantity, node_id)
);
CREATE INDEX state_estimate_by_node ON state_estimate (node_id);

CREATE VIEW node_estimate_view AS
SELECT
    e.quantity, e."at", e.source, e.estimated, e.deviation, e.measured, e.expected, e.quality, e.measured_at,
    n.node_id, n.network, n.en AS node_en, n.zh AS node_zh, n.lon, n.lat, n.site_id,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh
FROM state_estimate AS e
JOIN node AS n USING (node_id)
JOIN area AS town USING (area_id);

-- A link has the mean of its ends; the mean of their deviations is an upper bound of its own.
CREATE VIEW link_estimate_view AS
SELECT
    k.link_id, k.network, k.en AS link_en, k.zh AS link_zh, a.quantity, a."at",
    (a.estimated + b.estimated) / 2 AS estimated, (a.deviation + b.deviation) / 2 AS deviation,
    a.node_en AS from_en, a.node_zh AS from_zh, b.node_en AS to_en, b.node_zh AS to_zh,
    a.town_id, a.town_en, a.town_zh
FROM link AS k
JOIN node_estimate_view AS a ON a.node_id = k.from_node
JOIN node_estimate_view AS b ON b.node_id = k.to_node AND b.quantity = a.quantity;

-- Possible sources of the incidents that were traced, the likeliest first.
CREATE VIEW incident_source_view AS
SELECT
    t.incident_id, t.computed, c.place, c.one ->> 'node_id' AS node_id, c.one ->> 'en' AS node_en, c.one ->> 'zh' AS node_zh,
    (c.one ->> 'probability')::double precision AS probability,
    to_timestamp((c.one ->> 'released_from_s')::double precision) AS released_from,
    to_timestamp((c.one ->> 'released_to_s')::double precision) AS released_to
FROM incident_trace AS t CROSS JOIN LATERAL jsonb_array_elements(t.posterior -> 'candidates') WITH ORDINALITY AS c (one, place);

-- When what was released arrives at the sections below: median and band of 80 %, and the share of the releases that reach them.
CREATE VIEW incident_arrival_view AS
SELECT
    t.incident_id, t.computed, a.one ->> 'node_id' AS node_id, a.one ->> 'en' AS node_en, a.one ->> 'zh' AS node_zh,
    (a.one ->> 'probability')::double precision AS probability,
    to_timestamp((a.one ->> 'arrival_s')::double precision) AS arrival,
    to_timestamp((a.one -> 'arrival_band_s' ->> 0)::double precision) AS arrival_from,
    to_timestamp((a.one -> 'arrival_band_s' ->> 1)::double precision) AS arrival_to
FROM incident_trace AS t CROSS JOIN LATERAL jsonb_array_elements(t.posterior -> 'arrivals') AS a (one);

-- What verdicts were before they changed, so that an old answer can be given again; columns as in anomaly_history.
CREATE TABLE sensor_verdict_history (
    anomaly_id bigint NOT NULL,
    event_probability double precision,
    others text[] NOT NULL,
    began xid NOT NULL,
    ended xid NOT NULL,
    replaced timestamptz NOT NULL
);
CREATE INDEX sensor_verdict_history_by_anomaly ON sensor_verdict_history (anomaly_id);

CREATE FUNCTION keep_sensor_verdict() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO sensor_verdict_history (anomaly_id, event_probability, others, began, ended, replaced)
    VALUES (OLD.anomaly_id, OLD.event_probability, OLD.others, OLD.xmin, pg_current_xact_id()::xid, clock_timestamp());
    RETURN NULL;
END
$$;
CREATE TRIGGER sensor_verdict_kept AFTER UPDATE OR DELETE ON sensor_verdict
FOR EACH ROW EXECUTE FUNCTION keep_sensor_verdict();

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON state_estimate TO towntwin_analytics;
    GRANT SELECT ON state_estimate, sensor_verdict_history TO towntwin_gateway;
    GRANT SELECT ON node_estimate_view, link_estimate_view, incident_source_view, incident_arrival_view TO towntwin_gateway, towntwin_grafana;
    CALL wall('state_estimate', 'node_id IN (SELECT node_id FROM node)');
    CALL wall('sensor_verdict_history',
        'EXISTS (SELECT FROM anomaly AS a WHERE a.anomaly_id = sensor_verdict_history.anomaly_id)');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0055 pre: messages of towns that forward by HTTPS, from the gateway to the receiver (decision 0104).

-- County: the gateway inserts, the receiver stores in the order of inbox_id and then empties the payload. A row is kept
-- for some time with what became of the message, so that a repeat has its receipt at once.
CREATE TABLE federation_inbox (
    inbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id text NOT NULL REFERENCES device,
    area_id text NOT NULL,
    epoch text NOT NULL,
    number bigint NOT NULL,
    payload bytea NOT NULL,
    received timestamptz NOT NULL DEFAULT clock_timestamp(),
    stored timestamptz,
    reason text,  -- of a refusal, as in its dead letter
    detail text,
    UNIQUE (device_id, epoch, number)
);
CREATE INDEX federation_inbox_waiting ON federation_inbox (inbox_id) WHERE stored IS NULL;
CREATE INDEX federation_inbox_stored ON federation_inbox (stored) WHERE stored IS NOT NULL;

DO $$
BEGIN
    GRANT SELECT, INSERT ON federation_inbox TO towntwin_gateway;
    GRANT SELECT, UPDATE, DELETE ON federation_inbox TO towntwin_ingest;
    CALL wall('federation_inbox', 'area_id IN (SELECT area_seen())');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0056 pre: the newest forecast of series, for the dashboards (decision 0108).

-- One row for each series whose newest forecast has skill. times begins with issued, the time of the readings that it is made
-- from, where "values", low and high are their mean; then follow the times that have a value, with the band of 80 %.
CREATE TABLE series_forecast (
    series_id integer PRIMARY KEY REFERENCES series ON DELETE CASCADE,
    issued timestamptz NOT NULL,
    times timestamptz[] NOT NULL,
    "values" double precision[] NOT NULL,
    low double precision[] NOT NULL,
    high double precision[] NOT NULL,
    CHECK (cardinality(times) BETWEEN 2 AND 100 AND cardinality("values") = cardinality(times)
        AND cardinality(low) = cardinality(times) AND cardinality(high) = cardinality(times))
);

-- A forecast that has ended is not shown.
CREATE VIEW series_forecast_view AS
SELECT f.series_id, f.issued, p."time", p.value, p.low, p.high
FROM series_forecast AS f CROSS JOIN LATERAL unnest(f.times, f."values", f.low, f.high) AS p ("time", value, low, high)
WHERE f.times[cardinality(f.times)] > now();

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON series_forecast TO towntwin_analytics;
    GRANT SELECT ON series_forecast TO towntwin_gateway;
    GRANT SELECT ON rollup_view TO towntwin_analytics;
    GRANT SELECT ON series_forecast_view TO towntwin_gateway, towntwin_grafana;
    CALL wall('series_forecast', 'series_id IN (SELECT series_id FROM series)');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0057 pre: estimates of the twin that a town forwards, where the county lacks the readings they are made of (decision 0109).

-- origin: of a row that a town has forwarded; the county's own estimate yields to it for a day.
ALTER TABLE state_estimate ADD COLUMN origin text REFERENCES device;
CREATE INDEX state_estimate_by_origin ON state_estimate (origin) WHERE origin IS NOT NULL;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON state_estimate TO towntwin_ingest;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0059 pre: kept scenarios as rows, for the dashboards (decision 0115).

CREATE VIEW scenario_view AS
SELECT
    s.scenario_id, s.area_ids, s.kind, s.name, split_part(s.who, ' (', 1) AS who, s.created, s."at",
    (SELECT string_agg(t.one ->> 'en', ' ' ORDER BY t.place) FROM jsonb_array_elements(s.result -> 'statements') WITH ORDINALITY AS t (one, place)) AS found_en,
    (SELECT string_agg(t.one ->> 'zh', '' ORDER BY t.place) FROM jsonb_array_elements(s.result -> 'statements') WITH ORDINALITY AS t (one, place)) AS found_zh
FROM scenario AS s;

-- What each scenario changed, and where: names are those of now, null where the place is gone.
CREATE VIEW scenario_change_view AS
SELECT s.scenario_id, c.place, c.one ->> 'kind' AS kind, coalesce(n.en, k.en) AS place_en, coalesce(n.zh, k.zh) AS place_zh
FROM scenario AS s
CROSS JOIN LATERAL jsonb_array_elements(s.inputs -> 'changes') WITH ORDINALITY AS c (one, place)
LEFT JOIN node AS n ON n.node_id = c.one ->> 'node'
LEFT JOIN link AS k ON k.link_id = c.one ->> 'link';

-- The curve of each place of a scenario: added concentration [mg/L] of a river node, queue [vehicles] of a road. base is without the
-- changes; null where they alter no flow, and in scenarios on the river that were computed before the curve was kept.
CREATE VIEW scenario_curve_view AS
SELECT
    s.scenario_id, p.place, coalesce(p.one ->> 'node_id', p.one ->> 'link_id') AS place_id, p.one ->> 'en' AS place_en, p.one ->> 'zh' AS place_zh,
    v.time_s::double precision / 3600 AS hours, v.value::double precision AS value, v.base::double precision AS base
FROM scenario AS s
CROSS JOIN LATERAL jsonb_array_elements(CASE s.kind WHEN 'water' THEN s.result -> 'sites' ELSE s.result -> 'roads' END) WITH ORDINALITY AS p (one, place)
CROSS JOIN LATERAL ROWS FROM (
    jsonb_array_elements_text(s.result -> 'time_s'),
    jsonb_array_elements_text(CASE s.kind WHEN 'water' THEN p.one -> 'concentration_mg_l' ELSE p.one -> 'queue_veh' END),
    jsonb_array_elements_text(CASE
        WHEN s.kind = 'traffic' THEN p.one -> 'base_queue_veh'
        WHEN jsonb_typeof(p.one -> 'base_concentration_mg_l') = 'array' THEN p.one -> 'base_concentration_mg_l'
    END)
) AS v (time_s, value, base);

DO $$
BEGIN
    GRANT SELECT ON scenario_view, scenario_change_view, scenario_curve_view TO towntwin_grafana;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0060 pre: forecasts that a town forwards (decision 0119).

-- origin: of a row that a town has forwarded; the county makes no forecast of the series until that one has ended.
ALTER TABLE series_forecast ADD COLUMN origin text REFERENCES device;
CREATE INDEX series_forecast_by_origin ON series_forecast (origin) WHERE origin IS NOT NULL;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON series_forecast TO towntwin_ingest;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;

-- 0061 pre: a process whose judge is being compiled is starting, not stuck (decision 0121).

-- As of 0033, with one more reason.
CREATE OR REPLACE VIEW process_state AS
WITH held AS MATERIALIZED (
    SELECT l.objid::bigint AS heartbeat_id FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
        AND l.classid = hashtext('towntwin heartbeat')::oid
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
), returned AS MATERIALIZED (
    SELECT greatest(resumed - interval '2 seconds', pg_postmaster_start_time()) AS at FROM heartbeat_gap
), aged AS (
    SELECT h.*, extract(epoch FROM now() - h.beat)::double precision AS beat_age_s,
        h.heartbeat_id IN (SELECT heartbeat_id FROM held) AS connected,
        h.beat < (SELECT at FROM returned)
            AND now() < (SELECT at FROM returned) + h.absent_s * interval '1 second' AS unreported
    FROM heartbeat AS h
), known AS (
    SELECT a.*, CASE
        WHEN unreported THEN 'unreported'
        WHEN NOT connected AND beat_age_s < 3 THEN 'reconnecting'
        WHEN NOT connected THEN CASE WHEN beat_age_s < absent_s THEN 'ended' ELSE 'gone' END
        WHEN beat_age_s >= absent_s THEN 'silent'
        WHEN fault <> '' THEN fault
        WHEN role = 'starting' THEN 'starting'
        WHEN moved_s + beat_age_s >= stuck_s THEN 'still'
        WHEN backlog_s >= behind_s THEN 'backlog'
        WHEN restarts > 0 AND now() - started < interval '30 seconds' THEN 'again'
        ELSE '' END AS why
    FROM aged AS a
), ranked AS (
    SELECT k.*, row_number() OVER (PARTITION BY kind, instance ORDER BY NOT connected, beat DESC) AS place FROM known AS k
)
SELECT kind, instance, host, pid, extract(epoch FROM started)::double precision AS started_s, role, areas,
    CASE WHEN why = '' THEN 'alive' WHEN why = 'gone' THEN 'absent' WHEN why IN ('ended', 'starting', 'compiling', 'again') THEN 'restarting'
        WHEN why IN ('unreported', 'reconnecting') THEN 'unknown' WHEN why = 'backlog' THEN 'behind' ELSE 'stuck' END AS state,
    why, detail, why IN ('', 'again') AS works, restarts, beat_age_s, moved_s + beat_age_s AS moved_age_s,
    success_s + beat_age_s AS success_age_s, backlog_s AS backlog_age_s
FROM ranked WHERE connected OR place = 1  -- one that is gone is shown where nobody took its place
UNION ALL
SELECT e.kind, '', '', 0, NULL, 'starting', '{}', 'absent', 'never', '', false, 0, NULL, NULL, NULL, 0
FROM (VALUES ('ingest'), ('service')) AS e (kind) WHERE NOT EXISTS (SELECT FROM heartbeat AS h WHERE h.kind = e.kind);

-- 0063 pre: values beyond 1e30 are not good in rollups, whatever their flag: sums of them overflow.

-- As of 0010, with that bound, which is LARGEST_USABLE_VALUE of analytics.core.tick: such a value fails any gross range.
CREATE OR REPLACE VIEW reading_as_rollup AS
SELECT
    r.series_id, r."time" AS bucket, 1 AS count,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 AND abs(r.value) <= 1e30 THEN 1 ELSE 0 END AS good,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 AND abs(r.value) <= 1e30 THEN r.value END AS min,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 AND abs(r.value) <= 1e30 THEN r.value END AS max,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 AND abs(r.value) <= 1e30 THEN r.value END AS total,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN 1 ELSE 0 END AS judged,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN r.expected::double precision END AS expected,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN r.spread::double precision END AS spread,
    CASE WHEN coalesce(v.quality, r.quality) IN (3, 4) OR abs(r.value) > 1e30 THEN r.value END AS flagged,
    NULL::double precision AS weight, NULL::double precision AS weighted
FROM reading AS r
LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time";

DO $$
BEGIN
    IF to_regclass('walled.reading') IS NOT NULL THEN
        CALL wall_views();
    END IF;
END
$$;

-- 0064 pre: why the trace of an incident has no sources; NULL where it has, and of older versions.

ALTER TABLE incident_trace ADD COLUMN missing jsonb;

-- 0065 pre: by which platforms what a town forwards has passed, so that a circle of platforms is refused (decision 0129).

-- Each platform that forwards: its id, as the definitions that it sends name it.
ALTER TABLE federation_uplink ADD COLUMN platform_id uuid NOT NULL DEFAULT gen_random_uuid();

-- Each platform that receives: ids of the platforms that the content of a device has passed through.
ALTER TABLE federation_source ADD COLUMN platforms text[] NOT NULL DEFAULT '{}';
