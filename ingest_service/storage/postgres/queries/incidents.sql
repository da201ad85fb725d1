-- incident_fields: The fields of `Incident`; sites and anomalies are those that the reader may see.
i.incident_id, i.revision, i.area_id, i.area_ids, i.main_site_id, i.kind, i.cause, i.priority, i.consequence, i.urgency, i.severity,
    i.state, i.alarm_state, i.active, extract(epoch FROM i.started)::float8 AS started_s,
    extract(epoch FROM i.last)::float8 AS last_s, extract(epoch FROM i.opened)::float8 AS opened_s,
    extract(epoch FROM i.updated)::float8 AS updated_s, extract(epoch FROM i.returned)::float8 AS returned_s,
    extract(epoch FROM i.acknowledged)::float8 AS acknowledged_s, i.acknowledged_by,
    extract(epoch FROM i.filed)::float8 AS filed_s, extract(epoch FROM i.dispatched)::float8 AS dispatched_s,
    extract(epoch FROM i.reported)::float8 AS reported_s, extract(epoch FROM i.closed)::float8 AS closed_s,
    i.annunciations, i.team_id, i.assignee, i.parent_id, i.suppressed_by, i.merged_into,
    extract(epoch FROM i.shelved_until)::float8 AS shelved_until_s,
    extract(epoch FROM i.extended_until)::float8 AS extended_until_s,
    extract(epoch FROM i.held_until)::float8 AS held_until_s, i.summary, i.opened_by,
    coalesce(m.site_ids, '{}') AS site_ids, coalesce(m.anomalies, 0) AS anomalies,
    coalesce(m.open_anomalies, 0) AS open_anomalies, i.origin;

-- incident_members: Sites and numbers of anomalies of each incident, to be joined laterally.
-- Those of the incidents of towns below it count too.
LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT a.site_id ORDER BY a.site_id) AS site_ids,
        count(*) FILTER (WHERE a.role <> 'suppressed') AS anomalies,
        count(*) FILTER (WHERE a.role <> 'suppressed' AND a.state = 'open') AS open_anomalies
    FROM (
        SELECT site_id, role, state FROM incident_anomaly WHERE incident_id = i.incident_id
        UNION ALL
        SELECT b.site_id, b.role, b.state FROM incident AS c JOIN incident_anomaly AS b ON b.incident_id = c.incident_id
        WHERE c.parent_id = i.incident_id AND c.origin IS NOT NULL
    ) AS a
) AS m ON true;

-- incident_filter: The conditions of an `IncidentQuery`, without order and limit.
((%(incident_ids)s::bigint[] IS NULL OR i.incident_id = ANY (%(incident_ids)s))
    AND (%(area_ids)s::text[] IS NULL OR i.area_ids && %(area_ids)s)
    AND (%(site_ids)s::text[] IS NULL OR i.main_site_id = ANY (%(site_ids)s) OR EXISTS (
        SELECT FROM incident_anomaly AS s WHERE s.incident_id = i.incident_id AND s.site_id = ANY (%(site_ids)s)))
    AND (%(kinds)s::text[] IS NULL OR i.kind = ANY (%(kinds)s))
    AND (%(causes)s::text[] IS NULL OR i.cause = ANY (%(causes)s))
    AND (%(states)s::text[] IS NULL OR i.state = ANY (%(states)s))
    AND (%(alarm_states)s::text[] IS NULL OR i.alarm_state = ANY (%(alarm_states)s))
    AND i.priority <= %(priority_max)s
    AND (%(team_ids)s::text[] IS NULL OR i.team_id = ANY (%(team_ids)s))
    AND (%(assignee)s::text IS NULL OR i.assignee = %(assignee)s)
    AND (%(parent_id)s::bigint IS NULL OR i.parent_id = %(parent_id)s)
    AND (%(is_open)s::boolean IS NULL OR (i.state NOT IN ('closed', 'false_alarm')) = %(is_open)s)
    AND (NOT %(own_only)s OR i.origin IS NULL)
    AND (%(from_s)s::float8 IS NULL OR i.opened >= to_timestamp(%(from_s)s))
    AND (%(to_s)s::float8 IS NULL OR i.opened < to_timestamp(%(to_s)s))
    AND (%(after_us)s::bigint IS NULL
        OR (i.opened, i.incident_id) < ('epoch'::timestamptz + %(after_us)s * interval '1 microsecond', %(after_id)s)));

