-- towns_now: The chosen towns side by side: what is open, what is silent, how fresh, how the newest month was, worst first.
SELECT t.town_id AS "town_id", t.county_LANG AS "county", t.town_LANG AS "town", t.sites AS "sites",
    coalesce(a.alarms, 0) AS "alarm", coalesce(a.warnings, 0) AS "warning", coalesce(a.silent, 0) AS "silent",
    extract(epoch FROM now() - t.received) AS "age",
    w.class AS "status", (w.detail ->> 'met')::integer AS "met_sections", (w.detail ->> 'with_target')::integer AS "with_target",
    c.value AS "capture", i.value AS "index", i.class AS "place"
FROM (
    SELECT town_id, town_LANG, county_LANG, count(DISTINCT site_id) AS sites, max(received) AS received
    FROM series_view LEFT JOIN latest_judged USING (series_id)
    WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]) GROUP BY 1, 2, 3
) AS t
LEFT JOIN (
    SELECT town_id, count(*) FILTER (WHERE severity = 3) AS alarms, count(*) FILTER (WHERE severity = 2) AS warnings,
        count(DISTINCT device_id) FILTER (WHERE detector = 'silence') AS silent
    FROM anomaly_view WHERE state = 'open' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[]) GROUP BY 1
) AS a USING (town_id)
LEFT JOIN assessment_view AS w ON w.kind = 'water_status' AND w.subject = 'area/' || t.town_id
    AND w.month = (SELECT max(month) FROM assessment_view WHERE kind = 'water_status')
LEFT JOIN assessment_view AS c ON c.kind = 'capture' AND c.subject = 'area/' || t.town_id
    AND c.month = (SELECT max(month) FROM assessment_view WHERE kind = 'capture')
LEFT JOIN assessment_view AS i ON i.kind = 'index' AND i.subject = 'area/' || t.town_id
    AND i.month = (SELECT max(month) FROM assessment_view WHERE kind = 'index')
ORDER BY "alarm" DESC, "warning" DESC, 2, 3;

-- towns_map: The chosen towns, each where its sites are, with its worst open anomaly.
SELECT s.town_LANG AS "town", avg(s.lat) AS "latitude", avg(s.lon) AS "longitude", coalesce(max(a.severity), 0) AS "severity",
    count(DISTINCT a.anomaly_id) AS "open"
FROM series_view AS s LEFT JOIN anomaly_view AS a ON a.site_id = s.site_id AND a.state = 'open'
WHERE s.town_id = ANY (ARRAY[${town:sqlstring}]::text[])
GROUP BY s.town_id, s.town_LANG ORDER BY 4, 1;

-- towns_classes: How many sections of each chosen town had which class in the newest month that was assessed.
SELECT town_LANG AS "town", count(*) FILTER (WHERE class <= 2) AS "class_12", count(*) FILTER (WHERE class = 3) AS "class_3",
    count(*) FILTER (WHERE class = 4) AS "class_4", count(*) FILTER (WHERE class = 5) AS "class_5",
    count(*) FILTER (WHERE class = 6) AS "class_6"
FROM assessment_view
WHERE kind = 'water_class' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[])
    AND month = (SELECT max(month) FROM assessment_view WHERE kind = 'water_class')
GROUP BY town_id, town_LANG ORDER BY 1;

-- towns_begun: Warnings and alarms by when they began, by town.
WITH BINS, town AS (
    SELECT DISTINCT town_id, town_LANG AS metric FROM series_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[])
), begun AS (
    SELECT BIN(start) AS at, town_id, anomaly_id FROM anomaly_view
    WHERE $__timeFilter(start) AND severity >= 2 AND town_id = ANY (ARRAY[${town:sqlstring}]::text[])
)
SELECT at AS "time", metric, count(anomaly_id) AS "value" FROM bin CROSS JOIN town LEFT JOIN begun USING (at, town_id)
GROUP BY 1, 2 ORDER BY 1, 2;

-- towns_capture: The share of expected readings that came, by town; at most the last 31 days of the chosen time.
WITH chosen AS MATERIALIZED (
    SELECT series_id, interval_s, town_LANG AS metric FROM series_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[])
)
SELECT bucket AS "time", metric, sum(count) / sum(width_s / interval_s) AS "value"
FROM rollup_view JOIN chosen USING (series_id)
WHERE width_s = rollup_width(greatest(12 * $__interval_ms, 3600000))
    AND bucket BETWEEN greatest($__timeFrom()::timestamptz, $__timeTo()::timestamptz - interval '31 days') AND $__timeTo()
    AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
GROUP BY 1, 2 ORDER BY 1, 2;
