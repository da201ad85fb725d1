-- 0038 pre: grid cells, teams, rosters and hand-over notes; channels, preferences, deadlines, and the outbox of notifications.

-- setting: whether a cell is in a town or a village; geometry: GeoJSON Polygon or MultiPolygon, WGS 84.
CREATE TABLE grid_cell (
    cell_id text PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    en text NOT NULL,
    zh text NOT NULL,
    setting text NOT NULL CHECK (setting IN ('town', 'village')),
    geometry jsonb NOT NULL CHECK (geometry ->> 'type' IN ('Polygon', 'MultiPolygon')),
    enabled boolean NOT NULL DEFAULT true
);
CREATE INDEX grid_cell_by_area ON grid_cell (area_id);

-- coverage: what the team is responsible for; channels: ids of the channels of its group.
CREATE TABLE team (
    team_id text PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    en text NOT NULL,
    zh text NOT NULL,
    coverage jsonb NOT NULL DEFAULT '[]',
    channels text[] NOT NULL DEFAULT '{}',
    enabled boolean NOT NULL DEFAULT true
);
CREATE INDEX team_by_area ON team (area_id);

-- place: order in the team. A member that left keeps the row, without a team, for the notifications of the past.
CREATE TABLE team_member (
    member_id text PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    team_id text REFERENCES team,
    place integer NOT NULL,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('member', 'leader', 'supervisor')),
    principal text,
    email text,
    language text NOT NULL CHECK (language IN ('zh', 'en'))
);
CREATE INDEX team_member_by_team ON team_member (team_id, place);

CREATE TABLE roster (
    roster_id text PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    team_id text NOT NULL REFERENCES team,
    en text NOT NULL,
    zh text NOT NULL,
    rotations jsonb NOT NULL DEFAULT '[]',
    enabled boolean NOT NULL DEFAULT true
);

CREATE TABLE roster_override (
    override_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    roster_id text NOT NULL REFERENCES roster,
    area_id text NOT NULL REFERENCES area,
    member_id text REFERENCES team_member,
    "from" timestamptz NOT NULL,
    "to" timestamptz NOT NULL CHECK ("to" > "from"),
    who text NOT NULL,
    note text NOT NULL,
    "at" timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX roster_override_by_end ON roster_override ("to");

CREATE TABLE handover_note (
    note_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    team_id text NOT NULL REFERENCES team,
    who text NOT NULL,
    text text NOT NULL,
    incidents bigint[] NOT NULL DEFAULT '{}',
    "at" timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX handover_note_by_team ON handover_note (team_id, note_id DESC);

-- url_secret, sign_secret: names of secrets, which are in files or the environment of the service, never here.
CREATE TABLE notification_channel (
    channel_id text PRIMARY KEY CHECK (channel_id <> 'console'),
    area_id text NOT NULL REFERENCES area,
    kind text NOT NULL CHECK (kind IN ('wecom', 'dingtalk', 'feishu', 'email', 'webhook', 'console')),
    en text NOT NULL,
    zh text NOT NULL,
    url text,
    url_secret text,
    sign_secret text,
    language text NOT NULL CHECK (language IN ('zh', 'en')),
    enabled boolean NOT NULL DEFAULT true
);

CREATE TABLE member_preferences (
    member_id text PRIMARY KEY REFERENCES team_member,
    area_id text NOT NULL REFERENCES area,
    preferences jsonb NOT NULL DEFAULT '[]'
);

-- When a phase of an incident has to be over, and when it was.
CREATE TABLE incident_deadline (
    incident_id bigint NOT NULL REFERENCES incident,
    phase text NOT NULL CHECK (phase IN ('acknowledge', 'file', 'dispatch', 'handle', 'verify')),
    area_id text NOT NULL REFERENCES area,
    due timestamptz NOT NULL,
    met timestamptz,
    PRIMARY KEY (incident_id, phase)
);
CREATE INDEX incident_deadline_open ON incident_deadline (due) WHERE met IS NULL;

-- An attempt to send one message, with everybody who reads it. outcome: 'started' until its response was received.
CREATE TABLE notification_delivery (
    delivery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    area_id text NOT NULL REFERENCES area,
    channel_id text NOT NULL,
    destination text NOT NULL,
    members text[] NOT NULL,
    notifications integer NOT NULL,
    started timestamptz NOT NULL,
    ended timestamptz,
    outcome text NOT NULL CHECK (outcome IN ('started', 'sent', 'refused', 'limited', 'unknown')),
    detail text NOT NULL DEFAULT ''
);
CREATE INDEX notification_delivery_by_start ON notification_delivery (started DESC);

-- The outbox. One row for each step of an incident, member and channel, whatever restarts in between.
CREATE TABLE notification (
    notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('incident', 'test')),
    area_id text NOT NULL REFERENCES area,
    incident_id bigint REFERENCES incident,
    step text NOT NULL,
    member_id text REFERENCES team_member,
    channel_id text NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 4),
    text_en text NOT NULL,
    text_zh text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'failed', 'suppressed')),
    created timestamptz NOT NULL DEFAULT now(),
    due timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_try timestamptz,
    sent timestamptz,
    detail text NOT NULL DEFAULT '',
    delivery_id bigint REFERENCES notification_delivery,
    UNIQUE NULLS NOT DISTINCT (incident_id, step, member_id, channel_id)
);
CREATE INDEX notification_waiting ON notification (due) WHERE state = 'waiting';
CREATE INDEX notification_of_consoles ON notification (delivery_id) WHERE channel_id = 'console';
CREATE INDEX notification_by_member ON notification (member_id, notification_id DESC);

-- Token bucket of each robot or server: a restart must not refill it.
CREATE TABLE destination_rate (
    destination text PRIMARY KEY,
    tokens double precision NOT NULL,
    "at" timestamptz NOT NULL,
    blocked_until timestamptz
);

-- What links of acknowledgement are signed with, by the service, and verified with, by the gateway.
CREATE TABLE acknowledgement_secret (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    secret bytea NOT NULL CHECK (length(secret) = 32)
);
INSERT INTO acknowledgement_secret (secret)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

DO $$
DECLARE
    one text;
BEGIN
    GRANT SELECT ON grid_cell, team, team_member, roster, roster_override, handover_note, notification_channel,
        member_preferences, acknowledgement_secret TO towntwin_analytics, towntwin_gateway;
    GRANT INSERT, UPDATE ON grid_cell, team, team_member, roster, notification_channel, member_preferences TO towntwin_gateway;
    GRANT INSERT ON roster_override, handover_note TO towntwin_gateway;
    GRANT SELECT, INSERT, UPDATE ON incident_deadline, notification, notification_delivery, destination_rate
        TO towntwin_analytics;
    GRANT SELECT ON incident_deadline, notification_delivery TO towntwin_gateway;
    GRANT SELECT, INSERT ON notification TO towntwin_gateway;
    FOREACH one IN ARRAY ARRAY['grid_cell', 'team', 'team_member', 'roster', 'roster_override', 'handover_note',
        'notification_channel', 'member_preferences', 'incident_deadline', 'notification_delivery', 'notification']
    LOOP
        CALL wall(one::regclass, 'area_id IN (SELECT area_seen())');
    END LOOP;
    CALL wall('destination_rate', 'false');
    CALL wall('acknowledgement_secret', 'false');
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
