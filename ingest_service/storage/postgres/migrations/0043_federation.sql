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
