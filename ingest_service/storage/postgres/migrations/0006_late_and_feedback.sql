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
