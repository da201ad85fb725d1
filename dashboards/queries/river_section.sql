-- river_class: The class of the section in the newest month that was assessed, against its target.
SELECT class AS "class", target AS "target", met::integer AS "met", items AS "items"
FROM assessment_view WHERE kind = 'water_class' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[]) ORDER BY month DESC LIMIT 1;

-- river_items: What each item was in that month: mean, class, and how far beyond class III.
SELECT NAMED(quantity, item.key) AS "quantity", (item.value ->> 'mean')::double precision AS "mean", (item.value ->> 'class')::integer AS "class",
    (item.value ->> 'exceeds')::double precision AS "exceeds", (item.value ->> 'readings')::bigint AS "readings"
FROM (
    SELECT detail FROM assessment_view
    WHERE kind = 'water_class' AND site_id = ANY (ARRAY[${site:sqlstring}]::text[]) ORDER BY month DESC LIMIT 1
) AS newest CROSS JOIN jsonb_each(newest.detail -> 'items') AS item
ORDER BY 3 DESC NULLS LAST, 1;

-- river_latest: The newest reading of each quantity of the section.
SELECT NAMED(quantity, s.quantity) AS "quantity", l.value AS "value", l.quality AS "flag", l.expected AS "expected", l.lower AS "lower",
    l.upper AS "upper", l."time" AS "measured"
FROM latest_judged AS l JOIN series_view AS s USING (series_id)
WHERE s.site_id = ANY (ARRAY[${site:sqlstring}]::text[]) ORDER BY 1;

-- river_values: The chosen quantities of the section, a point an interval.
WITH chosen AS MATERIALIZED (
    SELECT series_id, NAMED(quantity, quantity) AS metric FROM series_view
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

-- river_flags: When each chosen quantity was good (1) and when it had readings of flag 3 or 4 (3).
WITH chosen AS MATERIALIZED (
    SELECT series_id, NAMED(quantity, quantity) AS metric FROM series_view
    WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
    ORDER BY series_id LIMIT 12
), drawn AS MATERIALIZED (
    SELECT rollup_time(bucket, $__interval_ms) AS "time", series_id, CASE WHEN max(flagged) IS NULL THEN 1 ELSE 3 END AS "value"
    FROM rollup_view
    WHERE width_s = rollup_width($__interval_ms) AND $__timeFilter(bucket)
        AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
    GROUP BY 1, 2
)
SELECT "time", metric, "value" FROM drawn JOIN chosen USING (series_id) ORDER BY 1, 2;

-- river_neighbours: The first chosen quantity at the section and at the measured sites next to it.
WITH chosen AS MATERIALIZED (
    SELECT series_id, concat(CASE direction WHEN 'upstream' THEN '↑ ' WHEN 'downstream' THEN '↓ ' END, site_LANG, ' · ', town_LANG) AS metric FROM series_view
    LEFT JOIN neighbour_view AS n ON n.neighbour_id = series_view.site_id AND n.site_id = ANY (ARRAY[${site:sqlstring}]::text[])
    WHERE (n.site_id IS NOT NULL OR series_view.site_id = ANY (ARRAY[${site:sqlstring}]::text[])) AND quantity = (
        SELECT min(quantity) FROM series_view WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]) AND quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
    )
    ORDER BY series_id LIMIT 12
), drawn AS MATERIALIZED (
    SELECT rollup_time(bucket, $__interval_ms) AS "time", series_id, coalesce(sum(total) / nullif(sum(good), 0), max(flagged)) AS "value"
    FROM rollup_view
    WHERE width_s = rollup_width($__interval_ms) AND $__timeFilter(bucket)
        AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
    GROUP BY 1, 2
)
SELECT "time", metric, "value" FROM drawn JOIN chosen USING (series_id) ORDER BY 1, 2;
