-- 0037 pre: incidents, the anomalies in them, their history, requests and photos; keys of team members and supervisors.

-- One event that a town works on. area_ids: every touched area. started, last: measured; opened: when the platform opened it.
-- revision: from the sequence of anomalies, so that one cursor follows both.
CREATE TABLE incident (
    incident_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    revision bigint NOT NULL DEFAULT nextval('anomaly_revision'),
    area_id text NOT NULL REFERENCES area,
    area_ids text[] NOT NULL CHECK (area_id = ANY (area_ids)),
    main_site_id text NOT NULL REFERENCES site,
    kind text NOT NULL CHECK (kind IN ('water', 'traffic', 'device', 'platform')),
    cause text NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 4),
    consequence text NOT NULL DEFAULT '',
    urgency text NOT NULL DEFAULT '',
    severity smallint NOT NULL CHECK (severity BETWEEN 1 AND 3),
    state text NOT NULL CHECK (
        state IN ('new', 'filed', 'dispatched', 'in_hand', 'reported', 'verified', 'closed', 'false_alarm')),
    alarm_state text NOT NULL CHECK (alarm_state IN (
        'normal', 'unacknowledged', 'acknowledged', 'returned_unacknowledged', 'shelved', 'suppressed', 'out_of_service')),
    active boolean NOT NULL,
    started timestamptz NOT NULL,
    last timestamptz NOT NULL,
    opened timestamptz NOT NULL,
    updated timestamptz NOT NULL DEFAULT now(),
    returned timestamptz,
    acknowledged timestamptz,
    acknowledged_by text,
    filed timestamptz,
    dispatched timestamptz,
    reported timestamptz,
    closed timestamptz,
    annunciations integer NOT NULL DEFAULT 0,
    team_id text,
    assignee text,
    parent_id bigint REFERENCES incident,
    suppressed_by text CHECK (suppressed_by IN ('parent', 'maintenance', 'flood')),
    merged_into bigint REFERENCES incident,
    shelved_until timestamptz,
    extended_until timestamptz,
    held_until timestamptz,
    summary text NOT NULL DEFAULT '',
    opened_by text NOT NULL
);
CREATE INDEX incident_by_opened ON incident (opened DESC, incident_id DESC);
CREATE INDEX incident_by_revision ON incident (revision);
CREATE INDEX incident_by_last ON incident (last DESC);
CREATE INDEX incident_open ON incident (team_id) WHERE state NOT IN ('closed', 'false_alarm');
CREATE INDEX incident_by_parent ON incident (parent_id) WHERE parent_id IS NOT NULL;
CREATE TRIGGER revisions_announced BEFORE INSERT OR UPDATE ON incident
    FOR EACH STATEMENT EXECUTE FUNCTION announce_revisions();

-- Where each anomaly belongs, and why; incident_id is NULL if it was kept out of all incidents.
CREATE TABLE incident_anomaly (
    anomaly_id bigint PRIMARY KEY REFERENCES anomaly,
    incident_id bigint REFERENCES incident,
    site_id text NOT NULL REFERENCES site,
    role text NOT NULL CHECK (role IN ('opened', 'joined', 'suppressed')),
    reason text NOT NULL,
    reason_en text NOT NULL,
    reason_zh text NOT NULL,
    anomaly_revision bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'closed', 'withdrawn')),
    start timestamptz NOT NULL,
    "end" timestamptz,
    severity smallint NOT NULL,
    series_id integer REFERENCES series,
    device_id text REFERENCES device,
    detector text NOT NULL,
    by text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX incident_anomaly_by_incident ON incident_anomaly (incident_id, start);
CREATE INDEX incident_anomaly_by_site ON incident_anomaly (site_id, start DESC);

