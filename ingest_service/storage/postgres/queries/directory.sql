-- enrol_area: Insert or update an area; unchanged rows are not written.
INSERT INTO area (area_id, parent, level, en, zh)
VALUES (%(area_id)s, %(parent)s, %(level)s, %(en)s, %(zh)s)
ON CONFLICT (area_id) DO UPDATE SET parent = excluded.parent, level = excluded.level, en = excluded.en, zh = excluded.zh
WHERE (area.parent, area.level, area.en, area.zh)
    IS DISTINCT FROM (excluded.parent, excluded.level, excluded.en, excluded.zh);

-- enrol_site: Insert or update a site.
INSERT INTO site (site_id, area_id, kind, en, zh, lon, lat, external_id, grid_cell, target_class, demo)
VALUES (%(site_id)s, %(area_id)s, %(kind)s, %(en)s, %(zh)s, %(lon)s, %(lat)s, %(external_id)s, %(grid_cell)s,
    %(target_class)s, %(demo)s)
ON CONFLICT (site_id) DO UPDATE SET area_id = excluded.area_id, kind = excluded.kind, en = excluded.en,
    zh = excluded.zh, lon = excluded.lon, lat = excluded.lat, external_id = excluded.external_id,
    grid_cell = excluded.grid_cell, target_class = excluded.target_class, demo = excluded.demo
WHERE (site.area_id, site.kind, site.en, site.zh, site.lon, site.lat, site.external_id, site.grid_cell,
    site.target_class, site.demo) IS DISTINCT FROM (excluded.area_id, excluded.kind, excluded.en, excluded.zh,
    excluded.lon, excluded.lat, excluded.external_id, excluded.grid_cell, excluded.target_class, excluded.demo);

-- enrol_device: Insert or update a device; its status is kept.
INSERT INTO device (device_id, area_id, kind) VALUES (%(device_id)s, %(area_id)s, %(kind)s)
ON CONFLICT (device_id) DO UPDATE SET area_id = excluded.area_id, kind = excluded.kind
WHERE (device.area_id, device.kind) IS DISTINCT FROM (excluded.area_id, excluded.kind);

-- enrol_series: Insert or update a series; its id is kept.
INSERT INTO series (site_id, quantity, interval_s, limits)
VALUES (%(site_id)s, %(quantity)s, %(interval_s)s, %(limits)s)
ON CONFLICT (site_id, quantity) DO UPDATE SET interval_s = excluded.interval_s, limits = excluded.limits
WHERE (series.interval_s, series.limits) IS DISTINCT FROM (excluded.interval_s, excluded.limits);

-- enrol_channel: Insert or update a channel by the site and quantity of its series.
INSERT INTO channel (device_id, name, series_id)
SELECT %(device_id)s, %(name)s, series_id FROM series WHERE site_id = %(site_id)s AND quantity = %(quantity)s
ON CONFLICT (device_id, name) DO UPDATE SET series_id = excluded.series_id
WHERE channel.series_id IS DISTINCT FROM excluded.series_id;

-- enrol_node: Insert or update a node; since when it is valid is kept.
INSERT INTO node (node_id, network, area_id, kind, en, zh, lon, lat, site_id, elevation_m, external_id)
VALUES (%(node_id)s, %(network)s, %(area_id)s, %(kind)s, %(en)s, %(zh)s, %(lon)s, %(lat)s, %(site_id)s,
    %(elevation_m)s, %(external_id)s)
ON CONFLICT (node_id) DO UPDATE SET network = excluded.network, area_id = excluded.area_id, kind = excluded.kind, en
    = excluded.en, zh = excluded.zh, lon = excluded.lon, lat = excluded.lat, site_id = excluded.site_id, elevation_m
    = excluded.elevation_m, external_id = excluded.external_id
WHERE (node.network, node.area_id, node.kind, node.en, node.zh, node.lon, node.lat, node.site_id, node.elevation_m,
    node.external_id) IS DISTINCT FROM (excluded.network, excluded.area_id, excluded.kind, excluded.en, excluded.zh,
    excluded.lon, excluded.lat, excluded.site_id, excluded.elevation_m, excluded.external_id);

-- enrol_link: Insert or update a link; since when it is valid is kept.
INSERT INTO link (link_id, network, from_node, to_node, en, zh, length_m, speed_m_s, lanes, coordinates, direction,
    section_shape, width_m, depth_m, side_slope, manning_n, structure, lane_capacity_veh_h, external_id)
VALUES (%(link_id)s, %(network)s, %(from_node)s, %(to_node)s, %(en)s, %(zh)s, %(length_m)s, %(speed_m_s)s,
    %(lanes)s, %(coordinates)s, %(direction)s, %(section_shape)s, %(width_m)s, %(depth_m)s, %(side_slope)s,
    %(manning_n)s, %(structure)s, %(lane_capacity_veh_h)s, %(external_id)s)
ON CONFLICT (link_id) DO UPDATE SET network = excluded.network, from_node = excluded.from_node, to_node =
    excluded.to_node, en = excluded.en, zh = excluded.zh, length_m = excluded.length_m, speed_m_s =
    excluded.speed_m_s, lanes = excluded.lanes, coordinates = excluded.coordinates, direction = excluded.direction,
    section_shape = excluded.section_shape, width_m = excluded.width_m, depth_m = excluded.depth_m, side_slope =
    excluded.side_slope, manning_n = excluded.manning_n, structure = excluded.structure, lane_capacity_veh_h =
    excluded.lane_capacity_veh_h, external_id = excluded.external_id
