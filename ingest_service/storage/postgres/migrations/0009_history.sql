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
