-- 0052 pre: what dashboards need of the alarm performance: when an incident was acknowledged, and every annunciation.

CREATE OR REPLACE VIEW incident_view AS
SELECT
    i.incident_id, i.opened AS "time", i.started, i.last, i.updated, i.closed, i.kind, i.cause, i.priority, i.severity,
    i.state, i.alarm_state, i.active, i.team_id, i.assignee, i.parent_id, i.annunciations,
    i.state NOT IN ('closed', 'false_alarm') AS is_open,
    (SELECT count(*) FROM incident_anomaly AS m WHERE m.incident_id = i.incident_id AND m.role <> 'suppressed')
        + (SELECT count(*) FROM incident AS c JOIN incident_anomaly AS m ON m.incident_id = c.incident_id
            WHERE c.parent_id = i.incident_id AND c.origin IS NOT NULL AND m.role <> 'suppressed') AS anomalies,
    i.main_site_id AS site_id, site.en AS site_en, site.zh AS site_zh, site.lon, site.lat,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh,
    county.area_id AS county_id, county.en AS county_en, county.zh AS county_zh,
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh,
    i.acknowledged
FROM incident AS i
JOIN site ON site.site_id = i.main_site_id
JOIN area AS town ON town.area_id = i.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent;

-- One row for each time that an alarm sounded, with its incident as it is now.
CREATE VIEW annunciation_view AS
SELECT h.history_id, h."at" AS "time", h.incident_id, i.kind, i.cause, i.priority, i.main_site_id AS site_id,
    site.en AS site_en, site.zh AS site_zh, town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh
FROM incident_history AS h
JOIN incident AS i USING (incident_id)
JOIN site ON site.site_id = i.main_site_id
JOIN area AS town ON town.area_id = i.area_id
WHERE h.machine = 'alarm' AND h.to_state = 'unacknowledged';

DO $$
BEGIN
    GRANT SELECT ON annunciation_view TO towntwin_gateway, towntwin_grafana, towntwin_analytics;
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
