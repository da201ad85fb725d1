-- state_counts: Nodes that are measured and estimated, links, and the age of the state [s]; no row without any.
SELECT count(*) FILTER (WHERE source = 'measured') AS "nodes_measured", count(*) FILTER (WHERE source = 'estimated') AS "nodes_estimated",
    (SELECT count(*) FROM link_estimate_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[])
        AND quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])) AS "links_estimated",
    extract(epoch FROM now() - max("at"))::double precision AS "state_age"
FROM node_estimate_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
HAVING count(*) > 0;

-- state_map: The nodes with value and standard deviation; the label is left out where a node with one is near.
WITH chosen AS (
    SELECT node_LANG AS name, lat, lon, source, concat(round(estimated::numeric, 2), ' ± ', round(deviation::numeric, 2)) AS value, deviation
    FROM node_estimate_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY floor(lat / nullif((SELECT max(lat) - min(lat) FROM chosen), 0) * 12),
        floor(lon / nullif((SELECT max(lon) - min(lon) FROM chosen), 0) * 6) ORDER BY deviation DESC, name) AS nth
    FROM chosen
)
SELECT concat(name, ' · ', value) AS "node", lat AS "latitude", lon AS "longitude",
    CASE WHEN source = 'measured' THEN 1 ELSE 0 END AS "is_measured", CASE WHEN nth = 1 THEN value ELSE '' END AS "label"
FROM ranked ORDER BY 4, 1;

