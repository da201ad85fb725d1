-- take_due: Take time ranges whose rollups are due, of about a number of readings; with a flow, the speed of its site is due.
-- Of a range that is longer than that, the first part is taken, and the rest stays due.
WITH waiting AS MATERIALIZED (
    SELECT ctid AS place, series_id, since, until FROM rollup_due WHERE %(share)s >= 1 OR random() < %(share)s LIMIT 10000
), weighed AS (
    SELECT place, extract(epoch FROM until - since) / coalesce(interval_s, 60) AS readings
    FROM waiting LEFT JOIN series USING (series_id)
), summed AS (
    SELECT place, sum(readings) OVER (ORDER BY place ROWS UNBOUNDED PRECEDING) - readings AS before FROM weighed
), taken AS (
    DELETE FROM rollup_due WHERE ctid = ANY (ARRAY(SELECT place FROM summed WHERE before < %(limit)s))
    RETURNING series_id, since, until
), cut AS (
    SELECT series_id, since, until, since + make_interval(secs => least(%(limit)s * coalesce(interval_s, 60), 1e9)) AS ends
    FROM taken LEFT JOIN series USING (series_id)
), rest AS (
    INSERT INTO rollup_due (series_id, since, until) SELECT series_id, ends, until FROM cut WHERE ends < until
), begun AS (
    SELECT series_id, since, least(until, ends) AS until FROM cut
), due AS (
    SELECT series_id, since, until FROM begun
    UNION ALL
    SELECT s.series_id, since, until FROM begun AS taken JOIN flow_of_speed AS s ON s.flow_id = taken.series_id
), merged AS (
    SELECT series_id, unnest(range_agg(tstzrange(since, until))) AS span FROM due GROUP BY series_id
)
SELECT series_id, greatest(lower(span), (SELECT max(since) FROM retention WHERE what <> 'rollup_1day')) AS since,
    upper(span) AS until
FROM merged;