-- incidents: Incidents by filter, newest opening first.
SELECT {{incident_fields}} FROM incident AS i {{incident_members}}
WHERE {{incident_filter}} ORDER BY i.opened DESC, i.incident_id DESC LIMIT %(limit)s;

-- count_incidents: Number of incidents that match a filter.
SELECT count(*) FROM incident AS i WHERE {{incident_filter}};

-- incidents_changed: Incidents changed after a revision, up to a settled one, oldest change first.
SELECT {{incident_fields}} FROM incident AS i {{incident_members}}
WHERE i.revision > %s AND i.revision <= %s ORDER BY i.revision LIMIT %s;

-- groupable_incidents: Incidents that an anomaly may still join or change: not over, or with an anomaly in a time range.
SELECT {{incident_fields}} FROM incident AS i {{incident_members}}
WHERE (i.state NOT IN ('closed', 'false_alarm') OR i.last >= to_timestamp(%s) OR i.incident_id = ANY (%s::bigint[]))
    AND i.merged_into IS NULL AND i.origin IS NULL
ORDER BY i.incident_id;

-- incidents_of_towns: Incidents that towns forwarded and that are active or had an anomaly lately, below none of a town.
SELECT {{incident_fields}} FROM incident AS i {{incident_members}}
WHERE i.origin IS NOT NULL AND i.merged_into IS NULL
    AND (i.active AND i.state NOT IN ('closed', 'false_alarm') OR i.last >= to_timestamp(%s))
    AND NOT EXISTS (SELECT FROM incident AS p WHERE p.incident_id = i.parent_id AND p.origin IS NOT NULL)
ORDER BY i.incident_id;

-- newest_of_towns: The newest revision of any incident that a town forwarded.
SELECT coalesce(max(revision), 0) FROM incident WHERE origin IS NOT NULL;

-- put_below: Put incidents of towns below one of this platform.
UPDATE incident SET parent_id = %(parent_id)s, revision = nextval('anomaly_revision'), updated = now()
WHERE incident_id = ANY (%(incident_ids)s::bigint[]) AND origin IS NOT NULL;

-- insert_incident: Insert an incident; returns its id, its revision and the time of the change.
INSERT INTO incident (
    area_id, area_ids, main_site_id, kind, cause, priority, consequence, urgency, severity, state, alarm_state, active, started,
    last, opened, returned, acknowledged, acknowledged_by, filed, dispatched, reported, closed, annunciations, team_id, assignee,
    parent_id, suppressed_by, merged_into, shelved_until, extended_until, held_until, summary, opened_by
) VALUES (
    %(area_id)s, %(area_ids)s, %(main_site_id)s, %(kind)s, %(cause)s, %(priority)s, %(consequence)s, %(urgency)s, %(severity)s,
    %(state)s, %(alarm_state)s, %(active)s, to_timestamp(%(started_s)s), to_timestamp(%(last_s)s), to_timestamp(%(opened_s)s),
    to_timestamp(%(returned_s)s), to_timestamp(%(acknowledged_s)s), %(acknowledged_by)s, to_timestamp(%(filed_s)s),
    to_timestamp(%(dispatched_s)s), to_timestamp(%(reported_s)s), to_timestamp(%(closed_s)s), %(annunciations)s, %(team_id)s,
    %(assignee)s, %(parent_id)s, %(suppressed_by)s, %(merged_into)s, to_timestamp(%(shelved_until_s)s),
    to_timestamp(%(extended_until_s)s), to_timestamp(%(held_until_s)s), %(summary)s, %(opened_by)s
) RETURNING incident_id, revision, extract(epoch FROM updated)::float8;

