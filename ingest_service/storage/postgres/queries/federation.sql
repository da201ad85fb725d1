-- federation_begin: Begin to note changes; whether it is the first time.
SELECT begin_federation(%s);

-- federation_end: Stop noting changes.
DELETE FROM federation_uplink;

-- federation_forget: Delete the ranges that wait.
DELETE FROM federation_due;

-- federation_position: How far the county has confirmed anomalies and incidents.
SELECT anomaly_revision, incident_revision FROM federation_uplink;

-- federation_due_newest: Ranges noted within some seconds, newest first, without those of some series.
SELECT due_id, series_id, (extract(epoch FROM since) * 1000000)::bigint AS since_us,
    (extract(epoch FROM until) * 1000000)::bigint AS until_us
FROM federation_due WHERE noted >= now() - %s * interval '1 second' AND series_id <> ALL (%s::int[]) ORDER BY due_id DESC LIMIT %s;

-- federation_due_oldest: Ranges noted before, oldest first, without those of some series.
SELECT due_id, series_id, (extract(epoch FROM since) * 1000000)::bigint AS since_us,
    (extract(epoch FROM until) * 1000000)::bigint AS until_us
FROM federation_due WHERE noted < now() - %s * interval '1 second' AND series_id <> ALL (%s::int[]) ORDER BY noted, due_id LIMIT %s;

-- federation_readings: Readings of ranges of series, with their newest flags.
COPY (
    SELECT r."time", r.received, r.value, r.series_id, r.expected, r.spread,
        coalesce(v.quality, r.quality) AS quality, coalesce(v.rules, r.rules) AS rules
    FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS n (series_id, since_us, until_us)
    JOIN reading AS r ON r.series_id = n.series_id
        AND r."time" >= 'epoch'::timestamptz + n.since_us * interval '1 microsecond'
        AND r."time" < 'epoch'::timestamptz + n.until_us * interval '1 microsecond'
    LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time"
    ORDER BY r.series_id, r."time" LIMIT %s
) TO STDOUT (FORMAT binary);

-- federation_done: Delete the ranges that the county has confirmed.
DELETE FROM federation_due WHERE due_id = ANY (%s);

-- federation_shorten: Shorten a range whose first part the county has confirmed.
UPDATE federation_due SET since = 'epoch'::timestamptz + %(since_us)s * interval '1 microsecond' WHERE due_id = %(due_id)s;

-- federation_advance: Note how far the county has confirmed anomalies and incidents.
UPDATE federation_uplink SET anomaly_revision = %s, incident_revision = %s, confirmed = clock_timestamp();

-- federation_waiting: Number of ranges, and the age of the oldest that could have been sent [s].
SELECT count(*), coalesce(extract(epoch FROM now() - min(noted) FILTER (WHERE since < now() - interval '20 minutes'
    OR series_id <> ALL (%s::int[]))), 0)::float8 FROM federation_due;

-- federation_merge: Merge the ranges of each series that touch, except new ones.
WITH old AS (
    DELETE FROM federation_due WHERE noted < now() - %s * interval '1 second' RETURNING series_id, since, until, noted
), merged AS (
    SELECT series_id, unnest(range_agg(tstzrange(since, until))) AS span, min(noted) AS noted FROM old GROUP BY series_id
)
INSERT INTO federation_due (series_id, since, until, noted)
SELECT series_id, lower(span), upper(span), noted FROM merged;

-- federation_sender: The device that forwards for an area, as it is enrolled here.
SELECT area_id, kind, origin FROM device WHERE device_id = %s;

-- federation_source: Newest forwarder and block of a device, locked until the transaction ends.
SELECT forwarder, block FROM federation_source WHERE device_id = %s FOR UPDATE;

-- forget_future_forwarder: Forget a forwarder of a device that is of a time to come, so that a present one is followed.
WITH source AS (
    UPDATE federation_source SET forwarder = 0, block = 0 WHERE device_id = %(device)s
), incidents AS (
    UPDATE federated_incident AS f SET forwarder = 0 FROM incident AS i
    WHERE i.incident_id = f.incident_id AND i.origin = %(device)s AND f.forwarder > %(latest)s
)
UPDATE federated_anomaly SET forwarder = 0 WHERE origin = %(device)s AND forwarder > %(latest)s;