-- Append-only: who did what, when and why, from which state. revision: of the incident after it.
CREATE TABLE incident_history (
    history_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id bigint NOT NULL REFERENCES incident,
    revision bigint NOT NULL,
    machine text NOT NULL CHECK (machine IN ('workflow', 'alarm', 'record')),
    event text NOT NULL,
    from_state text,
    to_state text,
    who text NOT NULL,
    why text NOT NULL,
    "at" timestamptz NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX incident_history_by_incident ON incident_history (incident_id, history_id);
CREATE INDEX incident_history_by_revision ON incident_history (revision);
CREATE INDEX incident_history_by_at ON incident_history ("at");
CREATE FUNCTION incident_history_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of incidents is append-only: its entries are neither changed nor deleted'
        USING ERRCODE = '42501';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_history
    FOR EACH STATEMENT EXECUTE FUNCTION incident_history_is_append_only();

CREATE TABLE incident_request (
    request_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id bigint NOT NULL REFERENCES incident,
    kind text NOT NULL CHECK (kind IN ('extension', 'return', 'hold')),
    state text NOT NULL CHECK (state IN ('waiting', 'approved', 'refused', 'withdrawn')),
    requested_by text NOT NULL,
    requested timestamptz NOT NULL,
    why text NOT NULL,
    until timestamptz,
    approver_role text NOT NULL,
    decided_by text,
    decided timestamptz,
    decided_why text
);
CREATE UNIQUE INDEX incident_request_waiting ON incident_request (incident_id, kind) WHERE state = 'waiting';
CREATE INDEX incident_request_by_incident ON incident_request (incident_id, request_id);

CREATE TABLE incident_photo (
    photo_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id bigint NOT NULL REFERENCES incident,
    "at" timestamptz NOT NULL,
    who text NOT NULL,
    caption text NOT NULL,
    media_type text NOT NULL CHECK (media_type IN ('image/jpeg', 'image/png')),
    width integer NOT NULL,
    height integer NOT NULL,
    content bytea NOT NULL
);
CREATE INDEX incident_photo_by_incident ON incident_photo (incident_id, photo_id);

-- Planned work, in which the alarms of a site are suppressed by design.
CREATE TABLE planned_maintenance (
    maintenance_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id text NOT NULL REFERENCES site,
    "from" timestamptz NOT NULL,
    "to" timestamptz NOT NULL CHECK ("to" > "from"),
    who text NOT NULL,
    why text NOT NULL
);
CREATE INDEX planned_maintenance_by_end ON planned_maintenance ("to");

-- Up to which revision the anomalies of an area were grouped.
CREATE TABLE incident_cursor (
    area_id text PRIMARY KEY REFERENCES area,
    revision bigint NOT NULL,
    updated timestamptz NOT NULL DEFAULT now()
);

-- Anomalies from before are grouped if they are open or of the last two days.
INSERT INTO incident_cursor (area_id, revision)
SELECT site.area_id, coalesce(min(a.revision) FILTER (WHERE a.state = 'open' OR a.start > now() - interval '2 days') - 1,
    drawn_revision())
FROM anomaly AS a JOIN site USING (site_id) GROUP BY site.area_id;

CREATE VIEW incident_view AS
SELECT
    i.incident_id, i.opened AS "time", i.started, i.last, i.updated, i.closed, i.kind, i.cause, i.priority, i.severity,
    i.state, i.alarm_state, i.active, i.team_id, i.assignee, i.parent_id, i.annunciations,
    i.state NOT IN ('closed', 'false_alarm') AS is_open,
    (SELECT count(*) FROM incident_anomaly AS m WHERE m.incident_id = i.incident_id AND m.role <> 'suppressed') AS anomalies,
    i.main_site_id AS site_id, site.en AS site_en, site.zh AS site_zh, site.lon, site.lat,
    town.area_id AS town_id, town.en AS town_en, town.zh AS town_zh,
    county.area_id AS county_id, county.en AS county_en, county.zh AS county_zh,
    city.area_id AS city_id, city.en AS city_en, city.zh AS city_zh
FROM incident AS i
JOIN site ON site.site_id = i.main_site_id
JOIN area AS town ON town.area_id = i.area_id
LEFT JOIN area AS county ON county.area_id = town.parent
LEFT JOIN area AS city ON city.area_id = county.parent;

CREATE VIEW incident_history_view AS
SELECT h.history_id, h.incident_id, h."at" AS "time", h.machine, h.event, h.from_state, h.to_state, h.who, i.kind, i.cause,
    i.priority, i.area_id, i.main_site_id AS site_id
FROM incident_history AS h JOIN incident AS i USING (incident_id);

-- team_id: of team members, who see what is dispatched to their team.
ALTER TABLE api_key DROP CONSTRAINT api_key_role_check;
ALTER TABLE api_key ADD CONSTRAINT api_key_role_check
    CHECK (role IN ('viewer', 'team_member', 'operator', 'supervisor', 'engineer', 'administrator'));
ALTER TABLE api_key ADD COLUMN team_id text;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON incident, incident_anomaly, incident_request TO towntwin_analytics, towntwin_gateway;
    GRANT SELECT, INSERT ON incident_history TO towntwin_analytics, towntwin_gateway;
    GRANT SELECT, INSERT, UPDATE ON incident_cursor TO towntwin_analytics;
    GRANT SELECT, INSERT ON incident_photo TO towntwin_gateway;
    GRANT SELECT, INSERT, UPDATE, DELETE ON planned_maintenance TO towntwin_gateway;
    GRANT SELECT ON planned_maintenance TO towntwin_analytics;
    GRANT SELECT ON incident_view, incident_history_view TO towntwin_gateway, towntwin_grafana, towntwin_analytics;
    GRANT USAGE ON SEQUENCE anomaly_revision TO towntwin_gateway;
    CALL wall('incident', 'area_ids && ARRAY(SELECT area_seen())');
    CALL wall('incident_anomaly', 'site_id IN (SELECT site_id FROM site)');
    CALL wall('incident_history', 'incident_id IN (SELECT incident_id FROM incident)');
    CALL wall('incident_request', 'incident_id IN (SELECT incident_id FROM incident)');
    CALL wall('incident_photo', 'incident_id IN (SELECT incident_id FROM incident)');
    CALL wall('planned_maintenance', 'site_id IN (SELECT site_id FROM site)');
    CALL wall('incident_cursor', 'area_id IN (SELECT area_seen())');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
