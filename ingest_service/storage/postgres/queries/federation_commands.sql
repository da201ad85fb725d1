-- federation_command_fields: The fields of `IssuedCommand`.
c.command_id::text AS command_id, c.area_id, c.device_id, c.from_above, c.kind, c.content, c.who, c.note,
    extract(epoch FROM c.issued)::float8 AS issued_s, c.own_incident, c.state, c.detail, c.incident_id,
    extract(epoch FROM c.finished)::float8 AS finished_s;

-- issue_federation_command: Insert a command that is issued here.
INSERT INTO federation_command AS c (area_id, device_id, from_above, kind, content, who, note, own_incident)
VALUES (%(area_id)s, %(device_id)s, false, %(kind)s, %(content)s, %(who)s, %(note)s, %(own_incident)s)
RETURNING {{federation_command_fields}};

-- receive_federation_command: Insert a command of the platform above, unless it was received before.
INSERT INTO federation_command (command_id, area_id, device_id, from_above, kind, content, who, note, issued, state, detail,
    finished)
VALUES (%(command_id)s::uuid, %(area_id)s, %(device_id)s, true, %(kind)s, %(content)s, %(who)s, %(note)s,
    to_timestamp(%(issued_s)s), %(state)s, %(detail)s, CASE WHEN %(state)s <> 'waiting' THEN clock_timestamp() END)
ON CONFLICT DO NOTHING RETURNING command_id;

-- report_federation_command_again: The platform above lacks the result of a command, for it was sent again.
UPDATE federation_command SET is_reported = false WHERE command_id = %s::uuid AND from_above;

-- set_opened_incident: Note the incident that a command has opened.
UPDATE federation_command SET incident_id = %(incident_id)s WHERE command_id = %(command_id)s::uuid;

-- federation_commands: Commands, newest first.
SELECT {{federation_command_fields}} FROM federation_command AS c
WHERE (%(command_id)s::uuid IS NULL OR c.command_id = %(command_id)s::uuid) ORDER BY c.issued DESC LIMIT %(limit)s;

-- federation_commands_to_send: Commands for platforms below, or one of them, whose results are not known, oldest first.
SELECT {{federation_command_fields}}, d.area_id AS device_area FROM federation_command AS c JOIN device AS d USING (device_id)
WHERE c.state = 'waiting' AND (%(device)s::text IS NULL OR c.device_id = %(device)s) ORDER BY c.issued LIMIT %(limit)s;

-- federation_command_results: Results that the platform above has not confirmed, oldest first.
SELECT command_id::text AS command_id, state, detail, incident_id, extract(epoch FROM finished)::float8 AS at_s
FROM federation_command WHERE from_above AND state <> 'waiting' AND NOT is_reported ORDER BY finished LIMIT %s;

-- federation_results_confirmed: The platform above has the results of some commands.
UPDATE federation_command SET is_reported = true WHERE command_id = ANY (%s::uuid[]);

-- finish_federation_command: Store the result of a command from the device that it was sent to; no row if it has one.
UPDATE federation_command AS c SET state = %(state)s, detail = %(detail)s, incident_id = %(incident_id)s,
    finished = to_timestamp(%(at_s)s), is_reported = false
WHERE c.command_id = %(command_id)s::uuid AND c.device_id = %(device)s AND c.state = 'waiting'
RETURNING {{federation_command_fields}};

-- series_of_command: The series that a command is about, at a site of an origin.
SELECT s.series_id FROM series AS s JOIN site USING (site_id)
WHERE s.site_id = %(site_id)s AND s.quantity = %(quantity)s AND site.origin = %(device)s;

-- own_parent: The incident of this platform below which that of a town is: dispatched by a command, or put there.
SELECT coalesce(
    (SELECT own_incident FROM federation_command WHERE device_id = %(origin)s AND incident_id = %(incident_id)s
        AND own_incident IS NOT NULL ORDER BY issued DESC LIMIT 1),
    (SELECT i.parent_id FROM incident AS i JOIN incident AS p ON p.incident_id = i.parent_id AND p.origin IS NULL
        WHERE i.origin = %(origin)s AND i.origin_id = %(incident_id)s AND i.opened = to_timestamp(%(opened_s)s)));

-- set_parent_of_origin: Put an incident of a town below one of this platform, if it has no parent.
UPDATE incident SET parent_id = %(parent_id)s, revision = nextval('anomaly_revision'), updated = now()
WHERE origin = %(origin)s AND origin_id = %(incident_id)s AND parent_id IS NULL;

-- forwarders_of_area: Forwarders at or below an area; without any, the one of the lowest area above it.
WITH RECURSIVE below AS (
    SELECT area_id FROM area WHERE area_id = %(area)s
    UNION SELECT a.area_id FROM area AS a JOIN below AS b ON a.parent = b.area_id
), above AS (
    SELECT area_id, parent, 0 AS steps FROM area WHERE area_id = %(area)s
    UNION ALL SELECT a.area_id, a.parent, u.steps + 1 FROM area AS a JOIN above AS u ON a.area_id = u.parent WHERE u.steps < 20
), forwarder AS (
    SELECT device_id, area_id FROM device WHERE kind = 'federation' AND origin IS NULL
), own AS (
    SELECT device_id, area_id FROM forwarder WHERE area_id IN (SELECT area_id FROM below)
), upper AS (
    SELECT f.device_id, f.area_id FROM forwarder AS f JOIN above AS u ON u.area_id = f.area_id ORDER BY u.steps LIMIT 1
)
SELECT device_id, area_id FROM own
UNION ALL SELECT device_id, area_id FROM upper WHERE NOT EXISTS (SELECT FROM own)
ORDER BY 2, 1;