-- upsert_federation_source: Note the newest forwarder and block of a device.
INSERT INTO federation_source AS s (device_id, forwarder, block, release)
VALUES (%(device)s, %(forwarder)s, %(block)s, %(release)s)
ON CONFLICT (device_id) DO UPDATE SET forwarder = excluded.forwarder, block = excluded.block,
    release = excluded.release, received = clock_timestamp()
WHERE (s.forwarder, s.block) < (excluded.forwarder, excluded.block);

-- federation_areas: An area and all below it.
WITH RECURSIVE below AS (
    SELECT area_id FROM area WHERE area_id = %s UNION SELECT a.area_id FROM area AS a JOIN below ON a.parent = below.area_id
)
SELECT area_id FROM below;

-- federation_foreign: Of some areas, sites and devices, those that exist here and are not of an origin.
SELECT 'areas', area_id FROM area WHERE area_id = ANY (%(areas)s) AND origin IS DISTINCT FROM %(origin)s
UNION ALL
SELECT 'sites', site_id FROM site WHERE site_id = ANY (%(sites)s) AND origin IS DISTINCT FROM %(origin)s
UNION ALL
SELECT 'devices', device_id FROM device WHERE device_id = ANY (%(devices)s) AND origin IS DISTINCT FROM %(origin)s;

-- area_parents: The parent of every area.
SELECT area_id, parent FROM area;

-- sites_of_origin: Every site of an origin.
SELECT site_id FROM site WHERE origin = %s;

-- nodes_present: Of some nodes, those that exist here, whosever they are.
SELECT node_id FROM node WHERE node_id = ANY (%s);

-- is_passed_by_own_platform: A row if this platform forwards and is one of some platforms.
SELECT FROM federation_uplink WHERE platform_id::text = ANY (%(platforms)s);

-- set_platforms: Note by which platforms the content of a device came; no row if they are the same as before.
UPDATE federation_source SET platforms = %(platforms)s WHERE device_id = %(device)s AND platforms <> %(platforms)s::text[];

-- passed_platforms: This platform, and those by which came what it received for some areas.
SELECT platform_id::text FROM federation_uplink
UNION
SELECT unnest(s.platforms) FROM federation_source AS s JOIN device AS d USING (device_id) WHERE d.area_id = ANY (%s) ORDER BY 1;

-- define_area: Insert or update an area of an origin.
INSERT INTO area (area_id, parent, level, en, zh, origin)
VALUES (%(area_id)s, %(parent)s, %(level)s, %(en)s, %(zh)s, %(origin)s)
ON CONFLICT (area_id) DO UPDATE SET parent = excluded.parent, level = excluded.level, en = excluded.en, zh = excluded.zh
WHERE area.origin = excluded.origin AND (area.parent, area.level, area.en, area.zh)
    IS DISTINCT FROM (excluded.parent, excluded.level, excluded.en, excluded.zh);

-- define_site: Insert or update a site of an origin.
INSERT INTO site (site_id, area_id, kind, en, zh, lon, lat, external_id, grid_cell, target_class, origin)
VALUES (%(site_id)s, %(area_id)s, %(kind)s, %(en)s, %(zh)s, %(lon)s, %(lat)s, %(external_id)s, %(grid_cell)s,
    %(target_class)s, %(origin)s)
ON CONFLICT (site_id) DO UPDATE SET area_id = excluded.area_id, kind = excluded.kind, en = excluded.en, zh = excluded.zh,
    lon = excluded.lon, lat = excluded.lat, external_id = excluded.external_id, grid_cell = excluded.grid_cell,
    target_class = excluded.target_class
WHERE site.origin = excluded.origin AND (site.area_id, site.kind, site.en, site.zh, site.lon, site.lat, site.external_id,
    site.grid_cell, site.target_class) IS DISTINCT FROM (excluded.area_id, excluded.kind, excluded.en, excluded.zh,
    excluded.lon, excluded.lat, excluded.external_id, excluded.grid_cell, excluded.target_class);

