-- delete_state_estimates: Delete the estimates of a quantity at nodes that have none any more, and forwarded ones of a day ago.
DELETE FROM state_estimate WHERE quantity = %(quantity)s AND CASE WHEN origin IS NULL THEN node_id <> ALL (%(node_ids)s::text[])
    ELSE "at" < to_timestamp(%(at_s)s) - interval '1 day' END;

-- upsert_state_estimates: Insert the estimates of a quantity at the nodes that are still enrolled, or replace own ones.
INSERT INTO state_estimate AS o (quantity, node_id, "at", source, estimated, deviation, measured, expected, quality, measured_at)
SELECT %(quantity)s, e.node_id, to_timestamp(%(at_s)s), e.source, e.estimated, e.deviation, e.measured, e.expected, e.quality,
    to_timestamp(%(at_s)s - e.age_s)
FROM unnest(
    %(node_ids)s::text[], %(source)s::text[], %(estimated)s::float8[], %(deviation)s::float8[], %(measured)s::float8[],
    %(expected)s::float8[], %(quality)s::smallint[], %(age_s)s::float8[]
) AS e (node_id, source, estimated, deviation, measured, expected, quality, age_s)
WHERE e.node_id IN (SELECT node_id FROM node)
ON CONFLICT (quantity, node_id) DO UPDATE SET "at" = excluded."at", source = excluded.source, estimated = excluded.estimated,
    deviation = excluded.deviation, measured = excluded.measured, expected = excluded.expected, quality = excluded.quality,
    measured_at = excluded.measured_at
WHERE o.origin IS NULL;

-- estimates_to_forward: Newest estimates at nodes of some areas that are at one of some sites or at none, by quantity and node.
SELECT e.quantity, e.node_id, n.site_id, (extract(epoch FROM e."at") * 1000000)::bigint AS at_us, e.source, e.estimated,
    e.deviation, e.measured, e.expected, e.quality, (extract(epoch FROM e.measured_at) * 1000000)::bigint AS measured_us,
    e.origin IS NOT NULL AS is_forwarded
FROM state_estimate AS e JOIN node AS n USING (node_id)
WHERE n.area_id = ANY (%(area_ids)s) AND (n.site_id IS NULL OR n.site_id = ANY (%(site_ids)s))
ORDER BY e.quantity, e.node_id COLLATE "C";

-- forget_forwarded_estimates: Delete what a town has no more of a quantity between two nodes, and what is a day old.
DELETE FROM state_estimate WHERE origin = %(origin)s AND ("at" < now() - interval '1 day' OR quantity = %(quantity)s
    AND node_id <> ALL (%(node_id)s::text[]) AND node_id COLLATE "C" > %(after)s
    AND (%(until)s::text IS NULL OR node_id COLLATE "C" <= %(until)s));

-- store_forwarded_estimates: Insert estimates at nodes that a town has defined, or replace those stored for them.
INSERT INTO state_estimate (
    quantity, node_id, "at", source, estimated, deviation, measured, expected, quality, measured_at, origin
)
SELECT %(quantity)s, e.node_id, least(now(), 'epoch'::timestamptz + e.at_us * interval '1 microsecond'), e.source, e.estimated,
    e.deviation, e.measured, e.expected, e.quality, 'epoch'::timestamptz + e.measured_us * interval '1 microsecond', %(origin)s
FROM unnest(
    %(node_id)s::text[], %(at_us)s::bigint[], %(source)s::text[], %(estimated)s::float8[], %(deviation)s::float8[],
    %(measured)s::float8[], %(expected)s::float8[], %(quality)s::smallint[], %(measured_us)s::bigint[]
) AS e (node_id, at_us, source, estimated, deviation, measured, expected, quality, measured_us)
JOIN node AS n ON n.node_id = e.node_id AND n.origin = %(origin)s
ON CONFLICT (quantity, node_id) DO UPDATE SET "at" = excluded."at", source = excluded.source, estimated = excluded.estimated,
    deviation = excluded.deviation, measured = excluded.measured, expected = excluded.expected, quality = excluded.quality,
    measured_at = excluded.measured_at, origin = excluded.origin;

-- forwarded_estimates: Estimates of a quantity that towns have forwarded within a day.
SELECT e.node_id, extract(epoch FROM e."at")::float8 AS at_s, e.source, e.estimated, e.deviation, e.measured, e.expected, e.quality,
    extract(epoch FROM e.measured_at)::float8 AS measured_s
FROM state_estimate AS e WHERE e.origin IS NOT NULL AND e.quantity = %s AND e."at" > now() - interval '1 day';