-- update_incident: Replace an incident if it still has the revision that was read; returns its new revision.
UPDATE incident SET
    revision = nextval('anomaly_revision'), area_id = %(area_id)s, area_ids = %(area_ids)s, main_site_id = %(main_site_id)s,
    kind = %(kind)s, cause = %(cause)s, priority = %(priority)s, consequence = %(consequence)s, urgency = %(urgency)s,
    severity = %(severity)s, state = %(state)s, alarm_state = %(alarm_state)s, active = %(active)s,
    started = to_timestamp(%(started_s)s), last = to_timestamp(%(last_s)s), updated = now(),
    returned = to_timestamp(%(returned_s)s), acknowledged = to_timestamp(%(acknowledged_s)s),
    acknowledged_by = %(acknowledged_by)s, filed = to_timestamp(%(filed_s)s), dispatched = to_timestamp(%(dispatched_s)s),
    reported = to_timestamp(%(reported_s)s), closed = to_timestamp(%(closed_s)s), annunciations = %(annunciations)s,
    team_id = %(team_id)s, assignee = %(assignee)s, parent_id = %(parent_id)s, suppressed_by = %(suppressed_by)s,
    merged_into = %(merged_into)s, shelved_until = to_timestamp(%(shelved_until_s)s),
    extended_until = to_timestamp(%(extended_until_s)s), held_until = to_timestamp(%(held_until_s)s), summary = %(summary)s
WHERE incident_id = %(incident_id)s AND revision = %(revision)s
RETURNING incident_id, revision, extract(epoch FROM updated)::float8;

-- incident_revision: The revision of an incident.
SELECT revision FROM incident WHERE incident_id = %s;

-- upsert_incident_anomaly: Insert where an anomaly belongs, or replace it.
INSERT INTO incident_anomaly (
    anomaly_id, incident_id, site_id, role, reason, reason_en, reason_zh, anomaly_revision, state, start, "end", severity,
    series_id, device_id, detector, by
) VALUES (
    %(anomaly_id)s, %(incident_id)s, %(site_id)s, %(role)s, %(reason)s, %(reason_en)s, %(reason_zh)s, %(anomaly_revision)s,
    %(state)s, to_timestamp(%(start_s)s), to_timestamp(%(end_s)s), %(severity)s, %(series_id)s, %(device_id)s, %(detector)s,
    %(by)s
) ON CONFLICT (anomaly_id) DO UPDATE SET
    incident_id = excluded.incident_id, role = excluded.role, reason = excluded.reason, reason_en = excluded.reason_en,
    reason_zh = excluded.reason_zh, anomaly_revision = excluded.anomaly_revision, state = excluded.state,
    start = excluded.start, "end" = excluded."end", severity = excluded.severity, by = excluded.by, since = now();

-- incident_anomaly_fields: The fields of `IncidentAnomaly`.
anomaly_id, incident_id, site_id, role, reason, reason_en, reason_zh, anomaly_revision, state,
    extract(epoch FROM start)::float8 AS start_s, extract(epoch FROM "end")::float8 AS end_s, severity, series_id, device_id,
    detector, by;

-- anomalies_of_incidents: The anomalies of some incidents, in order of their start.
SELECT {{incident_anomaly_fields}} FROM incident_anomaly
WHERE incident_id = ANY (%(incident_ids)s::bigint[])
    AND (%(since_s)s::float8 IS NULL OR role <> 'suppressed' OR start >= to_timestamp(%(since_s)s))
ORDER BY start, anomaly_id LIMIT %(limit)s;

-- kept_out_anomalies: Anomalies in no incident that are open, or that started after a time.
SELECT {{incident_anomaly_fields}} FROM incident_anomaly
WHERE incident_id IS NULL AND (state = 'open' OR start >= to_timestamp(%s)) ORDER BY start, anomaly_id;

-- anomalies_by_id: Some anomalies, as they are recorded.
SELECT {{anomaly_fields}}, revision, subject, evidence FROM anomaly WHERE anomaly_id = ANY (%s::bigint[]);

-- incidents_of_anomalies: Where some anomalies belong.
SELECT {{incident_anomaly_fields}} FROM incident_anomaly WHERE anomaly_id = ANY (%s::bigint[]);