-- define_device: Insert or update a device of an origin.
INSERT INTO device (device_id, area_id, kind, origin) VALUES (%(device_id)s, %(area_id)s, %(kind)s, %(origin)s)
ON CONFLICT (device_id) DO UPDATE SET area_id = excluded.area_id, kind = excluded.kind
WHERE device.origin = excluded.origin AND (device.area_id, device.kind) IS DISTINCT FROM (excluded.area_id, excluded.kind);

-- define_series: Insert or update a series at a site of an origin; its id is kept.
INSERT INTO series (site_id, quantity, interval_s, only_rollups)
SELECT site_id, %(quantity)s, %(interval_s)s, %(only_rollups)s FROM site WHERE site_id = %(site_id)s AND origin = %(origin)s
ON CONFLICT (site_id, quantity) DO UPDATE SET interval_s = excluded.interval_s, only_rollups = excluded.only_rollups
WHERE (series.interval_s, series.only_rollups) IS DISTINCT FROM (excluded.interval_s, excluded.only_rollups);

-- define_node: Insert or update a node of an origin, at a site of it; one of anybody else is left as it is.
INSERT INTO node (node_id, network, area_id, kind, en, zh, lon, lat, site_id, origin)
VALUES (%(node_id)s, %(network)s, %(area_id)s, %(kind)s, %(en)s, %(zh)s, %(lon)s, %(lat)s,
    (SELECT site_id FROM site WHERE site_id = %(site_id)s AND origin = %(origin)s), %(origin)s)
ON CONFLICT (node_id) DO UPDATE SET network = excluded.network, area_id = excluded.area_id, kind = excluded.kind,
    en = excluded.en, zh = excluded.zh, lon = excluded.lon, lat = excluded.lat, site_id = excluded.site_id
WHERE node.origin = excluded.origin AND (node.network, node.area_id, node.kind, node.en, node.zh, node.lon, node.lat,
    node.site_id) IS DISTINCT FROM (excluded.network, excluded.area_id, excluded.kind, excluded.en, excluded.zh,
    excluded.lon, excluded.lat, excluded.site_id);

-- define_link: Insert or update a link between two nodes of an origin; one of anybody else is left as it is.
INSERT INTO link (link_id, network, from_node, to_node, en, zh, length_m, speed_m_s, lanes, coordinates, origin)
SELECT %(link_id)s, %(network)s, a.node_id, b.node_id, %(en)s, %(zh)s, %(length_m)s, %(speed_m_s)s, %(lanes)s,
    %(coordinates)s, %(origin)s
FROM node AS a, node AS b
WHERE a.node_id = %(from_node)s AND a.origin = %(origin)s AND b.node_id = %(to_node)s AND b.origin = %(origin)s
ON CONFLICT (link_id) DO UPDATE SET network = excluded.network, from_node = excluded.from_node, to_node = excluded.to_node,
    en = excluded.en, zh = excluded.zh, length_m = excluded.length_m, speed_m_s = excluded.speed_m_s,
    lanes = excluded.lanes, coordinates = excluded.coordinates
WHERE link.origin = excluded.origin AND (link.network, link.from_node, link.to_node, link.en, link.zh, link.length_m,
    link.speed_m_s, link.lanes, link.coordinates) IS DISTINCT FROM (excluded.network, excluded.from_node, excluded.to_node,
    excluded.en, excluded.zh, excluded.length_m, excluded.speed_m_s, excluded.lanes, excluded.coordinates);

-- series_of_origin: Every series of an origin.
SELECT s.site_id, s.quantity, s.series_id FROM series AS s JOIN site USING (site_id) WHERE site.origin = %s;

-- subjects_of_origin: Every area, site and device of an origin, and the area of its own.
SELECT 'site', site_id FROM site WHERE origin = %(origin)s
UNION ALL SELECT 'device', device_id FROM device WHERE origin = %(origin)s
UNION ALL SELECT 'area', area_id FROM area WHERE origin = %(origin)s OR area_id = %(area)s;