WHERE (link.network, link.from_node, link.to_node, link.en, link.zh, link.length_m, link.speed_m_s, link.lanes,
    link.coordinates, link.direction, link.section_shape, link.width_m, link.depth_m, link.side_slope,
    link.manning_n, link.structure, link.lane_capacity_veh_h, link.external_id) IS DISTINCT FROM (excluded.network,
    excluded.from_node, excluded.to_node, excluded.en, excluded.zh, excluded.length_m, excluded.speed_m_s,
    excluded.lanes, excluded.coordinates, excluded.direction, excluded.section_shape, excluded.width_m,
    excluded.depth_m, excluded.side_slope, excluded.manning_n, excluded.structure, excluded.lane_capacity_veh_h,
    excluded.external_id);

-- set_node_valid_from: Set since when the current version of a node is valid.
UPDATE node SET valid_from = to_timestamp(%(valid_from_s)s) WHERE node_id = %(name)s;

-- set_link_valid_from: Set since when the current version of a link is valid.
UPDATE link SET valid_from = to_timestamp(%(valid_from_s)s) WHERE link_id = %(name)s;

-- insert_past_network: Store a node or link as it was until a time.
INSERT INTO network_history (feature, feature_id, area_ids, valid_from, valid_to, content)
VALUES (%(feature)s, %(feature_id)s, %(area_ids)s, to_timestamp(%(valid_from_s)s), to_timestamp(%(valid_to_s)s), %(content)s);

-- past_network: Every node and link as it was, the oldest first.
SELECT feature, content || jsonb_build_object('valid_from_s', extract(epoch FROM valid_from)::float8) AS content,
    extract(epoch FROM valid_to)::float8 AS valid_to_s
FROM network_history ORDER BY feature, feature_id, valid_to;

-- delete_links: Delete links by their ids.
DELETE FROM link WHERE link_id = ANY(%(names)s);

-- delete_nodes: Delete nodes by their ids.
DELETE FROM node WHERE node_id = ANY(%(names)s);

-- lock_directory: Wait for other changes of the directory, and keep them out until the end of the transaction.
SELECT version FROM directory_version FOR UPDATE;

-- directory_changed: Increment the version of the directory.
UPDATE directory_version SET version = version + 1;

-- directory_version: The version of the directory.
SELECT version FROM directory_version;

-- areas: Every area.
SELECT area_id, parent, level, en, zh FROM area ORDER BY area_id;

-- sites: Every site.
SELECT site_id, area_id, kind, en, zh, lon, lat, external_id, grid_cell, target_class, demo FROM site ORDER BY site_id;

-- devices: Every device.
SELECT device_id, area_id, kind FROM device ORDER BY device_id;

-- enrolled: When each device was enrolled.
SELECT device_id, extract(epoch FROM enrolled)::float8 FROM device;

-- site_origins: Sites that a town's platform forwards, with its device.
SELECT site_id, origin FROM site WHERE origin IS NOT NULL;

-- series_of_rollups: Series of which a town's platform forwards only rollups.
SELECT series_id FROM series WHERE only_rollups ORDER BY series_id;

-- series: Every series.
SELECT series_id, site_id, quantity, interval_s, limits, adopted FROM series ORDER BY series_id;

-- channels: Every channel, with site and quantity of its series.
SELECT c.device_id, c.name, s.site_id, s.quantity, c.series_id
FROM channel AS c JOIN series AS s USING (series_id) ORDER BY c.device_id, c.name;

-- nodes: Every node.
SELECT node_id, network, area_id, kind, en, zh, lon, lat, site_id, elevation_m, external_id, extract(epoch FROM
    valid_from)::float8 AS valid_from_s FROM node ORDER BY node_id;

-- links: Every link.
SELECT link_id, network, from_node, to_node, en, zh, length_m, speed_m_s, lanes, coordinates, direction,
    section_shape, width_m, depth_m, side_slope, manning_n, structure, lane_capacity_veh_h, external_id,
    extract(epoch FROM valid_from)::float8 AS valid_from_s FROM link ORDER BY link_id;

-- update_status: Store the newest status of a device; without a new clock offset, the last one is kept.
UPDATE device SET status = %(status)s, status_received = to_timestamp(%(received_s)s),
    clock_offset_s = coalesce(%(clock_offset_s)s, clock_offset_s)
WHERE device_id = %(device_id)s
    AND (status_received IS NULL OR status_received <= to_timestamp(%(received_s)s));

-- statuses: The newest status of each device.
SELECT device_id, extract(epoch FROM status_received)::float8 AS received_s, status, clock_offset_s
FROM device WHERE status IS NOT NULL ORDER BY device_id;

-- activity: When each device last sent a reading.
SELECT d.device_id, d.area_id, d.kind, min(s.site_id) AS site_id, min(s.interval_s) AS interval_s,
    extract(epoch FROM max(l."time"))::float8 AS measured_s, extract(epoch FROM max(l.received))::float8 AS received_s
FROM device AS d
JOIN channel AS c USING (device_id)
JOIN series AS s USING (series_id)
LEFT JOIN latest AS l USING (series_id)
GROUP BY d.device_id ORDER BY d.device_id;
