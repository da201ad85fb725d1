-- 0059 pre: kept scenarios as rows, for the dashboards (decision 0115).

CREATE VIEW scenario_view AS
SELECT
    s.scenario_id, s.area_ids, s.kind, s.name, split_part(s.who, ' (', 1) AS who, s.created, s."at",
    (SELECT string_agg(t.one ->> 'en', ' ' ORDER BY t.place) FROM jsonb_array_elements(s.result -> 'statements') WITH ORDINALITY AS t (one, place)) AS found_en,
    (SELECT string_agg(t.one ->> 'zh', '' ORDER BY t.place) FROM jsonb_array_elements(s.result -> 'statements') WITH ORDINALITY AS t (one, place)) AS found_zh
FROM scenario AS s;

-- What each scenario changed, and where: names are those of now, null where the place is gone.
CREATE VIEW scenario_change_view AS
SELECT s.scenario_id, c.place, c.one ->> 'kind' AS kind, coalesce(n.en, k.en) AS place_en, coalesce(n.zh, k.zh) AS place_zh
FROM scenario AS s
CROSS JOIN LATERAL jsonb_array_elements(s.inputs -> 'changes') WITH ORDINALITY AS c (one, place)
LEFT JOIN node AS n ON n.node_id = c.one ->> 'node'
LEFT JOIN link AS k ON k.link_id = c.one ->> 'link';

-- The curve of each place of a scenario: added concentration [mg/L] of a river node, queue [vehicles] of a road. base is without the
-- changes; null where they alter no flow, and in scenarios on the river that were computed before the curve was kept.
CREATE VIEW scenario_curve_view AS
SELECT
    s.scenario_id, p.place, coalesce(p.one ->> 'node_id', p.one ->> 'link_id') AS place_id, p.one ->> 'en' AS place_en, p.one ->> 'zh' AS place_zh,
    v.time_s::double precision / 3600 AS hours, v.value::double precision AS value, v.base::double precision AS base
FROM scenario AS s
CROSS JOIN LATERAL jsonb_array_elements(CASE s.kind WHEN 'water' THEN s.result -> 'sites' ELSE s.result -> 'roads' END) WITH ORDINALITY AS p (one, place)
CROSS JOIN LATERAL ROWS FROM (
    jsonb_array_elements_text(s.result -> 'time_s'),
    jsonb_array_elements_text(CASE s.kind WHEN 'water' THEN p.one -> 'concentration_mg_l' ELSE p.one -> 'queue_veh' END),
    jsonb_array_elements_text(CASE
        WHEN s.kind = 'traffic' THEN p.one -> 'base_queue_veh'
        WHEN jsonb_typeof(p.one -> 'base_concentration_mg_l') = 'array' THEN p.one -> 'base_concentration_mg_l'
    END)
) AS v (time_s, value, base);

DO $$
BEGIN
    GRANT SELECT ON scenario_view, scenario_change_view, scenario_curve_view TO towntwin_grafana;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