-- revise_staged: Flags of staged readings that differ from those stored, in the order of `upsert_revisions`.
SELECT s.series_id, (extract(epoch FROM s."time") * 1000000)::bigint, s.quality, s.rules
FROM staging AS s JOIN reading AS r USING (series_id, "time")
LEFT JOIN flag_revision AS v USING (series_id, "time")
WHERE (s.quality, s.rules) IS DISTINCT FROM (coalesce(v.quality, r.quality), coalesce(v.rules, r.rules))
ORDER BY s.series_id, s."time";

-- upsert_federated_anomaly: Insert an anomaly of a town, or replace it by a newer change; no row if there is none.
WITH known AS (
    SELECT f.forwarder, f.revision FROM anomaly AS a JOIN federated_anomaly AS f USING (anomaly_id)
    WHERE a.subject = %(subject)s AND a.start = 'epoch'::timestamptz + %(start_us)s * interval '1 microsecond'
), stored AS (
    INSERT INTO anomaly AS a (subject, site_id, series_id, device_id, detector, version, start, "end", peak, observed,
        expected, spread, score, severity, n_readings, state, reason_en, reason_zh, evidence)
    SELECT %(subject)s, %(site_id)s, %(series_id)s::int, %(device_id)s, %(detector)s, %(version)s,
        'epoch'::timestamptz + %(start_us)s * interval '1 microsecond',
        'epoch'::timestamptz + %(end_us)s::bigint * interval '1 microsecond',
        'epoch'::timestamptz + %(peak_us)s * interval '1 microsecond',
        %(observed)s::float8, %(expected)s::float8, %(spread)s::float8, %(score)s, %(severity)s, %(n_readings)s, %(state)s,
        %(reason_en)s, %(reason_zh)s, %(evidence)s
    WHERE NOT EXISTS (SELECT FROM known AS k WHERE (k.forwarder, k.revision) >= (%(forwarder)s, %(revision)s))
    ON CONFLICT (subject, start) DO UPDATE SET detector = excluded.detector, version = excluded.version,
        "end" = excluded."end", peak = excluded.peak, observed = excluded.observed, expected = excluded.expected,
        spread = excluded.spread, score = excluded.score, severity = excluded.severity, n_readings = excluded.n_readings,
        state = excluded.state, reason_en = excluded.reason_en, reason_zh = excluded.reason_zh,
        evidence = excluded.evidence, updated = now(), revision = nextval('anomaly_revision')
    WHERE (a.detector, a.version, a."end", a.peak, a.observed, a.expected, a.spread, a.score, a.severity, a.n_readings,
        a.state, a.reason_en, a.reason_zh, a.evidence) IS DISTINCT FROM (excluded.detector, excluded.version,
        excluded."end", excluded.peak, excluded.observed, excluded.expected, excluded.spread, excluded.score,
        excluded.severity, excluded.n_readings, excluded.state, excluded.reason_en, excluded.reason_zh, excluded.evidence)
    RETURNING a.anomaly_id
)
SELECT anomaly_id FROM stored;

-- upsert_anomaly_of_origin: Note which anomaly of the town it is, and as of which change.
INSERT INTO federated_anomaly AS f (anomaly_id, origin, origin_id, forwarder, revision)
SELECT a.anomaly_id, %(origin)s, %(anomaly_id)s, %(forwarder)s, %(revision)s FROM anomaly AS a
WHERE a.subject = %(subject)s AND a.start = 'epoch'::timestamptz + %(start_us)s * interval '1 microsecond'
ON CONFLICT (anomaly_id) DO UPDATE SET origin_id = excluded.origin_id, forwarder = excluded.forwarder,
    revision = excluded.revision
WHERE (f.forwarder, f.revision) < (excluded.forwarder, excluded.revision);

-- federated_incident: The incident of a town with its revision here, and as of which change of the town it is.
SELECT i.incident_id, i.revision, f.forwarder, f.revision FROM incident AS i JOIN federated_incident AS f USING (incident_id)
WHERE i.origin = %(origin)s AND i.origin_id = %(incident_id)s AND i.opened = to_timestamp(%(opened_s)s)
FOR UPDATE OF i;

