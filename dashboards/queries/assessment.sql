-- classes_month: Class against target of each section in the newest assessed month of the chosen time, worst first.
SELECT month AS "month", town_LANG AS "town", site_id AS "site_id", site_LANG AS "site", class AS "class", target AS "target",
    met AS "met", concat(items, '/', items_of) AS "items",
    (SELECT string_agg(NAMED(quantity, name), ', ') FROM jsonb_array_elements_text(detail -> 'main') AS name) AS "main"
FROM assessment_view
WHERE kind = 'water_class' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND month = (
    SELECT max(month) FROM assessment_view WHERE kind = 'water_class' AND "time" <= $__timeTo()
)
ORDER BY class DESC NULLS LAST, 2, 4;

-- classes_year: Each section over the chosen time: months assessed, months that kept the target, best and worst class.
SELECT town_LANG AS "town", site_id AS "site_id", site_LANG AS "site", count(class) AS "months", count(*) FILTER (WHERE met) AS "met_months",
    min(class) AS "best", max(class) AS "class"
FROM assessment_view WHERE kind = 'water_class' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND "time" BETWEEN $__timeFrom()::timestamptz - interval '31 days' AND $__timeTo()
GROUP BY 1, 2, 3 ORDER BY 7 DESC NULLS LAST, 1, 3;

-- classes_time: The class of each section, month by month.
SELECT "time", concat(site_LANG, ' ', site_id) AS metric, class AS "value"
FROM assessment_view
WHERE kind = 'water_class' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND "time" BETWEEN $__timeFrom()::timestamptz - interval '31 days' AND $__timeTo()
    AND class IS NOT NULL
ORDER BY 1, 2 LIMIT 2000;

-- ranking: The towns by their index in the newest assessed month of the chosen time.
SELECT class AS "place", town_LANG AS "town", value AS "index", concat(items, '/', items_of) AS "items", month AS "month"
FROM assessment_view
WHERE kind = 'index' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND month = (
    SELECT max(month) FROM assessment_view WHERE kind = 'index' AND "time" <= $__timeTo()
)
ORDER BY 1 NULLS LAST, 2;

-- assessed_time: One kind of assessment of the chosen towns, month by month.
SELECT "time", town_LANG AS metric, value AS "value"
FROM assessment_view
WHERE kind = '_KIND' AND subject IN (SELECT 'area/' || town_id FROM series_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]))
    AND "time" BETWEEN $__timeFrom()::timestamptz - interval '31 days' AND $__timeTo() AND value IS NOT NULL
ORDER BY 1, 2;

-- congestion_month: The road links in the newest assessed month of the chosen time, the most congested first.
SELECT town_LANG AS "town", link_LANG AS "link", class AS "level", value AS "tti", (detail ->> 'speed_km_h')::double precision AS "kmh",
    (detail ->> 'free_km_h')::double precision AS "free", (detail ->> 'delay_vehicle_h')::double precision AS "delay"
FROM assessment_view
WHERE kind = 'congestion' AND link_id IS NOT NULL AND town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND month = (
    SELECT max(month) FROM assessment_view WHERE kind = 'congestion' AND "time" <= $__timeTo()
)
ORDER BY 4 DESC NULLS LAST, 1, 2;
