-- notification_channels: Channels of some areas, or of all.
SELECT channel_id, area_id, kind, en, zh, url, url_secret, sign_secret, language, enabled FROM notification_channel
WHERE %(area_ids)s::text[] IS NULL OR area_id = ANY (%(area_ids)s) ORDER BY channel_id;

-- upsert_channel: Insert or replace a channel; none if its id belongs to another area.
INSERT INTO notification_channel AS c (channel_id, area_id, kind, en, zh, url, url_secret, sign_secret, language, enabled)
VALUES (%(channel_id)s, %(area_id)s, %(kind)s, %(en)s, %(zh)s, %(url)s, %(url_secret)s, %(sign_secret)s, %(language)s,
    %(enabled)s)
ON CONFLICT (channel_id) DO UPDATE SET kind = excluded.kind, en = excluded.en, zh = excluded.zh, url = excluded.url,
    url_secret = excluded.url_secret, sign_secret = excluded.sign_secret, language = excluded.language,
    enabled = excluded.enabled
WHERE c.area_id = excluded.area_id;

-- notification_fields: The fields of `Notification`.
n.notification_id, n.kind, n.area_id, n.incident_id, n.step, n.member_id, n.channel_id, n.priority, n.text_en, n.text_zh, n.state,
    extract(epoch FROM n.created)::float8 AS created_s, extract(epoch FROM n.due)::float8 AS due_s, n.attempts,
    extract(epoch FROM n.next_try)::float8 AS next_try_s, extract(epoch FROM n.sent)::float8 AS sent_s, n.detail,
    n.delivery_id;

-- notifications: The outbox by filter, newest first.
SELECT {{notification_fields}} FROM notification AS n
WHERE (%(area_ids)s::text[] IS NULL OR n.area_id = ANY (%(area_ids)s))
    AND (%(incident_id)s::bigint IS NULL OR n.incident_id = %(incident_id)s)
    AND (%(member_id)s::text IS NULL OR n.member_id = %(member_id)s)
    AND (%(state)s::text IS NULL OR n.state = %(state)s)
    AND (%(before_id)s::bigint IS NULL OR n.notification_id < %(before_id)s)
ORDER BY n.notification_id DESC LIMIT %(limit)s;

-- waiting_notifications: Notifications that may be sent now, the most urgent and oldest first.
SELECT {{notification_fields}} FROM notification AS n
WHERE n.state = 'waiting' AND n.due <= to_timestamp(%(now_s)s)
    AND (n.next_try IS NULL OR n.next_try <= to_timestamp(%(now_s)s))
ORDER BY n.priority, n.due, n.notification_id LIMIT %(limit)s;

-- insert_notification: Insert a notification, unless its step was recorded for the member and channel before.
INSERT INTO notification (kind, area_id, incident_id, step, member_id, channel_id, priority, text_en, text_zh, state, due, detail)
VALUES (%(kind)s, %(area_id)s, %(incident_id)s, %(step)s, %(member_id)s, %(channel_id)s, %(priority)s, %(text_en)s, %(text_zh)s,
    %(state)s, to_timestamp(%(due_s)s), %(detail)s)
ON CONFLICT DO NOTHING;

-- steps_recorded: Steps of some incidents that have a row in the outbox.
SELECT DISTINCT incident_id, step FROM notification WHERE incident_id = ANY (%s);

-- suppress_notifications: Suppress waiting notifications, with the reason.
UPDATE notification SET state = 'suppressed', detail = %(detail)s
WHERE notification_id = ANY (%(notification_ids)s) AND state = 'waiting';

-- insert_delivery: Record that a message is about to be sent; returns its id.
INSERT INTO notification_delivery (area_id, channel_id, destination, members, notifications, started, outcome)
VALUES (%(area_id)s, %(channel_id)s, %(destination)s, %(members)s, %(notifications)s, to_timestamp(%(started_s)s), 'started')
RETURNING delivery_id;

-- end_delivery: Record how a delivery ended.
UPDATE notification_delivery SET ended = to_timestamp(%(ended_s)s), outcome = %(outcome)s, detail = %(detail)s
WHERE delivery_id = %(delivery_id)s;

-- forget_started: Deliveries of a process that ended before the response came.
UPDATE notification_delivery SET ended = to_timestamp(%s), outcome = 'unknown', detail = 'the service ended before the response'
WHERE outcome = 'started';

-- notifications_sent: Record that notifications were sent by a delivery.
UPDATE notification SET state = 'sent', sent = to_timestamp(%(at_s)s), delivery_id = %(delivery_id)s, detail = ''
WHERE notification_id = ANY (%(notification_ids)s);

-- notifications_failed: Record that a delivery failed, and when the next one may begin; without a time there is none.
UPDATE notification SET attempts = attempts + 1, next_try = to_timestamp(%(next_try_s)s::float8),
    state = CASE WHEN %(next_try_s)s::float8 IS NULL THEN 'failed' ELSE 'waiting' END, delivery_id = %(delivery_id)s,
    detail = %(detail)s
WHERE notification_id = ANY (%(notification_ids)s);

-- deliveries_since: Deliveries since a time that may have reached their readers, oldest first.
SELECT delivery_id, area_id, channel_id, destination, members, notifications, extract(epoch FROM started)::float8 AS started_s,
    extract(epoch FROM ended)::float8 AS ended_s, outcome, detail
FROM notification_delivery WHERE started >= to_timestamp(%s) AND outcome IN ('started', 'sent', 'unknown') ORDER BY delivery_id;

-- destination_rates: The buckets of all destinations.
SELECT destination, tokens, extract(epoch FROM "at")::float8 AS at_s, extract(epoch FROM blocked_until)::float8 AS blocked_until_s
FROM destination_rate;

-- upsert_rate: Store the bucket of a destination.
INSERT INTO destination_rate (destination, tokens, "at", blocked_until)
VALUES (%(destination)s, %(tokens)s, to_timestamp(%(at_s)s), to_timestamp(%(blocked_until_s)s::float8))
ON CONFLICT (destination) DO UPDATE SET tokens = excluded.tokens, "at" = excluded."at", blocked_until = excluded.blocked_until;

-- deadlines: Deadlines of some incidents, by phase.
SELECT incident_id, area_id, phase, extract(epoch FROM due)::float8 AS due_s, extract(epoch FROM met)::float8 AS met_s
FROM incident_deadline WHERE incident_id = ANY (%s) ORDER BY incident_id, due;

-- incidents_with_open_deadlines: Incidents one of whose deadlines is neither met nor given up.
SELECT DISTINCT incident_id FROM incident_deadline WHERE met IS NULL;

-- upsert_deadline: Insert or change a deadline.
INSERT INTO incident_deadline (incident_id, phase, area_id, due, met)
VALUES (%(incident_id)s, %(phase)s, %(area_id)s, to_timestamp(%(due_s)s), to_timestamp(%(met_s)s::float8))
ON CONFLICT (incident_id, phase) DO UPDATE SET due = excluded.due, met = excluded.met;

-- acknowledgement_secret: What links of acknowledgement are signed with.
SELECT secret FROM acknowledgement_secret;

-- newest_delivery: The newest delivery in any area.
SELECT coalesce(max(delivery_id), 0) FROM notification_delivery;

-- console_notifications: Notifications that consoles received by deliveries after one, oldest first.
SELECT {{notification_fields}} FROM notification AS n
WHERE n.channel_id = 'console' AND n.state = 'sent' AND n.delivery_id > %s ORDER BY n.delivery_id, n.notification_id LIMIT %s;
