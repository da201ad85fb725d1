-- 0047 pre: commands from a county down to its towns; rollups, assessments, events across borders (decision 0090).

-- At the platform that issues a command, at the one that applies it, and at each one between. device_id: forwarder of the
-- platform below that gets it; NULL: it is applied here. from_above: it was received; its result is reported until the
-- platform above has confirmed that. own_incident: the incident here that it is about.
CREATE TABLE federation_command (
    command_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    area_id text NOT NULL,
    device_id text REFERENCES device,
    from_above boolean NOT NULL,
    kind text NOT NULL,
    content jsonb NOT NULL,
    who text NOT NULL,
    note text NOT NULL,
    issued timestamptz NOT NULL DEFAULT now(),
    own_incident bigint,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'applied', 'refused')),
    detail text NOT NULL DEFAULT '',
    incident_id bigint,  -- opened by it, by its number at the town
    finished timestamptz,
    is_reported boolean NOT NULL DEFAULT false
);
CREATE INDEX federation_command_by_issued ON federation_command (issued);
CREATE INDEX federation_command_waiting ON federation_command (issued) WHERE state = 'waiting';
CREATE INDEX federation_command_unreported ON federation_command (finished)
    WHERE from_above AND state <> 'waiting' AND NOT is_reported;
CREATE INDEX federation_command_by_incident ON federation_command (device_id, incident_id) WHERE own_incident IS NOT NULL;

-- County: whether an incident of a town has changed, for events across borders.
CREATE INDEX incident_of_towns ON incident (revision) WHERE origin IS NOT NULL;

-- County: series of which only rollups are received; assessments that a town made, and its networks.
ALTER TABLE series ADD COLUMN only_rollups boolean NOT NULL DEFAULT false;
ALTER TABLE assessment ADD COLUMN origin text REFERENCES device;
ALTER TABLE node ADD COLUMN origin text REFERENCES device;
ALTER TABLE link ADD COLUMN origin text REFERENCES device;

-- The anomalies of the towns' incidents below one of the county are its own too.
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
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh
FROM incident AS i
JOIN site ON site.site_id = i.main_site_id
JOIN area AS town ON town.area_id = i.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent;

-- A changed flow changes the flow-weighted rollups of the speed at its site.
CREATE OR REPLACE FUNCTION note_federation_due() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM federation_uplink) THEN
        INSERT INTO federation_due (series_id, since, until)
        SELECT series_id, since, until FROM changed
        UNION ALL
        SELECT s.series_id, c.since, c.until FROM changed AS c JOIN flow_of_speed AS s ON s.flow_id = c.series_id
        WHERE s.series_id NOT IN (SELECT series_id FROM changed);
    END IF;
    RETURN NULL;
END
$$;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON assessment TO towntwin_ingest;
    GRANT SELECT, INSERT, UPDATE ON rollup_15min TO towntwin_ingest;
    GRANT SELECT ON flow_of_speed TO towntwin_ingest;
    GRANT SELECT, INSERT, UPDATE ON node, link TO towntwin_ingest;
    GRANT SELECT, INSERT, UPDATE ON federation_command TO towntwin_ingest;
    GRANT SELECT, INSERT ON federation_command TO towntwin_gateway;
    GRANT INSERT ON audit, adoption TO towntwin_ingest;
    CALL wall('federation_command', 'area_id IN (SELECT area_seen())');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
