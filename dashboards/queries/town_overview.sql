-- open_by_severity: Open anomalies by severity.
SELECT count(*) FILTER (WHERE severity = 3) AS "alarm", count(*) FILTER (WHERE severity = 2) AS "warning",
    count(*) FILTER (WHERE severity = 1) AS "notice"
FROM anomaly_view WHERE state = 'open' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[])
HAVING EXISTS (SELECT FROM series_view WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]));

-- silent_devices: Devices of the chosen towns that are silent.
SELECT count(DISTINCT device_id) AS "silent" FROM anomaly_view
WHERE state = 'open' AND detector = 'silence' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[])
HAVING EXISTS (SELECT FROM series_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]));

-- newest_age: Seconds since the newest reading came.
SELECT extract(epoch FROM now() - max(received)) AS "age" FROM latest_judged
JOIN series_view USING (series_id) WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[])
HAVING max(received) IS NOT NULL;

-- dead_letters: Dead letters in the chosen time.
SELECT count(*) AS "letters" FROM dead_letter_view WHERE $__timeFilter(received);

-- wrong_now: What is wrong now, worst first, and the dashboard that shows such a site.
SELECT start AS "since", severity AS "severity", town_LANG AS "town", site_LANG AS "site", NAMED(quantity, quantity) AS "quantity",
    reason_LANG AS "reason", score AS "score", site_id AS "site_id",
    CASE WHEN site_kind IN ('river_section', 'lake_section') THEN 'river-section' WHEN site_kind = 'outfall' THEN 'outfall'
        WHEN site_kind IN ('road_section', 'junction') THEN 'road' ELSE 'town-overview' END AS "board_id"
FROM anomaly_view WHERE state = 'open' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[])
ORDER BY severity DESC, start DESC LIMIT 200;

-- map: The sites, each with its worst open anomaly; 0 where nothing is wrong.
SELECT s.site_LANG AS "site", s.lat AS "latitude", s.lon AS "longitude",
    coalesce(max(a.severity), 0) AS "severity", max(a.reason_LANG) AS "reason"
FROM series_view AS s
LEFT JOIN anomaly_view AS a ON a.site_id = s.site_id AND a.state = 'open'
WHERE s.site_id = ANY (ARRAY[${site:sqlstring}]::text[])
GROUP BY s.site_LANG, s.lat, s.lon ORDER BY 4, 1;

-- latest_water: The newest reading of each series of water and weather.
SELECT s.site_LANG AS "site", NAMED(quantity, s.quantity) AS "quantity", l.value AS "value", l.quality AS "flag", l.expected AS "expected",
    l."time" AS "measured"
FROM latest_judged AS l JOIN series_view AS s USING (series_id)
WHERE s.site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND s.quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
    AND s.site_kind NOT IN ('road_section', 'junction')
ORDER BY 1, 2;

-- series_values: The chosen series, a point an interval: the mean of what is good, else the highest that is not.
WITH chosen AS MATERIALIZED (
    SELECT series_id, concat(site_LANG, ' · ', town_LANG, ' · ', NAMED(quantity, quantity)) AS metric FROM series_view
    WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
    ORDER BY series_id LIMIT 12
), drawn AS MATERIALIZED (
    SELECT rollup_time(bucket, $__interval_ms) AS "time", series_id, coalesce(sum(total) / nullif(sum(good), 0), max(flagged)) AS "value"
    FROM rollup_view
    WHERE width_s = rollup_width($__interval_ms) AND $__timeFilter(bucket)
        AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
    GROUP BY 1, 2
)
SELECT "time", metric, "value" FROM drawn JOIN chosen USING (series_id) ORDER BY 1, 2;

-- series_band: The expected band of the chosen series that an anomaly is open at, else of the first one.
SELECT rollup_time(bucket, $__interval_ms) AS "time",
    coalesce(sum(total) / nullif(sum(good), 0), max(flagged)) AS "measured",
    sum(expected) / nullif(sum(judged), 0) AS "expected",
    (sum(expected) - 3 * sum(spread)) / nullif(sum(judged), 0) AS "lower",
    (sum(expected) + 3 * sum(spread)) / nullif(sum(judged), 0) AS "upper",
    max(flagged) AS "flagged"
FROM rollup_view
WHERE width_s = rollup_width($__interval_ms) AND $__timeFilter(bucket) AND series_id = ANY (ARRAY(
    SELECT s.series_id FROM series_view AS s
    LEFT JOIN anomaly_view AS a ON a.series_id = s.series_id AND a.state = 'open'
    WHERE s.site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND s.quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
    ORDER BY a.severity DESC NULLS LAST, a.start DESC NULLS LAST, s.series_id LIMIT 1
))
GROUP BY 1 ORDER BY 1;

-- anomalies_begun: Anomalies by when they began.
WITH BINS, begun AS (
    SELECT BIN(start) AS at, severity FROM anomaly_view WHERE $__timeFilter(start) AND site_id = ANY (ARRAY[${site:sqlstring}]::text[])
)
SELECT at AS "time", count(*) FILTER (WHERE severity = 3) AS "alarm",
    count(*) FILTER (WHERE severity = 2) AS "warning", count(*) FILTER (WHERE severity = 1) AS "notice"
FROM bin LEFT JOIN begun USING (at)
WHERE EXISTS (SELECT FROM series_view WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]))
GROUP BY 1 ORDER BY 1;

-- readings_stored: Readings an hour, and the share of them that is good; over a longer time the mean of each day.
SELECT bucket AS "time", sum(count) * 3600.0 / width_s AS "readings", sum(good)::float8 / nullif(sum(count), 0) AS "good"
FROM rollup_view
WHERE width_s = rollup_width(greatest(24 * $__interval_ms, 3600000)) AND $__timeFilter(bucket) AND series_id = ANY (ARRAY(
    SELECT series_id FROM series_view WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[])
))
GROUP BY bucket, width_s ORDER BY 1;

-- section_classes: The class of each river section in the newest month that was assessed, worst first.
SELECT DISTINCT ON (class, site_LANG, site_id) site_id AS "site_id", site_LANG AS "site", class AS "class", target AS "target",
    met AS "met", concat(items, '/', items_of) AS "items", month AS "month",
    (SELECT string_agg(NAMED(quantity, name), ', ') FROM jsonb_array_elements_text(detail -> 'worst') AS name) AS "worst"
FROM assessment_view AS a
WHERE kind = 'water_class' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND month = (
    SELECT max(month) FROM assessment_view WHERE kind = 'water_class'
)
ORDER BY class DESC NULLS LAST, site_LANG, site_id;

-- link_congestion: The congestion of each road link by the newest speeds at its ends, worst first.
SELECT k.LANG AS "link", string_agg(DISTINCT s.site_LANG, ' / ') AS "site", min(s.site_id) AS "site_id",
    congestion_level(avg(l.value) / (k.speed_m_s * 3.6)) AS "level", avg(l.value) / (k.speed_m_s * 3.6) AS "ratio",
    avg(l.value) AS "kmh", k.speed_m_s * 3.6 AS "free", max(l."time") AS "measured"
FROM link_view AS k
JOIN series_view AS s ON s.site_id IN (k.from_site, k.to_site) AND s.quantity = 'traffic_speed'
JOIN latest_judged AS l USING (series_id)
WHERE k.network = 'road' AND s.site_id = ANY (ARRAY[${site:sqlstring}]::text[])
GROUP BY k.link_id, k.LANG, k.speed_m_s ORDER BY 5, 1;
