-- readings: A series in a time range, with revisions applied.
COPY (
    SELECT r."time", r.received, r.value, r.series_id, r.expected, r.spread,
        coalesce(v.quality, r.quality) AS quality, coalesce(v.rules, r.rules) AS rules
    FROM (
        SELECT series_id, "time", received, value, expected, spread, quality, rules FROM reading_oldest_first
        WHERE series_id = %(series_id)s AND "time" >= 'epoch'::timestamptz + %(from_us)s * interval '1 microsecond'
            AND "time" < 'epoch'::timestamptz + %(to_us)s * interval '1 microsecond'
        ORDER BY "time" LIMIT %(limit)s
    ) AS r
    LEFT JOIN flag_revision AS v ON v."time" = r."time" AND v.series_id = %(series_id)s
        AND v."time" >= 'epoch'::timestamptz + %(from_us)s * interval '1 microsecond'
        AND v."time" < 'epoch'::timestamptz + %(to_us)s * interval '1 microsecond'
    ORDER BY r."time"
) TO STDOUT (FORMAT binary);

-- received: Readings of series received after a time, in that order, revisions applied; measured since a day before.
COPY (
    SELECT r."time", r.received, r.value, r.series_id, r.expected, r.spread,
        coalesce(v.quality, r.quality) AS quality, coalesce(v.rules, r.rules) AS rules
    FROM reading AS r
    LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time"
    WHERE r.series_id = ANY (%s) AND r.received > to_timestamp(%s) AND r."time" > to_timestamp(%s) - interval '1 day'
    ORDER BY r.received, r."time", r.series_id LIMIT %s
) TO STDOUT (FORMAT binary);

-- latest: The newest reading of series, with revisions applied.
SELECT series_id, extract(epoch FROM "time")::float8 AS time_s, extract(epoch FROM received)::float8 AS received_s, value,
    quality, rules, expected, spread
FROM latest_readings(%(series_ids)s::int[], to_timestamp(%(received_after_s)s::float8))
ORDER BY series_id;

-- bucket_of: Start of a bucket of local time; parts of an hour relative to it, so that a repeated hour gives separate buckets.
CASE WHEN mod(3600, %(width_s)s::int) = 0
    THEN date_bin(make_interval(secs => %(width_s)s), "time", date_trunc('hour', "time", %(zone)s))
    ELSE time_bucket(make_interval(secs => %(width_s)s), "time", %(zone)s) END;

-- buckets: Buckets of a series: from a rollup between two times, and from the readings before and after.
WITH parts AS (
    SELECT bucket AS "time", count, good, min, max, total FROM rollup_view
    WHERE width_s = %(step_s)s AND series_id = %(series_id)s
        AND bucket >= to_timestamp(%(first_s)s) AND bucket < to_timestamp(%(last_s)s)
    UNION ALL
    SELECT bucket AS "time", count, good, min, max, total FROM rollup_view
    WHERE width_s = 0 AND series_id = %(series_id)s
        AND bucket >= to_timestamp(%(from_s)s) AND bucket < to_timestamp(%(first_s)s)
    UNION ALL
    SELECT bucket AS "time", count, good, min, max, total FROM rollup_view
    WHERE width_s = 0 AND series_id = %(series_id)s
        AND bucket >= to_timestamp(%(last_s)s) AND bucket < to_timestamp(%(to_s)s)
)
SELECT extract(epoch FROM {{bucket_of}})::float8 AS time_s,
    sum(count)::int AS count, sum(good)::int AS good, min(min) AS min, max(max) AS max,
    sum(total) FILTER (WHERE abs(total) <= 1e300) / nullif(sum(good), 0) AS mean
FROM parts GROUP BY 1 ORDER BY 1;
