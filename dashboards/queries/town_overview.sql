-- open_by_severity: Open anomalies by severity; no row without a site to count them at.
SELECT count(*) FILTER (WHERE severity = 3) AS "alarm", count(*) FILTER (WHERE severity = 2) AS "warning",
    count(*) FILTER (WHERE severity = 1) AS "notice"
FROM anomaly_view WHERE state = 'open' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[])
HAVING EXISTS (SELECT FROM series_view WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]));

-- silent_devices: Devices of the chosen towns that are silent; no row without a site.
SELECT count(DISTINCT device_id) AS "silent" FROM anomaly_view
WHERE state = 'open' AND detector = 'silence' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[])
HAVING EXISTS (SELECT FROM series_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]));

-- newest_age: Seconds since the newest reading came.
SELECT extract(epoch FROM now() - max(received)) AS "age" FROM latest_judged
JOIN series_view USING (series_id) WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[])
HAVING max(received) IS NOT NULL;

-- dead_letters: Dead letters in the chosen time.
SELECT count(*) AS "letters" FROM dead_letter_view WHERE $__timeFilter(received);

-- wrong_now: What is wrong now, worst first, and the dashboard that shows such a site; if nothing is, a row with the number of sites.
WITH wrong AS MATERIALIZED (
    SELECT severity, start, town_LANG AS town, site_LANG AS site, reason_LANG AS reason, detector, site_id, site_kind
    FROM anomaly_view WHERE state = 'open' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[])
    ORDER BY severity DESC, start DESC LIMIT 200
), chosen AS (
    SELECT count(*) AS sites, count(*) FILTER (WHERE NOT fresh) AS stale
    FROM (
        SELECT s.site_id, coalesce(bool_or(l.received > now() - greatest(interval '1 hour', 3 * s.interval_s * interval '1 second')), false) AS fresh
        FROM series_view AS s LEFT JOIN latest_judged AS l USING (series_id) WHERE s.site_id = ANY (ARRAY[${site:sqlstring}]::text[]) GROUP BY 1
    ) AS site
)
SELECT severity AS "severity", start AS "since", extract(epoch FROM now() - start)::double precision AS "lasting",
    concat(site, ' · ', town) AS "location", reason AS "reason", NAMED(action, detector) AS "action", site_id AS "site_id",
    CASE WHEN site_kind IN ('river_section', 'lake_section') THEN 'river-section' WHEN site_kind = 'outfall' THEN 'outfall'
        WHEN site_kind IN ('road_section', 'junction') THEN 'road' ELSE 'town-overview' END AS "board_id"
FROM wrong
UNION ALL
SELECT CASE WHEN stale = 0 THEN 0 ELSE -1 END, NULL, NULL, NULL,
    CASE WHEN stale = 0 THEN format(WORD(fine_sites), sites) ELSE format(WORD(stale_sites), stale, sites) END, NULL, NULL, 'town-overview'
FROM chosen WHERE sites > 0 AND NOT EXISTS (SELECT FROM wrong);

-- open_incidents: The open incidents that began at a chosen site, most urgent first; those that wait for their alarm to sound, too.
SELECT priority AS "priority", started AS "since", extract(epoch FROM now() - started)::double precision AS "lasting",
    NAMED(cause, cause) AS "incident", concat(site_LANG, ' · ', town_LANG) AS "location", NAMED(state, state) AS "work",
    NAMED(state, alarm_state) AS "alarm_state", i.incident_id AS "incident_id", i.site_id AS "site_id",
    CASE WHEN s.site_kind IN ('river_section', 'lake_section') THEN 'river-section' WHEN s.site_kind = 'outfall' THEN 'outfall'
        WHEN s.site_kind IN ('road_section', 'junction') THEN 'road' ELSE 'town-overview' END AS "board_id"
FROM incident_view AS i JOIN (SELECT DISTINCT site_id, site_kind FROM series_view) AS s USING (site_id)
WHERE i.is_open AND i.site_id = ANY (ARRAY[${site:sqlstring}]::text[])
ORDER BY i.priority, i.started DESC LIMIT 200;

-- map: The sites, each with its worst open anomaly; 0 where nothing is wrong, -1 without a fresh reading. Labels keep a distance.
WITH site AS (
    SELECT s.site_id, s.site_LANG AS name, s.lat, s.lon, coalesce(bool_or(l.received > now() - greatest(interval '1 hour', 3 * s.interval_s * interval '1 second')), false) AS fresh
    FROM series_view AS s LEFT JOIN latest_judged AS l USING (series_id) WHERE s.site_id = ANY (ARRAY[${site:sqlstring}]::text[]) GROUP BY 1, 2, 3, 4
), wrong AS (
    SELECT DISTINCT ON (site_id) site_id, severity, reason_LANG AS reason
    FROM anomaly_view WHERE state = 'open' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[]) ORDER BY site_id, severity DESC, start DESC
), judged AS (
    SELECT name, lat, lon, reason, coalesce(severity, CASE WHEN fresh THEN 0 ELSE -1 END) AS severity FROM site LEFT JOIN wrong USING (site_id)
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY floor(lat / nullif((SELECT max(lat) - min(lat) FROM judged), 0) * 16) ORDER BY severity DESC, name) AS nth FROM judged
)
SELECT name AS "site", lat AS "latitude", lon AS "longitude", severity AS "severity", reason AS "reason",
    CASE WHEN nth = 1 AND severity <> 0 AND coalesce(lat - lag(lat) OVER (PARTITION BY nth, severity <> 0 ORDER BY lat), 90)
        >= (SELECT max(lat) - min(lat) FROM judged) / 16 THEN name ELSE '' END AS "label"
