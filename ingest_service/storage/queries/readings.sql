-- readings: A series over a time, revisions applied.
COPY (
    SELECT r."time", r.received, r.value, r.series_id, r.expected, r.spread,
        coalesce(v.quality, r.quality) AS quality, coalesce(v.rules, r.rules) AS rules
    FROM reading AS r
    LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time"
    WHERE r.series_id = %s AND r."time" >= 'epoch'::timestamptz + %s * interval '1 microsecond'
        AND r."time" < 'epoch'::timestamptz + %s * interval '1 microsecond'
    ORDER BY r."time" LIMIT %s
) TO STDOUT (FORMAT binary);

-- latest: The newest reading of series, revisions applied.
SELECT series_id, extract(epoch FROM "time")::float8 AS time_s, extract(epoch FROM received)::float8 AS received_s, value,
    quality, rules, expected, spread
FROM latest_judged
WHERE (%(series_ids)s::int[] IS NULL OR series_id = ANY (%(series_ids)s))
    AND (%(received_after_s)s::float8 IS NULL OR received > to_timestamp(%(received_after_s)s))
ORDER BY series_id;

-- due_in_range: Whether rollups of a series are out of date somewhere in a time.
SELECT EXISTS (
    SELECT FROM rollup_due
    WHERE series_id = %(series_id)s AND hour > to_timestamp(%(from_s)s) - interval '1 hour' AND hour < to_timestamp(%(to_s)s)
);

-- buckets_raw: Buckets from the readings themselves.
SELECT extract(epoch FROM time_bucket(make_interval(secs => %(width_s)s), "time", %(zone)s))::float8 AS time_s,
    count(*)::int AS count, (count(*) FILTER (WHERE quality <= 2))::int AS good,
    min(value) FILTER (WHERE quality <= 2) AS min, max(value) FILTER (WHERE quality <= 2) AS max,
    avg(value) FILTER (WHERE quality <= 2) AS mean
FROM reading_judged
WHERE series_id = %(series_id)s AND "time" >= to_timestamp(%(from_s)s) AND "time" < to_timestamp(%(to_s)s)
GROUP BY 1 ORDER BY 1;

-- buckets_1min: Buckets from the rollup of a minute.
SELECT extract(epoch FROM time_bucket(make_interval(secs => %(width_s)s), bucket, %(zone)s))::float8 AS time_s,
    sum(count)::int AS count, sum(good)::int AS good, min(min) AS min, max(max) AS max,
    sum(mean * good) / nullif(sum(good), 0) AS mean
FROM rollup_1min
WHERE series_id = %(series_id)s AND bucket >= to_timestamp(%(from_s)s) AND bucket < to_timestamp(%(to_s)s)
GROUP BY 1 ORDER BY 1;

-- buckets_1h: Buckets from the rollup of an hour.
SELECT extract(epoch FROM time_bucket(make_interval(secs => %(width_s)s), bucket, %(zone)s))::float8 AS time_s,
    sum(count)::int AS count, sum(good)::int AS good, min(min) AS min, max(max) AS max,
    sum(mean * good) / nullif(sum(good), 0) AS mean
FROM rollup_1h
WHERE series_id = %(series_id)s AND bucket >= to_timestamp(%(from_s)s) AND bucket < to_timestamp(%(to_s)s)
GROUP BY 1 ORDER BY 1;