-- suppressed_anomalies: Anomalies that were kept out of incidents or suppressed in one, and why; newest start first.
SELECT {{incident_anomaly_fields}} FROM incident_anomaly
WHERE role = 'suppressed' AND start >= to_timestamp(%(from_s)s) AND start < to_timestamp(%(to_s)s)
    AND (%(site_ids)s::text[] IS NULL OR site_id = ANY (%(site_ids)s))
ORDER BY start DESC, anomaly_id DESC LIMIT %(limit)s;

-- ungrouped_anomalies: Anomalies of an area changed after a revision, up to a settled one, oldest change first.
SELECT {{anomaly_fields}}, revision, subject, evidence
FROM anomaly WHERE revision > %(after)s AND revision <= %(settled)s
    AND site_id IN (SELECT s.site_id FROM site AS s WHERE s.area_id = %(area_id)s AND s.origin IS NULL)
ORDER BY revision LIMIT %(limit)s;

-- incident_cursors: Up to which revision the anomalies of each area were grouped.
SELECT area_id, revision FROM incident_cursor;

-- move_incident_cursor: Move the cursor of an area, if nobody else has moved it.
INSERT INTO incident_cursor AS c (area_id, revision) VALUES (%(area_id)s, %(revision)s)
ON CONFLICT (area_id) DO UPDATE SET revision = excluded.revision, updated = now() WHERE c.revision = %(before)s;

-- insert_incident_history: Insert a history entry.
INSERT INTO incident_history (incident_id, revision, machine, event, from_state, to_state, who, why, "at", detail)
VALUES (%(incident_id)s, %(revision)s, %(machine)s, %(event)s, %(from_state)s, %(to_state)s, %(who)s, %(why)s,
    to_timestamp(%(at_s)s), %(detail)s);

-- incident_history_fields: The fields of `IncidentHistory`.
history_id, incident_id, revision, machine, event, from_state, to_state, who, why, extract(epoch FROM "at")::float8 AS at_s,
    detail;

-- incident_history: The history of an incident after an entry, oldest first.
SELECT {{incident_history_fields}} FROM incident_history
WHERE incident_id = %(incident_id)s AND history_id > %(after_id)s AND (%(events)s::text[] IS NULL OR event = ANY (%(events)s))
ORDER BY history_id LIMIT %(limit)s;

-- incident_history_changed: History entries after a revision, up to a settled one, of all incidents, oldest first.
SELECT {{incident_history_fields}} FROM incident_history
WHERE revision > %s AND revision <= %s ORDER BY revision, history_id LIMIT %s;

-- incident_history_between: History entries of some areas in a time range, oldest first.
SELECT {{incident_history_fields}} FROM incident_history
WHERE "at" >= to_timestamp(%(from_s)s) AND "at" < to_timestamp(%(to_s)s) AND machine <> 'record'
    AND (%(area_ids)s::text[] IS NULL
        OR incident_id IN (SELECT i.incident_id FROM incident AS i WHERE i.area_id = ANY (%(area_ids)s)))
    AND (NOT %(own_only)s OR incident_id IN (SELECT i.incident_id FROM incident AS i WHERE i.origin IS NULL))
ORDER BY "at", history_id LIMIT %(limit)s;

-- incident_request_fields: The fields of `IncidentRequest`.
request_id, incident_id, kind, state, requested_by, extract(epoch FROM requested)::float8 AS requested_s, why,
    extract(epoch FROM until)::float8 AS until_s, approver_role, decided_by, extract(epoch FROM decided)::float8 AS decided_s,
    decided_why;

