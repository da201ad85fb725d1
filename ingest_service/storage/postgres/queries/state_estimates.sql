-- delete_state_estimates: Delete the estimates of a quantity at nodes that have none any more.
DELETE FROM state_estimate WHERE quantity = %(quantity)s AND node_id <> ALL (%(node_ids)s::text[]);

-- upsert_state_estimates: Insert the estimates of a quantity at the nodes that are still enrolled, or replace them.
INSERT INTO state_estimate (quantity, node_id, "at", source, estimated, deviation, measured, expected, quality, measured_at)
SELECT %(quantity)s, e.node_id, to_timestamp(%(at_s)s), e.source, e.estimated, e.deviation, e.measured, e.expected, e.quality,
    to_timestamp(%(at_s)s - e.age_s)
FROM unnest(
    %(node_ids)s::text[], %(source)s::text[], %(estimated)s::float8[], %(deviation)s::float8[], %(measured)s::float8[],
    %(expected)s::float8[], %(quality)s::smallint[], %(age_s)s::float8[]
) AS e (node_id, source, estimated, deviation, measured, expected, quality, age_s)
WHERE e.node_id IN (SELECT node_id FROM node)
ON CONFLICT (quantity, node_id) DO UPDATE SET "at" = excluded."at", source = excluded.source, estimated = excluded.estimated,
    deviation = excluded.deviation, measured = excluded.measured, expected = excluded.expected, quality = excluded.quality,
    measured_at = excluded.measured_at;
