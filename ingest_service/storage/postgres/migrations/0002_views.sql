-- 0002 pre: what people and programs read. The gateway and Grafana see these, never the tables.

CREATE VIEW series_view AS
SELECT
    s.series_id, s.quantity, s.interval_s, s.site_id,
    site.kind AS site_kind, site.en AS site_en, site.zh AS site_zh, site.lon, site.lat, site.target_class,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh,
    county.area_id AS county_id, county.en AS county_en, county.zh AS county_zh,
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh
FROM series AS s
JOIN site USING (site_id)
JOIN area AS town ON town.area_id = site.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent;

-- Readings with revised flags; lower and upper are the expected band of three robust standard deviations.
CREATE VIEW reading_judged AS
SELECT
    r.series_id, r."time", r.received, r.value,
    coalesce(v.quality, r.quality) AS quality,
    coalesce(v.rules, r.rules) AS rules,
    nullif(r.expected, 'NaN') AS expected,
    nullif(r.spread, 'NaN') AS spread,
    nullif(r.expected - 3 * r.spread, 'NaN') AS lower,
    nullif(r.expected + 3 * r.spread, 'NaN') AS upper
FROM reading AS r
LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time";

CREATE VIEW latest_judged AS
SELECT
    l.series_id, l."time", l.received, l.value,
    coalesce(v.quality, l.quality) AS quality,
    coalesce(v.rules, l.rules) AS rules,
    nullif(l.expected, 'NaN') AS expected,
    nullif(l.spread, 'NaN') AS spread,
    nullif(l.expected - 3 * l.spread, 'NaN') AS lower,
    nullif(l.expected + 3 * l.spread, 'NaN') AS upper
FROM latest AS l
LEFT JOIN flag_revision AS v ON v.series_id = l.series_id AND v."time" = l."time";

CREATE VIEW anomaly_view AS
SELECT
    a.anomaly_id, a.revision, a.subject, a.site_id, a.series_id, a.device_id, a.detector, a.version,
    a.start, a."end", a.peak, a.observed, a.expected, a.spread, a.score, a.severity, a.n_readings, a.state,
    a.reason_en, a.reason_zh, a.evidence, a.created, a.updated,
    s.quantity,
    site.kind AS site_kind, site.en AS site_en, site.zh AS site_zh, site.lon, site.lat,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh,
    county.area_id AS county_id, county.en AS county_en, county.zh AS county_zh,
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh
FROM anomaly AS a
JOIN site USING (site_id)
JOIN area AS town ON town.area_id = site.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent
LEFT JOIN series AS s ON s.series_id = a.series_id;

CREATE VIEW device_view AS
SELECT
    d.device_id, d.area_id, d.kind,
    (d.status ->> 'online')::boolean AS online,
    (d.status ->> 'spool_depth')::bigint AS spool_depth,
    d.status ->> 'agent' AS agent,
    d.status_received,
    max(l."time") AS measured, max(l.received) AS received
FROM device AS d
LEFT JOIN channel AS c USING (device_id)
LEFT JOIN latest AS l USING (series_id)
GROUP BY d.device_id;

CREATE VIEW dead_letter_view AS
SELECT letter_id, received, topic, length(payload) AS bytes, reason, detail FROM dead_letter;

CREATE VIEW link_view AS
SELECT
    k.link_id, k.network, k.en, k.zh, k.length_m, k.speed_m_s, k.lanes, k.coordinates,
    k.from_node, a.lon AS from_lon, a.lat AS from_lat, a.site_id AS from_site,
    k.to_node, b.lon AS to_lon, b.lat AS to_lat, b.site_id AS to_site
FROM link AS k
JOIN node AS a ON a.node_id = k.from_node
JOIN node AS b ON b.node_id = k.to_node;

CREATE VIEW rollup_1min_view AS SELECT * FROM rollup_1min;
CREATE VIEW rollup_1h_view AS SELECT * FROM rollup_1h;