-- refresh_1min: Minute rollups of series measured more often than once a minute, from the readings.
WITH due AS (
    SELECT series_id, lower(span) AS since, upper(span) AS until FROM (
        SELECT series_id, unnest(range_agg(tstzrange(
            date_bin('1 minute', since, '2000-01-01Z'),
            date_bin('1 minute', until - interval '1 microsecond', '2000-01-01Z') + interval '1 minute'
        ))) AS span
        FROM unnest(%(series_ids)s::int[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS d (series_id, since, until)
        GROUP BY series_id
    ) AS merged
)
INSERT INTO rollup_1min
    (series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted)
SELECT due.series_id, found.*
FROM due JOIN series AS s ON s.series_id = due.series_id AND s.interval_s < 60
LEFT JOIN flow_of_speed AS pair ON pair.series_id = due.series_id
CROSS JOIN LATERAL (
    SELECT date_bin('1 minute', r.bucket, '2000-01-01Z') AS begins,
        sum(count), sum(good), min(min), max(max), sum(total), sum(judged), sum(expected), sum(spread), max(flagged),
        sum(flow * good), sum(flow * total)
    FROM (
        SELECT mixed.*, max(total) FILTER (WHERE series_id = pair.flow_id) OVER (PARTITION BY bucket) AS flow
        FROM reading_as_rollup AS mixed
        WHERE series_id = ANY (ARRAY[due.series_id, pair.flow_id]) AND bucket >= due.since AND bucket < due.until
    ) AS r
    WHERE r.series_id = due.series_id GROUP BY 1
) AS found
ON CONFLICT (series_id, bucket) DO UPDATE SET
    (count, good, min, max, total, judged)
        = (excluded.count, excluded.good, excluded.min, excluded.max, excluded.total, excluded.judged),
    (expected, spread, flagged, weight, weighted)
        = (excluded.expected, excluded.spread, excluded.flagged, excluded.weight, excluded.weighted);

-- refresh_15min: 15-minute rollups, from the minute rollups if there are any, else from the readings.
-- Rollups of before migration 0063 may have totals of huge values, whose sum would overflow.
WITH due AS (
    SELECT series_id, lower(span) AS since, upper(span) AS until FROM (
        SELECT series_id, unnest(range_agg(tstzrange(
            date_bin('15 minutes', since, '2000-01-01Z'),
            date_bin('15 minutes', until - interval '1 microsecond', '2000-01-01Z') + interval '15 minutes'
        ))) AS span
        FROM unnest(%(series_ids)s::int[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS d (series_id, since, until)
        GROUP BY series_id
    ) AS merged
)
INSERT INTO rollup_15min
    (series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted)
SELECT due.series_id, found.*
FROM due JOIN series AS s ON s.series_id = due.series_id AND s.interval_s < 60
CROSS JOIN LATERAL (
    SELECT date_bin('15 minutes', r.bucket, '2000-01-01Z') AS begins,
        sum(count), sum(good), min(min), max(max), sum(total) FILTER (WHERE abs(total) <= 1e300),
        sum(judged), sum(expected), sum(spread), max(flagged), sum(weight) FILTER (WHERE abs(weight) <= 1e300), sum(weighted) FILTER (WHERE abs(weighted) <= 1e300)
    FROM rollup_1min AS r
    WHERE r.series_id = due.series_id AND r.bucket >= due.since AND r.bucket < due.until GROUP BY 1
) AS found
UNION ALL
SELECT due.series_id, found.*
FROM due JOIN series AS s ON s.series_id = due.series_id AND s.interval_s >= 60
LEFT JOIN flow_of_speed AS pair ON pair.series_id = due.series_id
CROSS JOIN LATERAL (
    SELECT date_bin('15 minutes', r.bucket, '2000-01-01Z') AS begins,
        sum(count), sum(good), min(min), max(max), sum(total), sum(judged), sum(expected), sum(spread), max(flagged),
        sum(flow * good), sum(flow * total)
    FROM (
        SELECT mixed.*, max(total) FILTER (WHERE series_id = pair.flow_id) OVER (PARTITION BY bucket) AS flow
        FROM reading_as_rollup AS mixed
        WHERE series_id = ANY (ARRAY[due.series_id, pair.flow_id]) AND bucket >= due.since AND bucket < due.until
    ) AS r
    WHERE r.series_id = due.series_id GROUP BY 1
) AS found
ON CONFLICT (series_id, bucket) DO UPDATE SET
    (count, good, min, max, total, judged)
        = (excluded.count, excluded.good, excluded.min, excluded.max, excluded.total, excluded.judged),
    (expected, spread, flagged, weight, weighted)
        = (excluded.expected, excluded.spread, excluded.flagged, excluded.weight, excluded.weighted);

-- refresh_1h: Hourly rollups by local hour, from the 15-minute rollups.
WITH due AS (
    SELECT series_id, lower(span) AS since, upper(span) AS until FROM (
        SELECT series_id, unnest(range_agg(tstzrange(
            date_trunc('hour', since, %(zone)s),
            date_trunc('hour', until - interval '1 microsecond', %(zone)s) + interval '1 hour'
        ))) AS span
        FROM unnest(%(series_ids)s::int[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS d (series_id, since, until)
        GROUP BY series_id
    ) AS merged
)
INSERT INTO rollup_1h
    (series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted)
SELECT due.series_id, found.*
FROM due CROSS JOIN LATERAL (
    SELECT date_trunc('hour', r.bucket, %(zone)s) AS begins,
        sum(count), sum(good), min(min), max(max), sum(total) FILTER (WHERE abs(total) <= 1e300),
        sum(judged), sum(expected), sum(spread), max(flagged), sum(weight) FILTER (WHERE abs(weight) <= 1e300), sum(weighted) FILTER (WHERE abs(weighted) <= 1e300)
    FROM rollup_15min AS r
    WHERE r.series_id = due.series_id AND r.bucket >= due.since AND r.bucket < due.until GROUP BY 1
) AS found
ON CONFLICT (series_id, bucket) DO UPDATE SET
    (count, good, min, max, total, judged)
        = (excluded.count, excluded.good, excluded.min, excluded.max, excluded.total, excluded.judged),
    (expected, spread, flagged, weight, weighted)
        = (excluded.expected, excluded.spread, excluded.flagged, excluded.weight, excluded.weighted);

-- refresh_1day: Daily rollups by local day, from the hourly rollups.
WITH due AS (
    SELECT series_id, lower(span) AS since, upper(span) AS until FROM (
        SELECT series_id, unnest(range_agg(tstzrange(
            date_trunc('day', since, %(zone)s),
            ((date_trunc('day', until - interval '1 microsecond', %(zone)s) AT TIME ZONE %(zone)s) + interval '1 day') AT TIME ZONE %(zone)s
        ))) AS span
        FROM unnest(%(series_ids)s::int[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS d (series_id, since, until)
        GROUP BY series_id
    ) AS merged
)
INSERT INTO rollup_1day
    (series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted)
SELECT due.series_id, found.*
FROM due CROSS JOIN LATERAL (
    SELECT date_trunc('day', r.bucket, %(zone)s) AS begins,
        sum(count), sum(good), min(min), max(max), sum(total) FILTER (WHERE abs(total) <= 1e300),
        sum(judged), sum(expected), sum(spread), max(flagged), sum(weight) FILTER (WHERE abs(weight) <= 1e300), sum(weighted) FILTER (WHERE abs(weighted) <= 1e300)
    FROM rollup_1h AS r
    WHERE r.series_id = due.series_id AND r.bucket >= due.since AND r.bucket < due.until GROUP BY 1
) AS found
ON CONFLICT (series_id, bucket) DO UPDATE SET
    (count, good, min, max, total, judged)
        = (excluded.count, excluded.good, excluded.min, excluded.max, excluded.total, excluded.judged),
    (expected, spread, flagged, weight, weighted)
        = (excluded.expected, excluded.spread, excluded.flagged, excluded.weight, excluded.weighted);

-- rolled_up: Time up to which the rollups of a series are up to date in a range, its interval, and the retention limits.
SELECT (
    SELECT extract(epoch FROM min(since))::float8 FROM rollup_due
    WHERE series_id = %(series_id)s AND until > to_timestamp(%(from_s)s) AND since < to_timestamp(%(to_s)s)
        AND until > coalesce((SELECT max(since) FROM retention WHERE what <> 'rollup_1day'), '-infinity')
), interval_s, (SELECT coalesce(jsonb_object_agg(what, extract(epoch FROM since)), '{}') FROM retention)
FROM series WHERE series_id = %(series_id)s;

-- keep_since: Move the retention limit; returns the limit, which does not pass rollups that are due.
SELECT keep_since(%(what)s, to_timestamp(%(since_s)s), %(zone)s);

-- forget: Delete some data before the retention limit; returns how much.
SELECT forget(%(what)s, %(most)s);

-- compress_before: Compress some chunks before a time; returns how many.
SELECT compress_before(%(what)s, to_timestamp(%(before_s)s), %(most)s);
