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
