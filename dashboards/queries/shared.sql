-- annotations: Anomalies at the chosen sites as annotations on every time series.
SELECT start AS "time", "end" AS "timeEnd", reason_LANG AS "text", NAMED(detector, detector) AS "tags" FROM anomaly_view
WHERE $__timeFilter(start) AND severity >= 2 AND state <> 'withdrawn' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[])
ORDER BY 1 LIMIT 500;

-- annotations_towns: Alarms of the chosen towns as annotations on every time series.
SELECT start AS "time", "end" AS "timeEnd", reason_LANG AS "text", NAMED(detector, detector) AS "tags" FROM anomaly_view
WHERE $__timeFilter(start) AND severity >= 3 AND state <> 'withdrawn' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[])
ORDER BY 1 LIMIT 500;

-- anomalies_listed: Anomalies at the chosen sites that went on in the chosen time, newest first; one without an end goes on.
SELECT severity AS "severity", start AS "since", "end" AS "until", concat(site_LANG, ' · ', town_LANG) AS "location",
    reason_LANG AS "reason", NAMED(detector, detector) AS "rule", site_id AS "site_id"
FROM anomaly_view
WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND start <= $__timeTo() AND ("end" IS NULL OR "end" >= $__timeFrom()) AND state <> 'withdrawn'
ORDER BY start DESC LIMIT 100;

-- values_of: One quantity of the chosen sites, a point an interval; flagged readings are series of their own, marked.
WITH chosen AS MATERIALIZED (
    SELECT series_id, concat(site_LANG, ' · ', town_LANG) AS name FROM series_view
    WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND quantity = '_QUANTITY'
    ORDER BY series_id LIMIT 24
), drawn AS MATERIALIZED (
    SELECT rollup_time(bucket, $__interval_ms) AS at, series_id, coalesce(sum(total) / nullif(sum(good), 0), max(flagged)) AS mean,
        max(flagged) AS flagged
    FROM rollup_view
    WHERE width_s = rollup_width($__interval_ms) AND $__timeFilter(bucket)
        AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
    GROUP BY 1, 2
)
SELECT at AS "time", part.metric, part.value AS "value"
FROM drawn JOIN chosen USING (series_id), LATERAL (VALUES (name, mean), (concat('△ ', name), flagged)) AS part (metric, value)
WHERE part.value IS NOT NULL ORDER BY 1, 2;

-- rain_near: Rain at the gauges of the towns of the chosen sites, a point an interval.
WITH chosen AS MATERIALIZED (
    SELECT series_id, concat(site_LANG, ' · ', town_LANG) AS metric FROM series_view
    WHERE quantity = 'rainfall' AND town_id IN (SELECT town_id FROM series_view WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]))
    ORDER BY series_id LIMIT 6
), drawn AS MATERIALIZED (
    SELECT rollup_time(bucket, $__interval_ms) AS "time", series_id, sum(total) / nullif(sum(good), 0) AS "value"
    FROM rollup_view
    WHERE width_s = rollup_width($__interval_ms) AND $__timeFilter(bucket)
        AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
    GROUP BY 1, 2
)
SELECT "time", metric, "value" FROM drawn JOIN chosen USING (series_id) ORDER BY 1, 2;

-- flags_of: When one quantity of the chosen sites was good (1) and when it had readings of flag 3 or 4 (3).
WITH chosen AS MATERIALIZED (
    SELECT series_id, concat(site_LANG, ' · ', town_LANG) AS metric FROM series_view
    WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND quantity = '_QUANTITY'
    ORDER BY series_id LIMIT 24
), drawn AS MATERIALIZED (
    SELECT rollup_time(bucket, $__interval_ms) AS "time", series_id, CASE WHEN max(flagged) IS NULL THEN 1 ELSE 3 END AS "value"
    FROM rollup_view
    WHERE width_s = rollup_width($__interval_ms) AND $__timeFilter(bucket)
        AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
    GROUP BY 1, 2
)
SELECT "time", metric, "value" FROM drawn JOIN chosen USING (series_id) ORDER BY 1, 2;