FROM ranked ORDER BY 4, 1;

-- latest_water: The newest reading of each series of water and weather, flagged ones first.
SELECT l.quality AS "flag", concat(s.site_LANG, ' · ', s.town_LANG) AS "location", NAMED(measure, s.quantity) AS "quantity",
    l.value AS "value", l.expected AS "expected", l."time" AS "measured"
FROM series_view AS s LEFT JOIN latest_judged AS l USING (series_id)
WHERE s.site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND s.quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
    AND s.site_kind NOT IN ('road_section', 'junction')
ORDER BY coalesce(l.quality, 5) DESC, 2, 3;

-- series_values: One quantity at the chosen sites, a point an interval: the mean of what is good, else the highest that is not.
WITH chosen AS MATERIALIZED (
    SELECT series_id, concat(site_LANG, ' · ', town_LANG, ' · ', NAMED(measure, quantity)) AS metric FROM series_view
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

-- series_band: The expected band of the chosen series that an anomaly is open at, else of the first one; its name, then the parts of the band.
WITH chosen AS MATERIALIZED (
    SELECT s.series_id, s.quantity, concat(s.site_LANG, ' · ', NAMED(measure, s.quantity)) AS name
    FROM series_view AS s
    LEFT JOIN anomaly_view AS a ON a.series_id = s.series_id AND a.state = 'open'
    WHERE s.site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND s.quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
    ORDER BY a.severity DESC NULLS LAST, a.start DESC NULLS LAST, s.series_id LIMIT 1
), drawn AS MATERIALIZED (
    SELECT rollup_time(bucket, $__interval_ms) AS at,
        coalesce(sum(total) / nullif(sum(good), 0), max(flagged)) AS measured,
        sum(expected) / nullif(sum(judged), 0) AS expected,
        (sum(expected) - 3 * sum(spread)) / nullif(sum(judged), 0) AS lower,
        (sum(expected) + 3 * sum(spread)) / nullif(sum(judged), 0) AS upper,
        max(flagged) AS flagged
    FROM rollup_view
    WHERE width_s = rollup_width($__interval_ms) AND $__timeFilter(bucket) AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
    GROUP BY 1
)
SELECT at AS "time", part.metric, part.value AS "value"
FROM drawn, chosen, LATERAL (VALUES
    (1, name, measured), (2, concat(WORD(expected), ' ', NAMED(unit, quantity)), expected),
    (3, concat(WORD(lower), ' ', NAMED(unit, quantity)), lower), (4, concat(WORD(upper), ' ', NAMED(unit, quantity)), upper),
    (5, concat('△ ', WORD(flagged), ' ', NAMED(unit, quantity)), flagged)
) AS part (nth, metric, value)
WHERE part.value IS NOT NULL ORDER BY 1, part.nth;

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
SELECT class AS "class_colour", class AS "class", target AS "target_colour", target AS "target", met AS "met",
    concat(site_LANG, ' · ', town_LANG) AS "location",
    (SELECT string_agg(NAMED(quantity, name), ', ') FROM jsonb_array_elements_text(detail -> 'worst') AS name) AS "worst",
    concat(items, '/', items_of) AS "items", month AS "month", site_id AS "site_id"
FROM assessment_view AS a
WHERE kind = 'water_class' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND month = (
    SELECT max(month) FROM assessment_view WHERE kind = 'water_class'
)
ORDER BY met NULLS LAST, class DESC NULLS LAST, 6;

-- link_congestion: The congestion of each road link and direction by the newest speeds at its ends, worst first.
SELECT level AS "level_colour", level AS "level", concat(name, ' · ', NAMED(heading, heading)) AS "link",
    concat(begins, ' → ', ends) AS "section", ratio AS "ratio", kmh AS "kmh", free AS "free", measured AS "measured", site_id AS "site_id"
FROM (
    SELECT congestion_level(avg(l.value) / (k.speed_m_s * 3.6)) AS level, k.LANG AS name, k.link_id,
        (ARRAY['n', 'ne', 'e', 'se', 's', 'sw', 'w', 'nw'])[1 + mod(round(degrees(atan2(
            (k.to_lon - k.from_lon) * cos(radians(k.from_lat)), k.to_lat - k.from_lat)) / 45)::integer + 8, 8)] AS heading,
        coalesce(min(s.site_LANG) FILTER (WHERE s.site_id = k.from_site), '…') AS begins,
        coalesce(min(s.site_LANG) FILTER (WHERE s.site_id = k.to_site), '…') AS ends,
        avg(l.value) / (k.speed_m_s * 3.6) AS ratio, avg(l.value) AS kmh, k.speed_m_s * 3.6 AS free, max(l."time") AS measured,
        min(s.site_id) AS site_id
    FROM link_view AS k
    JOIN series_view AS s ON s.site_id IN (k.from_site, k.to_site) AND s.quantity = 'traffic_speed'
    JOIN latest_judged AS l USING (series_id)
    WHERE k.network = 'road' AND s.site_id = ANY (ARRAY[${site:sqlstring}]::text[])
    GROUP BY k.link_id, k.LANG, k.speed_m_s, k.from_lon, k.from_lat, k.to_lon, k.to_lat
) AS found ORDER BY ratio, link_id;

-- map_lines: Dots along the rivers and roads around the chosen sites, so close that they look like lines.
WITH shown AS (
    SELECT min(lon) - 0.02 AS west, max(lon) + 0.02 AS east, min(lat) - 0.02 AS south, max(lat) + 0.02 AS north
    FROM series_view WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[])
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
