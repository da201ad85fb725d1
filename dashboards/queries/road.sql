-- speed_share: The newest speed of each road section over what is expected at this hour.
SELECT concat(s.site_LANG, ' · ', s.town_LANG) AS "site", l.value / nullif(l.expected, 0) AS "share"
FROM latest_judged AS l JOIN series_view AS s USING (series_id)
WHERE s.quantity = 'traffic_speed' AND s.site_id = ANY (ARRAY[${site:sqlstring}]::text[]) ORDER BY 1;

-- fundamental: Density and flow of six of the chosen road sites, those with anomalies first, a point five minutes or an interval: density is flow over speed. Flagged ones count, marked.
WITH chosen AS MATERIALIZED (
    SELECT series_id, quantity, concat(site_LANG, ' · ', town_LANG) AS site FROM series_view
    WHERE quantity IN ('traffic_flow', 'traffic_speed') AND site_id IN (
        SELECT site_id FROM series_view AS s WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND quantity = 'traffic_flow'
        ORDER BY EXISTS (
            SELECT FROM anomaly_view AS a WHERE a.site_id = s.site_id AND a.quantity LIKE 'traffic_%' AND a.state <> 'withdrawn'
                AND a.start <= $__timeTo() AND coalesce(a."end", now()) >= $__timeFrom()
        ) DESC, site_id LIMIT 6
    )
), drawn AS MATERIALIZED (
    SELECT series_id, rollup_time(bucket, greatest($__interval_ms, 300000)) AS at, max(flagged) IS NOT NULL AS flagged,
        (coalesce(sum(total), 0) + coalesce(sum((count - good) * flagged), 0)) / nullif(sum(good) + coalesce(sum(count - good) FILTER (WHERE flagged IS NOT NULL), 0), 0) AS mean
    FROM rollup_view
    WHERE width_s = rollup_width(greatest($__interval_ms, 300000)) AND $__timeFilter(bucket)
        AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
    GROUP BY 1, 2
)
SELECT concat(CASE WHEN flagged THEN '△ ' END, site) AS "site", flow / speed AS "density", flow AS "flow"
FROM (
    SELECT site, at, bool_or(flagged) AS flagged, max(mean) FILTER (WHERE quantity = 'traffic_flow') AS flow,
        max(mean) FILTER (WHERE quantity = 'traffic_speed') AS speed
    FROM drawn JOIN chosen USING (series_id) GROUP BY 1, 2
) AS met
WHERE flow IS NOT NULL AND speed > 0 ORDER BY 1, 2;

-- space_time: Speed over time, flagged or not, in steps of five minutes or more, a row a site, in the order in which they lie along their road.
WITH chosen AS MATERIALIZED (
    SELECT series_id, concat(lpad(round((distance_m / 1000)::numeric, 1)::text, 5), ' km ', site_LANG, ' · ', town_LANG) AS metric FROM series_view
    JOIN corridor_view USING (site_id)
    WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND quantity = 'traffic_speed'
    ORDER BY series_id LIMIT 24
), drawn AS MATERIALIZED (
    SELECT rollup_time(bucket, greatest($__interval_ms, 300000)) AS "time", series_id, max(flagged) IS NOT NULL AS flagged,
        (coalesce(sum(total), 0) + coalesce(sum((count - good) * flagged), 0)) / nullif(sum(good) + coalesce(sum(count - good) FILTER (WHERE flagged IS NOT NULL), 0), 0) AS "value"
    FROM rollup_view
    WHERE width_s = rollup_width(greatest($__interval_ms, 300000)) AND $__timeFilter(bucket)
        AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
    GROUP BY 1, 2
), marked AS (
    SELECT series_id, CASE WHEN bool_or(flagged) THEN ' △' END AS mark FROM drawn GROUP BY 1
)
SELECT "time", concat(metric, mark) AS metric, "value" FROM drawn JOIN chosen USING (series_id) JOIN marked USING (series_id) ORDER BY 1, 2;
