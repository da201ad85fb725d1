-- annotations_towns: Beginnings of the warnings and alarms in the chosen towns, as points.
SELECT start AS "time", concat(site_LANG, ' · ', reason_LANG) AS "text", NAMED(detector, detector) AS "tags" FROM anomaly_view
WHERE $__timeFilter(start) AND severity >= 2 AND state <> 'withdrawn' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[])
ORDER BY 1 DESC LIMIT 100;

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
-- annotations_site: Anomalies of the one shown site that went on in the chosen time, as regions; those of several quantities belong to each.
SELECT start AS "time", coalesce("end", now()) AS "timeEnd", reason_LANG AS "text", NAMED(detector, detector) AS "tags" FROM anomaly_view
WHERE start <= $__timeTo() AND coalesce("end", now()) >= $__timeFrom() AND severity >= 2 AND state <> 'withdrawn'
    AND site_id = ANY (ARRAY[${site:sqlstring}]::text[])
    AND coalesce(quantity, (ARRAY[${quantity:sqlstring}]::text[])[1]) = ANY (ARRAY[${quantity:sqlstring}]::text[])
ORDER BY 1 DESC LIMIT 100;

-- annotations_sites: Beginnings of the warnings and alarms at the chosen sites, as points.
SELECT start AS "time", concat(site_LANG, ' · ', reason_LANG) AS "text", NAMED(detector, detector) AS "tags" FROM anomaly_view
WHERE $__timeFilter(start) AND severity >= 2 AND state <> 'withdrawn' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[])
ORDER BY 1 DESC LIMIT 100;

-- bins: Bins of the chosen time for BINS, at most fifty; days begin at midnight in China and weeks on Monday.
bin AS MATERIALIZED (
    SELECT width, at
    FROM (
        SELECT coalesce(min(w), interval '30 days') AS width
        FROM unnest('{1 minute, 5 minutes, 15 minutes, 1 hour, 3 hours, 6 hours, 1 day, 7 days}'::interval[]) AS w
        WHERE w * 50 >= $__timeTo()::timestamptz - $__timeFrom()::timestamptz
    ) AS chosen, generate_series(
        date_bin(width, $__timeFrom()::timestamptz, TIMESTAMPTZ '2000-01-03 00:00+08'), $__timeTo()::timestamptz, width
    ) AS at
);

-- bin_of: Beginning of the bin of the time in COLUMN, for BIN(column).
date_bin((SELECT min(width) FROM bin), COLUMN, TIMESTAMPTZ '2000-01-03 00:00+08');

-- forecast_band: One series measured, and its forecast with the band of 80 %: of the chosen ones with a forecast that which is least against its expected value. A point without a neighbour within _GAP_MS is drawn as a short piece of line and band.
WITH chosen AS MATERIALIZED (
    SELECT s.series_id, s.quantity, concat(s.site_LANG, ' · ', NAMED(measure, s.quantity)) AS name
    FROM series_view AS s LEFT JOIN latest_judged AS l USING (series_id)
    WHERE s.site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND s.quantity = ANY (ARRAY[_QUANTITIES]::text[])
    ORDER BY EXISTS (SELECT FROM series_forecast_view AS f WHERE f.series_id = s.series_id) DESC, l.value / nullif(l.expected, 0), s.series_id LIMIT 1
), drawn AS MATERIALIZED (
    SELECT rollup_time(bucket, $__interval_ms) AS at, coalesce(sum(total) / nullif(sum(good), 0), max(flagged)) AS measured, max(flagged) AS flagged
    FROM rollup_view
    WHERE width_s = rollup_width($__interval_ms) AND $__timeFilter(bucket) AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
    GROUP BY 1
), ahead AS (
    SELECT f.*, coalesce(f."time" - lag(f."time") OVER in_order > interval '_GAP_MS ms'
        AND coalesce(lead(f."time") OVER in_order - f."time" > interval '_GAP_MS ms', true), false) AS is_alone
    FROM chosen JOIN series_forecast_view AS f USING (series_id) WINDOW in_order AS (ORDER BY f."time")
)
SELECT at AS "time", metric, "value"
FROM (
    SELECT at, part.* FROM drawn, chosen, LATERAL (VALUES
        (1, name, measured), (5, concat('△ ', WORD(flagged), ' ', NAMED(unit, quantity)), flagged)
    ) AS part (nth, metric, "value")
    UNION ALL
    SELECT f."time" + side * 4 * $__interval_ms * interval '1 ms', part.* FROM chosen, ahead AS f
    JOIN generate_series(-1, 1) AS side ON f.is_alone OR side = 0, LATERAL (VALUES
        (2, concat(WORD(forecast), ' ', NAMED(unit, quantity)), f.value),
        (3, concat(WORD(lower), ' ', NAMED(unit, quantity)), f.low), (4, concat(WORD(upper), ' ', NAMED(unit, quantity)), f.high)
    ) AS part (nth, metric, "value")
) AS shown
WHERE "value" IS NOT NULL ORDER BY 1, nth;
