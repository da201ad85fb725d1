-- shard_lock: Acquire the lock of a shard, held while the connection lasts.
SELECT pg_try_advisory_lock(hashtext('towntwin shard'), hashtext(%s));

-- shard_unlock: Release the locks of a session.
SELECT pg_advisory_unlock_all();

-- shard_epoch: Begin a new epoch of a shard; waits for the last commit of the previous one.
INSERT INTO shard AS s (shard, epoch) VALUES (%s, 1)
ON CONFLICT (shard) DO UPDATE SET epoch = s.epoch + 1, taken = now() RETURNING epoch;

-- shard_end_blockers: End the sessions that a session waits for; returns how many.
SELECT count(*) FROM unnest(pg_blocking_pids(%s)) AS pid WHERE pg_terminate_backend(pid);

-- shard_check: The epoch of a shard, locked until the transaction ends.
SELECT epoch FROM shard WHERE shard = %s FOR SHARE;

-- save_checkpoint: Store the judge's state of a shard.
INSERT INTO detector_state (shard, version, payload) VALUES (%s, %s, %s)
ON CONFLICT (shard) DO UPDATE SET version = excluded.version, payload = excluded.payload, saved = now();

-- checkpoint: The judge's state of a shard.
SELECT version, payload FROM detector_state WHERE shard = %s;

-- committed_after: Readings of some series, each after a given time, in the order in which they were judged.
COPY (
    SELECT r."time", r.received, r.value, r.series_id, r.expected, r.spread, r.quality, r.rules
    FROM unnest(%s::int[], %s::bigint[]) AS n (series_id, since_us)
    CROSS JOIN LATERAL (
        SELECT * FROM reading AS one
        WHERE one.series_id = n.series_id AND one.rules & 16960 = 0
            AND one."time" > 'epoch'::timestamptz + n.since_us * interval '1 microsecond'
        OFFSET 0  -- by the index, series by series: as a join, the whole table was read and sorted
    ) AS r
    ORDER BY r.series_id, r."time"
) TO STDOUT (FORMAT binary);
