-- outfalls_now: Each chosen outfall: what it discharges, what its worst open anomaly says, worst first.
SELECT s.site_id AS "site_id", s.town_LANG AS "town", s.site_LANG AS "site", l.value AS "discharge", l.quality AS "flag",
    l."time" AS "measured", coalesce(a.severity, 0) AS "severity", a.reason_LANG AS "reason"
FROM series_view AS s
LEFT JOIN latest_judged AS l USING (series_id)
LEFT JOIN LATERAL (
    SELECT severity, reason_LANG FROM anomaly_view
    WHERE site_id = s.site_id AND state = 'open' ORDER BY severity DESC, start DESC LIMIT 1
) AS a ON true
WHERE s.quantity = 'discharge' AND s.site_id = ANY (ARRAY[${site:sqlstring}]::text[])
ORDER BY "severity" DESC, 2, 3;

-- outfalls_wrong: How many of the chosen outfalls have an open anomaly.
SELECT count(DISTINCT site_id) AS "open" FROM anomaly_view WHERE state = 'open' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[])
HAVING EXISTS (SELECT FROM series_view WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]));

-- dry_weather: Of the hours (days in a long time) without rain before them: in how many each outfall discharged, and how much.
WITH gauge AS MATERIALIZED (
    SELECT series_id, town_id FROM series_view WHERE quantity = 'rainfall'
), rain AS (
    SELECT town_id, bucket, max(max) AS mm_h
    FROM rollup_view JOIN gauge USING (series_id)
    WHERE width_s = rollup_width(greatest($__interval_ms, 1800000)) AND $__timeFilter(bucket)
        AND series_id = ANY (ARRAY(SELECT series_id FROM gauge))
    GROUP BY 1, 2
), wet AS MATERIALIZED (
    SELECT town_id, bucket, max(mm_h) OVER (PARTITION BY town_id ORDER BY bucket RANGE BETWEEN '6 hours' PRECEDING AND CURRENT ROW) AS mm_h
    FROM rain
), outfall AS MATERIALIZED (
    SELECT series_id, site_id, town_id, town_LANG AS town, site_LANG AS site FROM series_view
    WHERE quantity = 'discharge' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[])
), flow AS MATERIALIZED (
    SELECT series_id, bucket, width_s, total / nullif(good, 0) AS m3_s
    FROM rollup_view
    WHERE width_s = rollup_width(greatest($__interval_ms, 1800000)) AND $__timeFilter(bucket)
        AND series_id = ANY (ARRAY(SELECT series_id FROM outfall))
)
SELECT site_id AS "site_id", town AS "town", site AS "site", sum(width_s) / 3600 AS "dry_hours",
    coalesce(sum(width_s) FILTER (WHERE m3_s > 0.001), 0) / 3600 AS "flowing_hours", sum(m3_s * width_s) AS "volume", max(m3_s) AS "most"
FROM flow JOIN outfall USING (series_id) LEFT JOIN wet USING (town_id, bucket)
WHERE coalesce(mm_h, 0) < 0.1
GROUP BY 1, 2, 3 ORDER BY 6 DESC NULLS LAST, 3;
