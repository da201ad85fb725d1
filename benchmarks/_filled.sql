-- anomalies: So many anomalies over a year, evenly over series, detectors and severities; one in 500 is open.
INSERT INTO anomaly (subject, site_id, series_id, detector, version, start, "end", peak, observed, expected, spread,
    score, severity, n_readings, state, reason_en, reason_zh, evidence)
SELECT 'series/' || s.series_id, s.site_id, s.series_id,
    (ARRAY['residual', 'shift', 'spike', 'novelty'])[1 + mod(n, 4)],
    '3', "at", CASE WHEN mod(n, 499) <> 0 THEN "at" + interval '20 minutes' END, "at" + interval '5 minutes',
    7 + mod(n, 10), 7, 0.1, 5 + mod(n, 20), 1 + mod(n, 3), 4,
    CASE WHEN mod(n, 499) = 0 THEN 'open' WHEN mod(n, 50) = 1 THEN 'withdrawn' ELSE 'closed' END,
    s.quantity || ' ' || n || ' is above what this hour expects, ' || mod(n, 20) || ' spreads from the expected 7',
    '第' || n || '次高于此时段的预期，与预期相差' || mod(n, 20) || '倍离散度',
    '{"rules": ["RESIDUAL"], "limits": {"fail_low": 0, "fail_high": 14}, "readings": 4}'
FROM (
    SELECT n, to_timestamp(%(end_s)s) - n * (interval '365 days' / %(anomalies)s::float8) AS "at",
        1 + mod(n, %(series)s) AS series_id
    FROM generate_series(1, %(anomalies)s) AS n
) AS made JOIN series AS s USING (series_id);

-- rollup_15min: Every quarter of an hour.
INSERT INTO rollup_15min (series_id, bucket, count, good, judged, min, max, total, expected, spread, flagged)
SELECT series_id, time_bucket('15 minutes', "time", 'Asia/Shanghai'), count(*), count(*) FILTER (WHERE quality <= 2), count(*),
    min(value) FILTER (WHERE quality <= 2), max(value) FILTER (WHERE quality <= 2), sum(value) FILTER (WHERE quality <= 2),
    sum(expected::float8), sum(spread::float8), max(value) FILTER (WHERE quality IN (3, 4))
FROM reading GROUP BY 1, 2;

-- rollup_1h: Every hour.
INSERT INTO rollup_1h (series_id, bucket, count, good, judged, min, max, total, expected, spread, flagged)
SELECT series_id, time_bucket('1 hour', "time", 'Asia/Shanghai'), count(*), count(*) FILTER (WHERE quality <= 2), count(*),
    min(value) FILTER (WHERE quality <= 2), max(value) FILTER (WHERE quality <= 2), sum(value) FILTER (WHERE quality <= 2),
    sum(expected::float8), sum(spread::float8), max(value) FILTER (WHERE quality IN (3, 4))
FROM reading GROUP BY 1, 2;

-- rollup_1day: Every local day.
INSERT INTO rollup_1day (series_id, bucket, count, good, judged, min, max, total, expected, spread, flagged)
SELECT series_id, time_bucket('1 day', "time", 'Asia/Shanghai'), count(*), count(*) FILTER (WHERE quality <= 2), count(*),
    min(value) FILTER (WHERE quality <= 2), max(value) FILTER (WHERE quality <= 2), sum(value) FILTER (WHERE quality <= 2),
    sum(expected::float8), sum(spread::float8), max(value) FILTER (WHERE quality IN (3, 4))
FROM reading GROUP BY 1, 2;

-- told: An anomaly that every live stream must be told of.
INSERT INTO anomaly (subject, site_id, detector, version, start, peak, score, severity, n_readings, state, reason_en,
    reason_zh)
VALUES ('bench', 'site-000', 'bench', '1', now(), now(), 1, 1, 1, 'open', 'bench', '基准');

-- readings: A series over a time, row by row.
SELECT "time", received, value, series_id, expected, spread, quality, rules FROM reading_judged
WHERE series_id = %(series_id)s AND "time" >= to_timestamp(%(from_s)s) AND "time" < to_timestamp(%(to_s)s)
ORDER BY "time" LIMIT %(limit)s;

-- clear_long: Make room for the long series.
DELETE FROM reading WHERE series_id = %(series)s;

-- long: One series of many readings, evenly spaced.
INSERT INTO reading ("time", received, value, series_id, expected, spread, quality, rules)
SELECT "at", "at" + interval '2 seconds', 7 + sin(n / 1000.0), %(series)s, 7, 0.05, CASE WHEN mod(n, 300) = 0 THEN 3 ELSE 1 END, 0
FROM (
    SELECT n, to_timestamp(%(end_s)s) - n * make_interval(secs => %(step_s)s) AS "at" FROM generate_series(1, %(readings)s) AS n
) AS made;

-- latest: The newest reading of each series.
INSERT INTO latest (series_id, "time", received, value, expected, spread, quality, rules)
SELECT s.series_id, l.* FROM series AS s CROSS JOIN LATERAL (
    SELECT "time", received, value, expected, spread, quality, rules FROM reading AS r
    WHERE r.series_id = s.series_id ORDER BY "time" DESC LIMIT 1
) AS l ON CONFLICT (series_id) DO NOTHING;

-- revised: Some flags of the long series that were changed later.
INSERT INTO flag_revision (series_id, "time", quality, rules)
SELECT series_id, "time", 4, 1 FROM reading
WHERE series_id = %(series)s AND mod(extract(epoch FROM "time")::bigint / 15, 500) = 3;

-- clear_rollup_15min: Roll up anew.
DELETE FROM rollup_15min;

-- clear_rollup_1h: Roll up anew.
DELETE FROM rollup_1h;

-- clear_rollup_1day: Roll up anew.
DELETE FROM rollup_1day;

-- newest_anomaly: The newest anomaly of a series.
SELECT anomaly_id FROM anomaly WHERE series_id = %(series)s AND state <> 'withdrawn' ORDER BY start DESC LIMIT 1;
