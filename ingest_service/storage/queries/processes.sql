-- of_slot: The rows of one kind and instance.
(kind = %(kind)s AND instance = %(instance)s);

-- heartbeat_begin: Register a process; rows of its own place whose process has ended go, and are counted where they ended a short time ago.
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

-- heartbeat_lock: Hold what shows that this process' connection lives; not granted as long as an earlier connection of it does.
SELECT pg_try_advisory_lock(hashtext('towntwin heartbeat'), %s);

-- heartbeat_beat: Write what a process reports of itself.
UPDATE heartbeat SET beat = now(), role = %(role)s, areas = %(areas)s, moved_s = %(moved_age_s)s, success_s = %(success_age_s)s,
    backlog_s = %(backlog_age_s)s, fault = %(fault)s, detail = %(detail)s,
    restarts = CASE WHEN now() - started > %(forgive_s)s * interval '1 second' THEN 0 ELSE restarts END
WHERE heartbeat_id = %(heartbeat_id)s;

-- heartbeat_expire: Forget processes that have been gone for long.
DELETE FROM heartbeat WHERE beat < now() - %s * interval '1 second';

-- heartbeat_end: A process ends as it was asked to.
DELETE FROM heartbeat WHERE heartbeat_id = %s;

-- processes: Every process of the platform and its state.
SELECT kind, instance, host, pid, started_s, role, areas, state, why, detail, works, restarts, beat_age_s, moved_age_s,
    success_age_s, backlog_age_s
FROM process_state ORDER BY array_position(ARRAY['ingest', 'service', 'gateway'], kind), kind, instance, role, host, pid;
