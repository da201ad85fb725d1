-- 0013 pre: what the dashboards see of devices, networks and the platform itself.

CREATE OR REPLACE VIEW device_view AS
SELECT
    d.device_id, d.area_id, d.kind,
    (d.status ->> 'online')::boolean AS online,
    (d.status ->> 'spool_depth')::bigint AS spool_depth,
    d.status ->> 'agent' AS agent,
    d.status_received,
    max(l."time") AS measured, max(l.received) AS received,
    d.clock_offset_s,
    (d.status ->> 'battery_v')::double precision AS battery_v,
    (d.status ->> 'signal_dbm')::double precision AS signal_dbm,
    (d.status ->> 'evicted')::bigint AS evicted,
    town.en AS town_en, town.zh AS town_zh
FROM device AS d
JOIN area AS town USING (area_id)
LEFT JOIN channel AS c USING (device_id)
LEFT JOIN latest AS l USING (series_id)
GROUP BY d.device_id, town.area_id;

-- The measured river sites next to a site, up and down, whatever unmeasured nodes lie between.
CREATE VIEW neighbour_view AS
WITH RECURSIVE hop AS (
    SELECT from_node AS one, to_node AS other, length_m, 'downstream' AS direction FROM link WHERE network = 'river'
    UNION ALL
    SELECT to_node, from_node, length_m, 'upstream' FROM link WHERE network = 'river'
), walk AS (
    SELECT n.site_id, h.other AS node_id, h.length_m AS distance_m, h.direction, 1 AS hops
    FROM node AS n JOIN hop AS h ON h.one = n.node_id
    WHERE n.site_id IS NOT NULL
    UNION ALL
    SELECT w.site_id, h.other, w.distance_m + h.length_m, w.direction, w.hops + 1
    FROM walk AS w
    JOIN node AS n ON n.node_id = w.node_id AND n.site_id IS NULL
    JOIN hop AS h ON h.one = w.node_id AND h.direction = w.direction
    WHERE w.hops < 20
)
SELECT w.site_id, n.site_id AS neighbour_id, w.direction, min(w.distance_m) AS distance_m
FROM walk AS w JOIN node AS n USING (node_id)
WHERE n.site_id IS NOT NULL AND n.site_id <> w.site_id
GROUP BY 1, 2, 3;

-- How far along its road each measured road site lies, from the nearest end where a road begins [m].
CREATE VIEW corridor_view AS
WITH RECURSIVE walk AS (
    SELECT n.node_id AS begin, n.node_id, 0::double precision AS distance_m, 0 AS hops
    FROM node AS n
    WHERE n.network = 'road' AND NOT EXISTS (SELECT FROM link AS k WHERE k.to_node = n.node_id AND k.network = 'road')
    UNION ALL
    SELECT w.begin, k.to_node, w.distance_m + k.length_m, w.hops + 1
    FROM walk AS w JOIN link AS k ON k.from_node = w.node_id AND k.network = 'road'
    WHERE w.hops < 100
)
SELECT DISTINCT ON (n.site_id) n.site_id, w.begin AS begin_node, w.distance_m
FROM walk AS w JOIN node AS n USING (node_id)
WHERE n.site_id IS NOT NULL
ORDER BY n.site_id, w.distance_m;

-- One row: what waits to be done, and how large all of it is [bytes].
CREATE VIEW platform_view AS
SELECT
    pg_database_size(current_database()) AS database_bytes,
    (SELECT count(*) FROM rollup_due) AS rollups_due,
    (SELECT count(*) FROM rejudge_due) AS rejudge_due,
    (SELECT count(*) FROM dead_letter WHERE state = 'waiting') AS letters_waiting,
    (SELECT max(received) FROM latest) AS newest_received;

-- Tables with their indexes and chunks [bytes].
CREATE VIEW table_size_view AS
SELECT c.relname AS "table", pg_total_relation_size(c.oid)
    + coalesce((SELECT sum(pg_total_relation_size(i.inhrelid)) FROM pg_inherits AS i WHERE i.inhparent = c.oid), 0) AS bytes
FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'area'::regclass);

-- Who judges what, since when, and when its state was last kept.
CREATE VIEW shard_view AS
SELECT s.shard, s.epoch, s.taken, d.saved FROM shard AS s LEFT JOIN detector_state AS d USING (shard);

-- The level of a ratio of speed to free-flow speed, five-level scale; on a bound it is the worse one.
CREATE FUNCTION congestion_level(ratio double precision) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN ratio > 0.7 THEN 1 WHEN ratio > 0.5 THEN 2 WHEN ratio > 0.4 THEN 3 WHEN ratio > 0.3 THEN 4
    WHEN ratio IS NOT NULL THEN 5 END;

DO $$
BEGIN
    GRANT SELECT ON neighbour_view, corridor_view, platform_view, table_size_view, shard_view
        TO towntwin_gateway, towntwin_grafana;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
