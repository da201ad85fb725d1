-- cities: The cities, for the variable.
SELECT DISTINCT city_LANG AS "__text", city_id AS "__value" FROM series_view WHERE city_id IS NOT NULL ORDER BY 1;

-- counties: The counties of the chosen cities.
SELECT DISTINCT county_LANG AS "__text", county_id AS "__value" FROM series_view
WHERE city_id IN (${city:sqlstring}) ORDER BY 1;

-- towns: The towns of the chosen counties.
SELECT DISTINCT town_LANG AS "__text", town_id AS "__value" FROM series_view
WHERE county_id IN (${county:sqlstring}) ORDER BY 1;

-- sites: The sites of the chosen towns.
SELECT DISTINCT site_LANG AS "__text", site_id AS "__value" FROM series_view
WHERE town_id IN (${town:sqlstring}) ORDER BY 1;

-- quantities: What the chosen sites measure.
SELECT DISTINCT quantity FROM series_view WHERE site_id IN (${site:sqlstring}) ORDER BY 1;

-- open_by_severity: Open anomalies by severity.
SELECT count(*) FILTER (WHERE severity = 3) AS "alarm", count(*) FILTER (WHERE severity = 2) AS "warning",
    count(*) FILTER (WHERE severity = 1) AS "notice"
FROM anomaly_view WHERE state = 'open' AND site_id IN (${site:sqlstring});

-- silent_devices: Devices of the chosen towns that are silent.
SELECT count(DISTINCT device_id) AS "silent" FROM anomaly_view
WHERE state = 'open' AND detector = 'silence' AND town_id IN (${town:sqlstring});

-- newest_age: Seconds since the newest reading came.
SELECT extract(epoch FROM now() - max(received)) AS "age" FROM latest_judged
JOIN series_view USING (series_id) WHERE site_id IN (${site:sqlstring});

-- dead_letters: Dead letters in the chosen time.
SELECT count(*) AS "letters" FROM dead_letter_view WHERE $__timeFilter(received);

-- wrong_now: What is wrong now, worst first.
SELECT start AS "since", severity AS "severity", town_LANG AS "town", site_LANG AS "site", quantity AS "quantity",
    reason_LANG AS "reason", score AS "score"
FROM anomaly_view WHERE state = 'open' AND site_id IN (${site:sqlstring})
ORDER BY severity DESC, start DESC LIMIT 200;

-- map: The sites, each with its worst open anomaly; 0 where nothing is wrong.
SELECT s.site_LANG AS "site", s.lat AS "latitude", s.lon AS "longitude",
    coalesce(max(a.severity), 0) AS "severity", max(a.reason_LANG) AS "reason"
FROM series_view AS s
LEFT JOIN anomaly_view AS a ON a.site_id = s.site_id AND a.state = 'open'
WHERE s.site_id IN (${site:sqlstring})
GROUP BY s.site_LANG, s.lat, s.lon ORDER BY 4, 1;

-- latest_water: The newest reading of each series of water and weather.
SELECT s.site_LANG AS "site", s.quantity AS "quantity", l.value AS "value", l.quality AS "flag", l.expected AS "expected",
    l."time" AS "measured"
FROM latest_judged AS l JOIN series_view AS s USING (series_id)
WHERE s.site_id IN (${site:sqlstring}) AND s.quantity IN (${quantity:sqlstring})
    AND s.site_kind NOT IN ('road_section', 'junction')
ORDER BY 1, 2;

-- speed_share: The newest speed of each road section over what is expected at this hour.
SELECT s.site_LANG AS "site", l.value / nullif(l.expected, 0) AS "share"
FROM latest_judged AS l JOIN series_view AS s USING (series_id)
WHERE s.quantity = 'traffic_speed' AND s.site_id IN (${site:sqlstring}) ORDER BY 1;

-- series_values: The chosen series, a point an interval: the mean of what is good, else the highest that is not.
SELECT d."time", concat(site_LANG, ' ', quantity) AS metric, d."value"
FROM (
    SELECT rollup_time(bucket, $__interval_ms) AS "time", series_id,
        coalesce(sum(total) / nullif(sum(good), 0), max(flagged)) AS "value"
    FROM rollup_view
    WHERE width_s = rollup_width($__interval_ms) AND $__timeFilter(bucket) AND series_id = ANY (ARRAY(
        SELECT series_id FROM series_view WHERE site_id IN (${site:sqlstring}) AND quantity IN (${quantity:sqlstring})
        ORDER BY series_id LIMIT 12
    ))
    GROUP BY 1, 2
) AS d JOIN series_view USING (series_id)
ORDER BY 1, 2;

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
    WHERE s.site_id IN (${site:sqlstring}) AND s.quantity IN (${quantity:sqlstring})
    ORDER BY a.severity DESC NULLS LAST, a.start DESC NULLS LAST, s.series_id LIMIT 1
))
GROUP BY 1 ORDER BY 1;

-- anomalies_begun: Anomalies by when they began.
SELECT $__timeGroupAlias(start, $__interval), count(*) FILTER (WHERE severity = 3) AS "alarm",
    count(*) FILTER (WHERE severity = 2) AS "warning", count(*) FILTER (WHERE severity = 1) AS "notice"
FROM anomaly_view WHERE $__timeFilter(start) AND site_id IN (${site:sqlstring})
GROUP BY 1 ORDER BY 1;

-- readings_stored: Readings an hour, and the share of them that is good; over a longer time the mean of each day.
SELECT bucket AS "time", sum(count) * 3600.0 / width_s AS "readings", sum(good)::float8 / nullif(sum(count), 0) AS "good"
FROM rollup_view
WHERE width_s = rollup_width(greatest(24 * $__interval_ms, 3600000)) AND $__timeFilter(bucket) AND series_id = ANY (ARRAY(
    SELECT series_id FROM series_view WHERE site_id IN (${site:sqlstring})
))
GROUP BY bucket, width_s ORDER BY 1;

-- devices: Devices of the chosen towns: newest reading, spool, online.
SELECT device_id AS "device", area_id AS "town", online AS "online", spool_depth AS "spool", measured AS "measured",
    received AS "received"
FROM device_view WHERE area_id IN (${town:sqlstring}) ORDER BY received NULLS FIRST, 1;

-- annotations: Anomalies as annotations on every time series.
SELECT start AS "time", "end" AS "timeEnd", reason_LANG AS "text", detector AS "tags" FROM anomaly_view
WHERE $__timeFilter(start) AND severity >= 2 AND site_id IN (${site:sqlstring}) AND quantity IN (${quantity:sqlstring})
ORDER BY 1;
