-- platform_now: One row: age of the newest reading, what waits, how large the database is.
SELECT extract(epoch FROM now() - newest_received) AS "age", rollups_due AS "rollups_due", rejudge_due AS "rejudge_due",
    letters_waiting AS "letters_waiting", database_bytes AS "database"
FROM platform_view;

-- delays: From measured to received, of each town's newest readings: half of them, and nineteen of twenty.
SELECT extract(epoch FROM now() - max(l.received))::double precision AS "age", s.town_LANG AS "town",
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM l.received - l."time")) AS "delay_50",
    percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM l.received - l."time")) AS "delay_95"
FROM latest_judged AS l JOIN series_view AS s USING (series_id)
GROUP BY s.town_id, s.town_LANG ORDER BY 1 DESC, 2;

-- rate: Readings a second, and the share of them that is good; over a longer time the mean of each day.
SELECT bucket AS "time", sum(count)::double precision / width_s AS "rate", sum(good)::double precision / nullif(sum(count), 0) AS "good"
FROM rollup_view
WHERE width_s = rollup_width(greatest(24 * $__interval_ms, 3600000)) AND $__timeFilter(bucket)
    AND series_id = ANY (ARRAY(SELECT series_id FROM series_view))
GROUP BY bucket, width_s ORDER BY 1;

-- letters_begun: Dead letters by reason and when they came.
WITH BINS, begun AS (
    SELECT BIN(received) AS at, NAMED(reason, reason) AS metric, received FROM dead_letter_view WHERE $__timeFilter(received)
)
SELECT at AS "time", metric, count(received) AS "value"
FROM bin CROSS JOIN (SELECT DISTINCT metric FROM begun) AS reason LEFT JOIN begun USING (at, metric)
GROUP BY 1, 2 ORDER BY 1, 2;

-- letters_newest: The newest dead letters: why, and what to do.
SELECT received AS "received", state AS "state", NAMED(reason, reason) AS "letter_reason", detail AS "detail", topic AS "topic", replays AS "replays"
FROM dead_letter_view WHERE $__timeFilter(received) ORDER BY received DESC LIMIT 50;

-- table_sizes: The largest tables, with indexes and chunks.
SELECT concat_ws(' · ', nullif(NAMED(relation, relation), relation), relation) AS "table", size AS "size"
FROM (SELECT "table"::text AS relation, bytes::double precision AS size FROM table_size_view) AS sized ORDER BY 2 DESC LIMIT 12;

-- processes: The platform's own processes, those that do not work first.
SELECT state AS "health", kind AS "process", why AS "why", beat_age_s AS "beat_age", success_age_s AS "success_age",
    backlog_age_s AS "backlog_age", restarts AS "restarts", concat_ws(' ', host, nullif(instance, '')) AS "instance"
FROM process_state ORDER BY works, array_position(ARRAY['ingest', 'service', 'gateway', 'access', 'hj212'], kind), kind, instance, host;

-- shards: Who judges what, since when, and when its state was last kept.
SELECT shard AS "shard", epoch AS "epoch", taken AS "taken", saved AS "saved" FROM shard_view ORDER BY 1;