-- incident_requests: Requests of an incident, or those in a state, oldest first.
SELECT {{incident_request_fields}} FROM incident_request
WHERE (%(incident_id)s::bigint IS NULL OR incident_id = %(incident_id)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY request_id LIMIT %(limit)s;

-- insert_incident_request: Insert a request; returns its id, none if one of its kind waits already.
INSERT INTO incident_request (incident_id, kind, state, requested_by, requested, why, until, approver_role)
VALUES (%(incident_id)s, %(kind)s, 'waiting', %(requested_by)s, to_timestamp(%(requested_s)s), %(why)s,
    to_timestamp(%(until_s)s), %(approver_role)s)
ON CONFLICT DO NOTHING RETURNING request_id;

-- decide_incident_request: Store the decision on a request that is still waiting.
UPDATE incident_request SET state = %(state)s, decided_by = %(decided_by)s, decided = to_timestamp(%(decided_s)s),
    decided_why = %(decided_why)s
WHERE request_id = %(request_id)s AND incident_id = %(incident_id)s AND state = 'waiting';

-- insert_incident_photo: Insert a photo; returns its id.
INSERT INTO incident_photo (incident_id, "at", who, caption, media_type, width, height, content)
VALUES (%(incident_id)s, to_timestamp(%(at_s)s), %(who)s, %(caption)s, %(media_type)s, %(width)s, %(height)s, %(content)s)
RETURNING photo_id;

-- incident_photos: The photos of an incident without their content, oldest first.
SELECT photo_id, incident_id, extract(epoch FROM "at")::float8 AS at_s, who, caption, media_type, width, height,
    length(content) AS size_bytes
FROM incident_photo WHERE incident_id = %s ORDER BY photo_id;

-- incident_photo_content: The content of a photo.
SELECT media_type, content FROM incident_photo WHERE incident_id = %s AND photo_id = %s;

-- planned_maintenance_fields: The fields of `PlannedMaintenance`.
maintenance_id, site_id, extract(epoch FROM "from")::float8 AS from_s, extract(epoch FROM "to")::float8 AS to_s, who, why;

-- planned_maintenance: Planned work that ends after a time, by its begin.
SELECT {{planned_maintenance_fields}} FROM planned_maintenance WHERE "to" > to_timestamp(%s) ORDER BY "from", maintenance_id;

-- insert_planned_maintenance: Insert planned work; returns its id.
INSERT INTO planned_maintenance (site_id, "from", "to", who, why)
VALUES (%(site_id)s, to_timestamp(%(from_s)s), to_timestamp(%(to_s)s), %(who)s, %(why)s) RETURNING maintenance_id;

-- delete_planned_maintenance: Delete planned work.
DELETE FROM planned_maintenance WHERE maintenance_id = %s;

-- incidents_to_trace: Open water incidents of a severity, with their anomalies and what their trace was computed from.
SELECT i.incident_id, m.anomaly_ids, t.inputs, extract(epoch FROM now() - t.computed)::float8 AS age_s
FROM incident AS i
JOIN LATERAL (
    SELECT array_agg(a.anomaly_id ORDER BY a.start, a.anomaly_id) AS anomaly_ids FROM incident_anomaly AS a
    WHERE a.incident_id = i.incident_id AND a.role <> 'suppressed' AND a.state <> 'withdrawn'
) AS m ON m.anomaly_ids IS NOT NULL
LEFT JOIN incident_trace AS t USING (incident_id)
WHERE i.kind = 'water' AND i.state NOT IN ('closed', 'false_alarm') AND i.merged_into IS NULL AND i.origin IS NULL
    AND i.severity >= %(severity)s AND i.last >= now() - make_interval(secs => %(since_s)s)
ORDER BY t.incident_id IS NOT NULL, i.opened DESC, i.incident_id DESC LIMIT %(limit)s;

-- upsert_incident_trace: Insert the trace of an incident, or replace it.
INSERT INTO incident_trace AS t (incident_id, inputs, computing_s, posterior, missing)
VALUES (%(incident_id)s, %(inputs)s, %(computing_s)s, %(posterior)s, %(missing)s)
ON CONFLICT (incident_id) DO UPDATE SET inputs = excluded.inputs, computed = now(), computing_s = excluded.computing_s,
    times_computed = t.times_computed + 1, posterior = excluded.posterior, missing = excluded.missing;

-- incident_traces: The traces of some incidents.
SELECT incident_id, inputs, extract(epoch FROM computed)::float8 AS computed_s, computing_s, times_computed, posterior, missing
FROM incident_trace WHERE incident_id = ANY (%s::bigint[]);
