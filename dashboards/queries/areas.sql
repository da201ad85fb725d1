-- towns_now: The chosen towns side by side: what is open, what is silent, how fresh, how the newest month was, worst first.
SELECT coalesce(a.alarms, 0) AS "alarm", coalesce(a.warnings, 0) AS "warning", coalesce(a.silent, 0) AS "silent_devices",
    t.town_LANG AS "town", extract(epoch FROM now() - t.received)::double precision AS "age", w.class AS "status_colour", w.class AS "status",
    (w.detail ->> 'met') || '/' || (w.detail ->> 'with_target') AS "met_sections",
    c.value AS "capture", i.value AS "index", i.class AS "place", t.town_id AS "town_id"
FROM (
    SELECT town_id, town_LANG, max(received) AS received
    FROM series_view LEFT JOIN latest_judged USING (series_id)
    WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]) GROUP BY 1, 2
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
ORDER BY "alarm" DESC, "warning" DESC, "age" DESC NULLS FIRST, 4;

-- towns_map: The chosen towns, each where its sites are, with its worst open anomaly; -1 without a fresh reading. Labels keep a distance.
WITH town AS (
    SELECT s.town_id, s.town_LANG AS name, avg(s.lat) AS lat, avg(s.lon) AS lon, coalesce(bool_or(l.received > now() - greatest(interval '1 hour', 3 * s.interval_s * interval '1 second')), false) AS fresh
    FROM series_view AS s LEFT JOIN latest_judged AS l USING (series_id) WHERE s.town_id = ANY (ARRAY[${town:sqlstring}]::text[]) GROUP BY 1, 2
), wrong AS (
    SELECT town_id, max(severity) AS severity, count(*) AS open FROM anomaly_view WHERE state = 'open' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[]) GROUP BY 1
), judged AS (
    SELECT name, lat, lon, coalesce(open, 0) AS open, coalesce(severity, CASE WHEN fresh THEN 0 ELSE -1 END) AS severity
    FROM town LEFT JOIN wrong USING (town_id)
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY floor(lat / nullif((SELECT max(lat) - min(lat) FROM judged), 0) * 16) ORDER BY severity DESC, name) AS nth FROM judged
)
SELECT name AS "town", lat AS "latitude", lon AS "longitude", severity AS "severity", open AS "open",
    CASE WHEN nth = 1 AND coalesce(lat - lag(lat) OVER (PARTITION BY nth ORDER BY lat), 90)
        >= (SELECT max(lat) - min(lat) FROM judged) / 16 THEN name ELSE '' END AS "label"
FROM ranked ORDER BY 4, 1;

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

-- towns_map_lines: Dots along the rivers and roads around the chosen towns, so close that they look like lines.
WITH shown AS (
    SELECT min(lon) - 0.02 AS west, max(lon) + 0.02 AS east, min(lat) - 0.02 AS south, max(lat) + 0.02 AS north
    FROM series_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[])
), point AS (
    SELECT k.link_id, k.network, k.length_m, p.place, (p.xy ->> 0)::double precision AS lon, (p.xy ->> 1)::double precision AS lat
    FROM link_view AS k, shown, LATERAL jsonb_array_elements(CASE WHEN jsonb_array_length(k.coordinates) > 1 THEN k.coordinates
        ELSE jsonb_build_array(jsonb_build_array(k.from_lon, k.from_lat), jsonb_build_array(k.to_lon, k.to_lat)) END)
        WITH ORDINALITY AS p (xy, place)
    WHERE k.from_lon BETWEEN west AND east AND k.from_lat BETWEEN south AND north
), step AS (
    SELECT *, lead(lon) OVER w AS next_lon, lead(lat) OVER w AS next_lat FROM point WINDOW w AS (PARTITION BY link_id ORDER BY place)
), dotted AS (
    SELECT *, least(200, ceil(sqrt(((next_lon - lon) * cos(radians(lat))) ^ 2 + (next_lat - lat) ^ 2) / (
        SELECT greatest(east - west, north - south) / 300 FROM shown
    )))::integer AS dots
    FROM step WHERE next_lon IS NOT NULL
)
SELECT lat + (next_lat - lat) * n / dots AS "latitude", lon + (next_lon - lon) * n / dots AS "longitude",
    CASE WHEN network = 'river' THEN 1 ELSE 0 END AS "network"
FROM dotted, generate_series(0, dots - 1) AS n ORDER BY 3, link_id, place, n LIMIT 5000;
