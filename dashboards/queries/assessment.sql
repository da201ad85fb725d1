-- classes_month: Class against target of each section in the newest assessed month of the chosen time, missed ones first.
SELECT class AS "class_colour", class AS "class", target AS "target_colour", target AS "target", met AS "met",
    concat(site_LANG, ' · ', town_LANG) AS "location",
    (SELECT string_agg(NAMED(quantity, name), ', ') FROM jsonb_array_elements_text(detail -> 'main') AS name) AS "main",
    concat(items, '/', items_of) AS "items", month AS "month", site_id AS "site_id"
FROM assessment_view
WHERE kind = 'water_class' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND month = (
    SELECT max(month) FROM assessment_view WHERE kind = 'water_class' AND "time" <= $__timeTo()
)
ORDER BY met NULLS LAST, class DESC NULLS LAST, 6;

-- classes_year: Each section over the chosen time: months that kept the target of those assessed, worst and best class.
SELECT max(class) AS "class_colour", max(class) AS "class", concat(count(*) FILTER (WHERE met), '/', count(class)) AS "met_months",
    concat(site_LANG, ' · ', town_LANG) AS "location", site_id AS "site_id"
FROM assessment_view WHERE kind = 'water_class' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND "time" BETWEEN $__timeFrom()::timestamptz - interval '31 days' AND $__timeTo()
GROUP BY site_id, site_LANG, town_LANG ORDER BY max(class) DESC NULLS LAST, count(*) FILTER (WHERE met), 4;

-- classes_time: The class of each section, month by month.
SELECT "time", concat(site_LANG, ' · ', town_LANG) AS metric, max(class) AS "value"
FROM assessment_view
WHERE kind = 'water_class' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND "time" BETWEEN $__timeFrom()::timestamptz - interval '31 days' AND $__timeTo()
    AND class IS NOT NULL
GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 2000;

-- ranking: The towns by their index in the newest assessed month of the chosen time.
SELECT class AS "place", value AS "index", town_LANG AS "town", concat(items, '/', items_of) AS "items", month AS "month"
FROM assessment_view
WHERE kind = 'index' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND month = (
    SELECT max(month) FROM assessment_view WHERE kind = 'index' AND "time" <= $__timeTo()
)
ORDER BY 1 NULLS LAST, 3;

-- assessed_time: One kind of assessment of the chosen towns, month by month.
SELECT "time", town_LANG AS metric, value AS "value"
FROM assessment_view
WHERE kind = '_KIND' AND subject IN (SELECT 'area/' || town_id FROM series_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]))
    AND "time" BETWEEN $__timeFrom()::timestamptz - interval '31 days' AND $__timeTo() AND value IS NOT NULL
ORDER BY 1, 2;

-- congestion_month: The road links in the newest assessed month of the chosen time, the most congested first.
SELECT level AS "level_colour", level AS "level", tti AS "tti", concat(link, ' · ', NAMED(heading, heading)) AS "link", town AS "town",
    kmh AS "kmh", free AS "free", delay AS "delay"
FROM (
    SELECT a.town_LANG AS town, a.link_LANG AS link, a.link_id, a.class AS level, a.value AS tti, (a.detail ->> 'speed_km_h')::double precision AS kmh,
        (a.detail ->> 'free_km_h')::double precision AS free, (a.detail ->> 'delay_vehicle_h')::double precision AS delay,
        (ARRAY['n', 'ne', 'e', 'se', 's', 'sw', 'w', 'nw'])[1 + mod(round(degrees(atan2(
            (k.to_lon - k.from_lon) * cos(radians(k.from_lat)), k.to_lat - k.from_lat)) / 45)::integer + 8, 8)] AS heading
    FROM assessment_view AS a JOIN link_view AS k USING (link_id)
    WHERE a.kind = 'congestion' AND a.town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND a.month = (
        SELECT max(month) FROM assessment_view WHERE kind = 'congestion' AND "time" <= $__timeTo()
    )
) AS found ORDER BY tti DESC NULLS LAST, link_id;
