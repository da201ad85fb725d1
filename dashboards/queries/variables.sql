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