-- state_map_lines: Dots along the links of the network, so close that they look like lines.
WITH shown AS (
    SELECT min(lon) - 0.02 AS west, max(lon) + 0.02 AS east, min(lat) - 0.02 AS south, max(lat) + 0.02 AS north, min(network) AS network
    FROM node_estimate_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
), point AS (
    SELECT k.link_id, k.network, k.length_m, p.place, (p.xy ->> 0)::double precision AS lon, (p.xy ->> 1)::double precision AS lat
    FROM link_view AS k, shown, LATERAL jsonb_array_elements(CASE WHEN jsonb_array_length(k.coordinates) > 1 THEN k.coordinates
        ELSE jsonb_build_array(jsonb_build_array(k.from_lon, k.from_lat), jsonb_build_array(k.to_lon, k.to_lat)) END)
        WITH ORDINALITY AS p (xy, place)
    WHERE k.network = shown.network AND k.from_lon BETWEEN west AND east AND k.from_lat BETWEEN south AND north
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

-- state_nodes: Each node: estimate with standard deviation, newest reading, its age; the least certain first.
SELECT source AS "source", concat(node_LANG, ' · ', town_LANG) AS "location",
    estimated AS "estimated", deviation AS "deviation", measured AS "measured_value", expected AS "expected", quality AS "flag",
    extract(epoch FROM now() - measured_at)::double precision AS "reading_age"
FROM node_estimate_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
ORDER BY deviation DESC, 2 LIMIT 1000;

-- state_links: Each link: mean of its ends and an upper bound of its standard deviation; the least certain first.
SELECT deviation AS "deviation", estimated AS "estimated", concat(link_LANG, ' · ', town_LANG) AS "link",
    concat(from_LANG, ' → ', to_LANG) AS "section"
FROM link_estimate_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND quantity = ANY (ARRAY[${quantity:sqlstring}]::text[])
ORDER BY 1 DESC, 3, 4 LIMIT 1000;

-- trace_sources: Where what open incidents are about was released, the three likeliest places of each, most urgent first.
SELECT i.priority AS "priority", NAMED(cause, i.cause) AS "incident", concat(i.site_LANG, ' · ', i.town_LANG) AS "location",
    s.node_LANG AS "source_place", s.probability AS "probability", s.released_from AS "released_from", s.released_to AS "released_to",
    i.incident_id AS "incident_id"
FROM incident_source_view AS s JOIN incident_view AS i USING (incident_id)
WHERE i.is_open AND i.town_id = ANY (ARRAY[${town:sqlstring}]::text[]) AND s.place <= 3
ORDER BY i.priority, i.started DESC, s.place LIMIT 200;

-- trace_arrivals: When it arrives at the sections below, with the band of 80 %, the next ones first.
SELECT i.priority AS "priority", NAMED(cause, i.cause) AS "incident", a.node_LANG AS "section_below", a.arrival AS "arrival",
    a.arrival_from AS "arrival_from", a.arrival_to AS "arrival_to", a.probability AS "probability", i.incident_id AS "incident_id"
FROM incident_arrival_view AS a JOIN incident_view AS i USING (incident_id)
WHERE i.is_open AND i.town_id = ANY (ARRAY[${town:sqlstring}]::text[])
ORDER BY i.priority, a.arrival LIMIT 200;

-- scenario_list: Kept scenarios of the chosen towns: who computed what, when, what was changed, what was found; newest first.
SELECT s.name AS "scenario", s.who AS "who", s.created AS "computed", s."at" AS "begins",
    (SELECT string_agg(concat(NAMED(change, c.kind), ' · ', c.place_LANG), WORD(list_separator) ORDER BY c.place)
        FROM scenario_change_view AS c WHERE c.scenario_id = s.scenario_id) AS "changes",
    s.found_LANG AS "found", s.scenario_id AS "scenario_id"
FROM scenario_view AS s WHERE s.area_ids && ARRAY[${town:sqlstring}]::text[]
ORDER BY s.created DESC, s.scenario_id DESC LIMIT 200;

-- scenario_curves: At one place, over the hours of the scenario: without the changes, with them, and of the second scenario. No other is unnested.
SELECT part.curve AS "curve", c.hours AS "hours", part.amount AS "scenario_value"
FROM scenario_curve_view AS c, LATERAL (VALUES
    (1, WORD(without_changes), c.base, true), (2, WORD(chosen_scenario), c.value, true), (3, WORD(compared_scenario), c.value, false)
) AS part (nth, curve, amount, is_chosen)
WHERE c.place_id = ANY (ARRAY[${scenario_place:sqlstring}]::text[]) AND part.amount IS NOT NULL
    AND c.scenario_id::text = ANY (ARRAY[${scenario:sqlstring}]::text[] || ARRAY[${second_scenario:sqlstring}]::text[])
    AND c.scenario_id::text = ANY (CASE WHEN part.is_chosen THEN ARRAY[${scenario:sqlstring}]::text[] ELSE ARRAY[${second_scenario:sqlstring}]::text[] END)
    AND (part.is_chosen OR c.scenario_id::text <> ALL (ARRAY[${scenario:sqlstring}]::text[]))
    AND EXISTS (SELECT FROM scenario_view AS a, scenario_view AS b
        WHERE a.scenario_id::text = ANY (ARRAY[${scenario:sqlstring}]::text[]) AND b.scenario_id::text = ANY (ARRAY[${second_scenario:sqlstring}]::text[])
            AND a.area_ids && ARRAY[${town:sqlstring}]::text[])
ORDER BY part.nth, c.hours;

-- scenario_places: The largest value at each place without the changes, with them, and of the second scenario, empty where it has none.
WITH peak AS (
    SELECT scenario_id, place, place_id, place_LANG AS name, max(value) AS largest, max(base) AS usual FROM scenario_curve_view
    WHERE scenario_id::text = ANY (ARRAY[${scenario:sqlstring}]::text[]) OR scenario_id::text = ANY (ARRAY[${second_scenario:sqlstring}]::text[])
    GROUP BY scenario_id, place, place_id, place_LANG
), a AS (
    SELECT p.* FROM peak AS p JOIN scenario_view AS s USING (scenario_id)
    WHERE p.scenario_id::text = ANY (ARRAY[${scenario:sqlstring}]::text[]) AND s.area_ids && ARRAY[${town:sqlstring}]::text[]
)
SELECT a.name AS "scenario_place", a.usual AS "without_changes", a.largest AS "chosen_scenario", b.largest AS "compared_scenario"
FROM a LEFT JOIN peak AS b ON b.place_id = a.place_id AND b.scenario_id::text = ANY (ARRAY[${second_scenario:sqlstring}]::text[])
WHERE EXISTS (SELECT FROM scenario_view AS s WHERE s.scenario_id::text = ANY (ARRAY[${second_scenario:sqlstring}]::text[]))
ORDER BY a.place LIMIT 200;
