-- cities: The cities, for the variable.
SELECT DISTINCT city_LANG AS "__text", city_id AS "__value" FROM series_view WHERE city_id IS NOT NULL ORDER BY 1;

-- counties: The counties of the chosen cities.
SELECT DISTINCT county_LANG AS "__text", county_id AS "__value" FROM series_view
WHERE city_id = ANY (ARRAY[${city:sqlstring}]::text[]) ORDER BY 1;

-- towns: The towns of the chosen counties.
SELECT DISTINCT town_LANG AS "__text", town_id AS "__value" FROM series_view
WHERE county_id = ANY (ARRAY[${county:sqlstring}]::text[]) ORDER BY 1;

-- sites: The sites of the chosen towns.
SELECT DISTINCT site_LANG AS "__text", site_id AS "__value" FROM series_view
WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]) ORDER BY 1;

-- quantities: What the chosen sites measure.
SELECT DISTINCT NAMED(quantity, quantity) AS "__text", quantity AS "__value" FROM series_view WHERE site_id = ANY (ARRAY[${site:sqlstring}]::text[]) ORDER BY 1;

-- sites_of_kind: The sites of the chosen towns that are of one kind.
SELECT DISTINCT site_LANG AS "__text", site_id AS "__value" FROM series_view
WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND site_kind IN (_KINDS) ORDER BY 1;

-- estimated_quantities: The quantities with an estimated state in the chosen towns.
SELECT DISTINCT NAMED(measure, quantity) AS "__text", quantity AS "__value" FROM node_estimate_view
WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]) ORDER BY 1;

-- scenario: The kept scenarios of the chosen towns, newest first.
SELECT concat(name, ' · ', to_char(created AT TIME ZONE 'Asia/Shanghai', 'MM-DD HH24:MI')) AS "__text", scenario_id::text AS "__value"
FROM scenario_view WHERE area_ids && ARRAY[${town:sqlstring}]::text[] ORDER BY scenario_id DESC LIMIT 200;

-- second_scenario: Those of the same network to compare it with, newest first; last itself, where there is no other.
SELECT concat(b.name, ' · ', to_char(b.created AT TIME ZONE 'Asia/Shanghai', 'MM-DD HH24:MI')) AS "__text", b.scenario_id::text AS "__value"
FROM scenario_view AS a JOIN scenario_view AS b USING (kind)
WHERE a.scenario_id::text = ANY (ARRAY[${scenario:sqlstring}]::text[]) AND b.area_ids && ARRAY[${town:sqlstring}]::text[]
ORDER BY b.scenario_id = a.scenario_id, b.scenario_id DESC LIMIT 200;

-- scenario_place: The places that the chosen scenario alters, those that its changes alter most first.
SELECT place_LANG AS "__text", place_id AS "__value" FROM scenario_curve_view
WHERE scenario_id::text = ANY (ARRAY[${scenario:sqlstring}]::text[])
GROUP BY place_id, place_LANG, place ORDER BY max(abs(value - base)) DESC NULLS LAST, place LIMIT 200;
