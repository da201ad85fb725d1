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
