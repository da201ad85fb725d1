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