-- set_incident_origin: Note whose incident a new one is.
UPDATE incident SET origin = %(origin)s, origin_id = %(incident_id)s WHERE incident_id = %(stored_id)s;

-- upsert_federated_incident: Note as of which change of the town an incident is.
INSERT INTO federated_incident (incident_id, forwarder, revision) VALUES (%(stored_id)s, %(forwarder)s, %(revision)s)
ON CONFLICT (incident_id) DO UPDATE SET forwarder = excluded.forwarder, revision = excluded.revision;

-- incident_of_origin: The newest incident here of a number in the town.
SELECT incident_id FROM incident WHERE origin = %s AND origin_id = %s ORDER BY opened DESC LIMIT 1;

-- anomalies_of_origin: Anomalies here by their numbers in the town, with what incidents note of them.
SELECT DISTINCT ON (f.origin_id) f.origin_id, a.anomaly_id, a.site_id, a.revision AS anomaly_revision, a.state,
    extract(epoch FROM a.start)::float8 AS start_s, extract(epoch FROM a."end")::float8 AS end_s, a.severity, a.series_id,
    a.device_id, a.detector
FROM federated_anomaly AS f JOIN anomaly AS a USING (anomaly_id)
WHERE f.origin = %s AND f.origin_id = ANY (%s) ORDER BY f.origin_id, f.forwarder DESC, f.revision DESC;

-- release_incident_anomalies: Remove from an incident the anomalies that are in it no longer.
UPDATE incident_anomaly SET incident_id = NULL, role = 'suppressed', since = now()
WHERE incident_id = %s AND anomaly_id <> ALL (%s);

-- is_federated_history: A history entry that is there.
SELECT FROM incident_history AS h WHERE h.incident_id = %(incident_id)s AND h."at" = to_timestamp(%(at_s)s)
    AND (h.machine, h.event, h.who, h.why) = (%(machine)s, %(event)s, %(who)s, %(why)s)
    AND h.to_state IS NOT DISTINCT FROM %(to_state)s AND h.detail = %(detail)s;

-- lacks_federated_history: Whether a history entry is not there.
SELECT NOT EXISTS ({{is_federated_history}});

-- insert_federated_history: Insert a history entry, unless it is there.
INSERT INTO incident_history (incident_id, revision, machine, event, from_state, to_state, who, why, "at", detail)
SELECT %(incident_id)s, %(revision)s, %(machine)s, %(event)s, %(from_state)s, %(to_state)s, %(who)s, %(why)s,
    to_timestamp(%(at_s)s), %(detail)s
WHERE NOT EXISTS ({{is_federated_history}});

-- inbox_waiting: Number of messages of a device that the receiver has not stored.
SELECT count(*) FROM federation_inbox WHERE device_id = %s AND stored IS NULL;

-- inbox_present: Numbers of the messages of a device and epoch that are there.
SELECT number FROM federation_inbox WHERE device_id = %s AND epoch = %s;

-- inbox_put: Insert a message of a town, unless it is there.
INSERT INTO federation_inbox (device_id, area_id, epoch, number, payload) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING;

-- inbox_outcomes: What became of some messages of a device that the receiver has stored.
SELECT number, reason, detail FROM federation_inbox
WHERE device_id = %s AND epoch = %s AND number = ANY (%s) AND stored IS NOT NULL;

-- inbox_next: Messages that are not stored, in the order in which they came.
SELECT inbox_id, device_id, area_id, epoch, number, payload, extract(epoch FROM received)::float8 AS received_s
FROM federation_inbox WHERE stored IS NULL ORDER BY inbox_id LIMIT %s;

-- inbox_finish: Note what became of a message, and empty it.
UPDATE federation_inbox SET stored = clock_timestamp(), reason = %(reason)s, detail = %(detail)s, payload = ''
WHERE inbox_id = %(inbox_id)s;

-- inbox_clean: Delete messages that were stored some time ago.
DELETE FROM federation_inbox WHERE stored < now() - %s * interval '1 second';
