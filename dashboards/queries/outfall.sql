-- outfalls_now: Each chosen outfall: what it discharges, what its worst open anomaly says, worst first.
SELECT s.site_id AS "site_id", s.town_LANG AS "town", s.site_LANG AS "site", l.value AS "discharge", l.quality AS "flag",
    l."time" AS "measured", coalesce(a.severity, 0) AS "severity", a.reason_LANG AS "reason"
FROM series_view AS s
LEFT JOIN latest_judged AS l USING (series_id)
LEFT JOIN LATERAL (
    SELECT severity, reason_LANG FROM anomaly_view
    WHERE site_id = s.site_id AND state = 'open' ORDER BY severity DESC, start DESC LIMIT 1
) AS a ON true
WHERE s.quantity = 'discharge' AND s.site_id IN (${site:sqlstring})
ORDER BY "severity" DESC, 2, 3;

-- outfalls_wrong: How many of the chosen outfalls have an open anomaly.
SELECT count(DISTINCT site_id) AS "open" FROM anomaly_view WHERE state = 'open' AND site_id IN (${site:sqlstring});

-- dry_weather: Of the hours (days in a long time) without rain before them: in how many each outfall discharged, and how much.
WITH rain AS (
    SELECT s.town_id, r.bucket, max(r.max) AS mm_h
    FROM rollup_view AS r JOIN series_view AS s USING (series_id)
    WHERE r.width_s = rollup_width(greatest($__interval_ms, 1800000)) AND $__timeFilter(r.bucket)
        AND r.series_id = ANY (ARRAY(SELECT series_id FROM series_view WHERE quantity = 'rainfall'))
    GROUP BY 1, 2
), wet AS (
    SELECT town_id, bucket, max(mm_h) OVER (PARTITION BY town_id ORDER BY bucket RANGE BETWEEN '6 hours' PRECEDING AND CURRENT ROW) AS mm_h
    FROM rain
), dry AS (
    SELECT s.site_id, s.town_LANG, s.site_LANG, r.width_s, r.total / nullif(r.good, 0) AS m3_s
    FROM rollup_view AS r JOIN series_view AS s USING (series_id)
    LEFT JOIN wet AS w ON w.town_id = s.town_id AND w.bucket = r.bucket
    WHERE r.width_s = rollup_width(greatest($__interval_ms, 1800000)) AND $__timeFilter(r.bucket)
        AND r.series_id = ANY (ARRAY(
            SELECT series_id FROM series_view WHERE quantity = 'discharge' AND site_id IN (${site:sqlstring})
        ))
        AND coalesce(w.mm_h, 0) < 0.1
)
SELECT site_id AS "site_id", town_LANG AS "town", site_LANG AS "site", sum(width_s) / 3600 AS "dry_hours",
    sum(width_s) FILTER (WHERE m3_s > 0.001) / 3600 AS "flowing_hours", sum(m3_s * width_s) AS "volume", max(m3_s) AS "most"
FROM dry GROUP BY 1, 2, 3 ORDER BY 6 DESC NULLS LAST, 3;
