-- of_slot: The rows of one kind and instance.
(kind = %(kind)s AND instance = %(instance)s);

-- heartbeat_begin: Register a process; delete rows of ended ones with its kind, instance and host, and count recent ones as restarts.
WITH gone AS (
    DELETE FROM heartbeat AS h
    WHERE {{of_slot}} AND host = %(host)s AND NOT EXISTS (
        SELECT FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
            AND l.classid = hashtext('towntwin heartbeat')::oid AND l.objid::bigint = h.heartbeat_id
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    )
    RETURNING beat, restarts
)
INSERT INTO heartbeat (kind, instance, host, pid, absent_s, stuck_s, behind_s, restarts)
SELECT %(kind)s, %(instance)s, %(host)s, %(pid)s, %(absent_s)s, %(stuck_s)s, %(behind_s)s,
    coalesce((SELECT max(restarts) + 1 FROM gone WHERE beat > now() - %(forgive_s)s * interval '1 second'), 0)
RETURNING heartbeat_id;

-- heartbeat_lock: Acquire the lock of a connected process; fails while an earlier connection of it holds the lock.
SELECT pg_try_advisory_lock(hashtext('towntwin heartbeat'), %s);

-- heartbeat_beat: Write a report of a process.
UPDATE heartbeat SET beat = now(), role = %(role)s, areas = %(areas)s, moved_s = %(moved_age_s)s, success_s = %(success_age_s)s,
    backlog_s = %(backlog_age_s)s, fault = %(fault)s, detail = %(detail)s,
    restarts = CASE WHEN now() - started > %(forgive_s)s * interval '1 second' THEN 0 ELSE restarts END
WHERE heartbeat_id = %(heartbeat_id)s;

-- heartbeat_expire: Delete the rows of processes that ended long ago.
DELETE FROM heartbeat WHERE beat < now() - %s * interval '1 second';

-- heartbeat_end: Delete the row of a process after a requested stop.
DELETE FROM heartbeat WHERE heartbeat_id = %s;

-- processes: Every process of the platform and its state.
SELECT kind, instance, host, pid, started_s, role, areas, state, why, detail, works, restarts, beat_age_s, moved_age_s,
    success_age_s, backlog_age_s
FROM process_state ORDER BY array_position(ARRAY['ingest', 'service', 'gateway', 'access', 'hj212'], kind), kind, instance, role, host, pid;
