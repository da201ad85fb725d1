-- timescale_version: The version of the TimescaleDB extension in this database.
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';

-- timescale_available: Whether the server has TimescaleDB on disk.
SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb';

-- timescale_create: Put TimescaleDB into this database.
CREATE EXTENSION IF NOT EXISTS timescaledb;

-- timescale_licence: "timescale" or "apache".
SELECT current_setting('timescaledb.license', true);

-- migration_lock: One process migrates at a time; the lock goes with the connection.
SELECT pg_advisory_lock(hashtext('towntwin migrate'));

-- migration_table: Where the applied migrations stand.
CREATE TABLE IF NOT EXISTS schema_migration (
    number integer PRIMARY KEY, name text NOT NULL, applied timestamptz NOT NULL DEFAULT now()
);

-- migration_table_exists: Whether this database was ever migrated.
SELECT to_regclass('schema_migration') IS NOT NULL;

-- migration_version: The newest applied migration.
SELECT coalesce(max(number), 0) FROM schema_migration;

-- migration_done: Note a migration as applied.
INSERT INTO schema_migration (number, name) VALUES (%s, %s);

-- shard_lock: Own a shard as long as the connection lives.
SELECT pg_try_advisory_lock(hashtext('towntwin shard'), hashtext(%s));

-- shard_epoch: Begin a new epoch of a shard; waits for the last commit of the one before.
INSERT INTO shard AS s (shard, epoch) VALUES (%s, 1)
ON CONFLICT (shard) DO UPDATE SET epoch = s.epoch + 1, taken = now() RETURNING epoch;

-- shard_check: The epoch of a shard, held until this transaction ends.
SELECT epoch FROM shard WHERE shard = %s FOR SHARE;

-- enrol_area: Insert or update an area; touches nothing that is as it should be.
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

-- enrol_device: Insert or update a device; its status stays.
INSERT INTO device (device_id, area_id, kind) VALUES (%(device_id)s, %(area_id)s, %(kind)s)
ON CONFLICT (device_id) DO UPDATE SET area_id = excluded.area_id, kind = excluded.kind
WHERE (device.area_id, device.kind) IS DISTINCT FROM (excluded.area_id, excluded.kind);

-- enrol_series: Insert or update a series; its id stays.
INSERT INTO series (site_id, quantity, interval_s, limits)
VALUES (%(site_id)s, %(quantity)s, %(interval_s)s, %(limits)s)
ON CONFLICT (site_id, quantity) DO UPDATE SET interval_s = excluded.interval_s, limits = excluded.limits
WHERE (series.interval_s, series.limits) IS DISTINCT FROM (excluded.interval_s, excluded.limits);

-- enrol_channel: Insert or update a channel by the site and quantity of its series.
INSERT INTO channel (device_id, name, series_id)
SELECT %(device_id)s, %(name)s, series_id FROM series WHERE site_id = %(site_id)s AND quantity = %(quantity)s
ON CONFLICT (device_id, name) DO UPDATE SET series_id = excluded.series_id
WHERE channel.series_id IS DISTINCT FROM excluded.series_id;

-- enrol_node: Insert or update a node.
INSERT INTO node (node_id, network, area_id, kind, en, zh, lon, lat, site_id)
VALUES (%(node_id)s, %(network)s, %(area_id)s, %(kind)s, %(en)s, %(zh)s, %(lon)s, %(lat)s, %(site_id)s)
ON CONFLICT (node_id) DO UPDATE SET network = excluded.network, area_id = excluded.area_id, kind = excluded.kind,
    en = excluded.en, zh = excluded.zh, lon = excluded.lon, lat = excluded.lat, site_id = excluded.site_id
WHERE (node.network, node.area_id, node.kind, node.en, node.zh, node.lon, node.lat, node.site_id)
    IS DISTINCT FROM (excluded.network, excluded.area_id, excluded.kind, excluded.en, excluded.zh, excluded.lon,
    excluded.lat, excluded.site_id);

-- enrol_link: Insert or update a link.
INSERT INTO link (link_id, network, from_node, to_node, en, zh, length_m, speed_m_s, lanes, coordinates)
VALUES (%(link_id)s, %(network)s, %(from_node)s, %(to_node)s, %(en)s, %(zh)s, %(length_m)s, %(speed_m_s)s, %(lanes)s,
    %(coordinates)s)
ON CONFLICT (link_id) DO UPDATE SET network = excluded.network, from_node = excluded.from_node,
    to_node = excluded.to_node, en = excluded.en, zh = excluded.zh, length_m = excluded.length_m,
    speed_m_s = excluded.speed_m_s, lanes = excluded.lanes, coordinates = excluded.coordinates
WHERE (link.network, link.from_node, link.to_node, link.en, link.zh, link.length_m, link.speed_m_s, link.lanes,
    link.coordinates) IS DISTINCT FROM (excluded.network, excluded.from_node, excluded.to_node, excluded.en,
    excluded.zh, excluded.length_m, excluded.speed_m_s, excluded.lanes, excluded.coordinates);

-- directory_changed: The directory is another one now.
UPDATE directory_version SET version = version + 1;

-- directory_version: Which directory this is.
SELECT version FROM directory_version;

-- areas: Every area.
SELECT area_id, parent, level, en, zh FROM area ORDER BY area_id;

-- sites: Every site.
SELECT site_id, area_id, kind, en, zh, lon, lat, external_id, grid_cell, target_class, demo FROM site ORDER BY site_id;

-- devices: Every device.
SELECT device_id, area_id, kind FROM device ORDER BY device_id;

-- series: Every series.
SELECT series_id, site_id, quantity, interval_s, limits FROM series ORDER BY series_id;

-- channels: Every channel, with what its series is.
SELECT c.device_id, c.name, s.site_id, s.quantity, c.series_id
FROM channel AS c JOIN series AS s USING (series_id) ORDER BY c.device_id, c.name;

-- nodes: Every node.
SELECT node_id, network, area_id, kind, en, zh, lon, lat, site_id FROM node ORDER BY node_id;

-- links: Every link.
SELECT link_id, network, from_node, to_node, en, zh, length_m, speed_m_s, lanes, coordinates FROM link ORDER BY link_id;

-- copy_readings: Readings that are surely new.
COPY reading ("time", received, value, series_id, expected, spread, quality, rules) FROM STDIN (FORMAT binary);

-- staging: Where readings that may be repeats wait; empty after each transaction.
CREATE TEMP TABLE IF NOT EXISTS staging (LIKE reading) ON COMMIT DELETE ROWS;

-- copy_staging: Readings that may be repeats.
COPY staging ("time", received, value, series_id, expected, spread, quality, rules) FROM STDIN (FORMAT binary);

-- insert_staged: Keep what was not there; the first of several repeats counts.
INSERT INTO reading ("time", received, value, series_id, expected, spread, quality, rules)
SELECT DISTINCT ON (series_id, "time") "time", received, value, series_id, expected, spread, quality, rules
FROM staging ORDER BY series_id, "time", received, value
ON CONFLICT (series_id, "time") DO NOTHING
RETURNING series_id, (extract(epoch FROM "time") * 1000000)::bigint, rules;

-- select_conflicts: Staged readings for whose time another value is stored.
COPY (
    SELECT s."time", s.received, s.value, s.series_id, s.expected, s.spread, s.quality, s.rules
    FROM staging AS s JOIN reading AS r USING (series_id, "time") WHERE s.value <> r.value
) TO STDOUT (FORMAT binary);

-- insert_rejudge: Between which times series got late readings, and how many.
INSERT INTO rejudge_due AS d (series_id, since, until, readings)
SELECT series_id, 'epoch'::timestamptz + first_us * interval '1 microsecond',
    'epoch'::timestamptz + last_us * interval '1 microsecond', readings
FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[]) AS n (series_id, first_us, last_us, readings)
ON CONFLICT (series_id) DO UPDATE SET since = least(d.since, excluded.since), until = greatest(d.until, excluded.until),
    readings = d.readings + excluded.readings, due = least(d.due, now());

-- upsert_latest: The newest reading of each series of a batch; never goes back.
INSERT INTO latest AS l (series_id, "time", received, value, expected, spread, quality, rules)
SELECT series_id, 'epoch'::timestamptz + time_us * interval '1 microsecond',
    'epoch'::timestamptz + received_us * interval '1 microsecond', value, expected, spread, quality, rules
FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::float8[], %s::real[], %s::real[], %s::smallint[], %s::smallint[])
    AS n (series_id, time_us, received_us, value, expected, spread, quality, rules)
ON CONFLICT (series_id) DO UPDATE SET "time" = excluded."time", received = excluded.received, value = excluded.value,
    expected = excluded.expected, spread = excluded.spread, quality = excluded.quality, rules = excluded.rules
WHERE excluded."time" > l."time";

-- upsert_revisions: Flags that later evidence changed.
INSERT INTO flag_revision (series_id, "time", quality, rules)
SELECT series_id, 'epoch'::timestamptz + time_us * interval '1 microsecond', quality, rules
FROM unnest(%s::int[], %s::bigint[], %s::smallint[], %s::smallint[]) AS n (series_id, time_us, quality, rules)
ON CONFLICT (series_id, "time") DO UPDATE SET quality = excluded.quality, rules = excluded.rules, revised = now();

-- upsert_anomaly: An anomaly by subject and start; what is as it was keeps its revision, and all keep their record.
INSERT INTO anomaly AS a (subject, site_id, series_id, device_id, detector, version, start, "end", peak, observed,
    expected, spread, score, severity, n_readings, state, reason_en, reason_zh, evidence)
VALUES (%(subject)s, %(site_id)s, %(series_id)s, %(device_id)s, %(detector)s, %(version)s,
    'epoch'::timestamptz + %(start_us)s * interval '1 microsecond',
    'epoch'::timestamptz + %(end_us)s * interval '1 microsecond',
    'epoch'::timestamptz + %(peak_us)s * interval '1 microsecond',
    %(observed)s, %(expected)s, %(spread)s, %(score)s, %(severity)s, %(n_readings)s, %(state)s, %(reason_en)s,
    %(reason_zh)s, %(evidence)s)
ON CONFLICT (subject, start) DO UPDATE SET detector = excluded.detector, version = excluded.version,
    "end" = excluded."end", peak = excluded.peak, observed = excluded.observed, expected = excluded.expected,
    spread = excluded.spread, score = excluded.score, severity = excluded.severity, n_readings = excluded.n_readings,
    state = excluded.state, reason_en = excluded.reason_en, reason_zh = excluded.reason_zh,
    evidence = excluded.evidence
        || CASE WHEN a.evidence ? 'rejudged' AND NOT excluded.evidence ? 'rejudged'
            THEN jsonb_build_object('rejudged', a.evidence -> 'rejudged') ELSE '{}' END,
    updated = now(), revision = nextval('anomaly_revision')
WHERE (a.detector, a."end", a.peak, a.score, a.severity, a.n_readings, a.state, a.reason_en)
    IS DISTINCT FROM (excluded.detector, excluded."end", excluded.peak, excluded.score, excluded.severity,
    excluded.n_readings, excluded.state, excluded.reason_en);

-- insert_letter: A dead letter, whole.
INSERT INTO dead_letter (received, topic, payload, content_type, properties, reason, detail, digest)
VALUES (to_timestamp(%(received_s)s), %(topic)s, %(payload)s, %(content_type)s, %(properties)s, %(reason)s, %(detail)s,
    %(digest)s)
ON CONFLICT (digest) DO NOTHING;

-- letter_again: A letter that was replayed in vain.
UPDATE dead_letter SET state = 'waiting', replays = replays + 1, reason = %(reason)s, detail = %(detail)s
WHERE letter_id = %(letter_id)s;

-- letters_done: Letters whose readings are stored now.
DELETE FROM dead_letter WHERE letter_id = ANY (%s);

-- ask_replay: Ask for letters to be replayed.
UPDATE dead_letter SET state = 'replay'
WHERE (%(ids)s::bigint[] IS NULL OR letter_id = ANY (%(ids)s)) AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(device)s::text IS NULL OR split_part(topic, '/', 4) = %(device)s)
    AND (%(received_before_s)s::float8 IS NULL OR received < to_timestamp(%(received_before_s)s));

-- purge_letters: Delete letters for good.
DELETE FROM dead_letter
WHERE (%(ids)s::bigint[] IS NULL OR letter_id = ANY (%(ids)s)) AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(device)s::text IS NULL OR split_part(topic, '/', 4) = %(device)s)
    AND (%(received_before_s)s::float8 IS NULL OR received < to_timestamp(%(received_before_s)s));

-- letters_to_replay: Letters asked for, of some areas, oldest first; one at least, then no more than so many bytes.
SELECT letter_id, extract(epoch FROM received)::float8 AS received_s, topic, payload, length(payload) AS size_bytes,
    content_type, properties, reason, detail, state, replays
FROM (
    SELECT *, sum(length(payload)) OVER (ORDER BY letter_id) AS so_far, row_number() OVER (ORDER BY letter_id) AS nth
    FROM (
        SELECT * FROM dead_letter
        WHERE state = 'replay' AND ('+' = ANY (%(areas)s) OR split_part(topic, '/', 3) = ANY (%(areas)s))
        ORDER BY letter_id LIMIT %(limit)s
    ) AS asked
) AS counted
WHERE so_far <= %(limit_bytes)s OR nth = 1 ORDER BY letter_id;

-- update_status: What a device last said of itself; the last known offset of its clock stays.
UPDATE device SET status = %(status)s, status_received = to_timestamp(%(received_s)s),
    clock_offset_s = coalesce(%(clock_offset_s)s, clock_offset_s)
WHERE device_id = %(device_id)s
    AND (status_received IS NULL OR status_received <= to_timestamp(%(received_s)s));

-- insert_due: Hours whose rollups are out of date.
INSERT INTO rollup_due (series_id, hour)
SELECT series_id, to_timestamp(hour_s) FROM unnest(%s::int[], %s::bigint[]) AS n (series_id, hour_s);

-- save_checkpoint: The judge's state of a shard.
INSERT INTO detector_state (shard, version, payload) VALUES (%s, %s, %s)
ON CONFLICT (shard) DO UPDATE SET version = excluded.version, payload = excluded.payload, saved = now();

-- checkpoint: The judge's state of a shard.
SELECT version, payload FROM detector_state WHERE shard = %s;

-- committed_after: Readings of some series after a time each, in the order in which they were judged.
COPY (
    SELECT r."time", r.received, r.value, r.series_id, r.expected, r.spread, r.quality, r.rules
    FROM reading AS r
    JOIN unnest(%s::int[], %s::bigint[]) AS n (series_id, since_us)
        ON n.series_id = r.series_id AND r."time" > 'epoch'::timestamptz + n.since_us * interval '1 microsecond'
    WHERE r.rules & 576 = 0
    ORDER BY r.series_id, r."time"
) TO STDOUT (FORMAT binary);

-- readings: A series over a time, revisions applied.
COPY (
    SELECT r."time", r.received, r.value, r.series_id, r.expected, r.spread,
        coalesce(v.quality, r.quality) AS quality, coalesce(v.rules, r.rules) AS rules
    FROM reading AS r
    LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time"
    WHERE r.series_id = %s AND r."time" >= 'epoch'::timestamptz + %s * interval '1 microsecond'
        AND r."time" < 'epoch'::timestamptz + %s * interval '1 microsecond'
    ORDER BY r."time" LIMIT %s
) TO STDOUT (FORMAT binary);

-- latest: The newest reading of series, revisions applied.
SELECT series_id, extract(epoch FROM "time")::float8 AS time_s, extract(epoch FROM received)::float8 AS received_s, value,
    quality, rules, expected, spread
FROM latest_judged
WHERE (%(series_ids)s::int[] IS NULL OR series_id = ANY (%(series_ids)s))
    AND (%(received_after_s)s::float8 IS NULL OR received > to_timestamp(%(received_after_s)s))
ORDER BY series_id;

-- due_in_range: Whether rollups of a series are out of date somewhere in a time.
SELECT EXISTS (
    SELECT FROM rollup_due
    WHERE series_id = %(series_id)s AND hour > to_timestamp(%(from_s)s) - interval '1 hour' AND hour < to_timestamp(%(to_s)s)
);

-- buckets_raw: Buckets from the readings themselves.
SELECT extract(epoch FROM time_bucket(make_interval(secs => %(width_s)s), "time", %(zone)s))::float8 AS time_s,
    count(*)::int AS count, (count(*) FILTER (WHERE quality <= 2))::int AS good,
    min(value) FILTER (WHERE quality <= 2) AS min, max(value) FILTER (WHERE quality <= 2) AS max,
    avg(value) FILTER (WHERE quality <= 2) AS mean
FROM reading_judged
WHERE series_id = %(series_id)s AND "time" >= to_timestamp(%(from_s)s) AND "time" < to_timestamp(%(to_s)s)
GROUP BY 1 ORDER BY 1;

-- buckets_1min: Buckets from the rollup of a minute.
SELECT extract(epoch FROM time_bucket(make_interval(secs => %(width_s)s), bucket, %(zone)s))::float8 AS time_s,
    sum(count)::int AS count, sum(good)::int AS good, min(min) AS min, max(max) AS max,
    sum(mean * good) / nullif(sum(good), 0) AS mean
FROM rollup_1min
WHERE series_id = %(series_id)s AND bucket >= to_timestamp(%(from_s)s) AND bucket < to_timestamp(%(to_s)s)
GROUP BY 1 ORDER BY 1;

-- buckets_1h: Buckets from the rollup of an hour.
SELECT extract(epoch FROM time_bucket(make_interval(secs => %(width_s)s), bucket, %(zone)s))::float8 AS time_s,
    sum(count)::int AS count, sum(good)::int AS good, min(min) AS min, max(max) AS max,
    sum(mean * good) / nullif(sum(good), 0) AS mean
FROM rollup_1h
WHERE series_id = %(series_id)s AND bucket >= to_timestamp(%(from_s)s) AND bucket < to_timestamp(%(to_s)s)
GROUP BY 1 ORDER BY 1;

-- anomalies: Anomalies by filter, newest start first.
SELECT anomaly_id, revision, subject, site_id, series_id, device_id, detector, version,
    extract(epoch FROM start)::float8 AS start_s, extract(epoch FROM "end")::float8 AS end_s,
    extract(epoch FROM peak)::float8 AS peak_s, observed, expected, spread, score, severity, n_readings, state,
    reason_en, reason_zh, evidence
FROM anomaly
WHERE (%(anomaly_id)s::bigint IS NULL OR anomaly_id = %(anomaly_id)s)
    AND (%(site_ids)s::text[] IS NULL OR site_id = ANY (%(site_ids)s))
    AND (%(series_ids)s::int[] IS NULL OR series_id = ANY (%(series_ids)s))
    AND (%(detectors)s::text[] IS NULL OR detector = ANY (%(detectors)s))
    AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
    AND severity >= %(severity_min)s
    AND (%(from_s)s::float8 IS NULL OR "end" IS NULL OR "end" > to_timestamp(%(from_s)s))
    AND (%(to_s)s::float8 IS NULL OR start < to_timestamp(%(to_s)s))
    AND (%(after_us)s::bigint IS NULL
        OR (start, anomaly_id) < ('epoch'::timestamptz + %(after_us)s * interval '1 microsecond', %(after_id)s))
ORDER BY start DESC, anomaly_id DESC LIMIT %(limit)s;

-- anomalies_changed: Anomalies changed after a revision, oldest change first.
SELECT anomaly_id, revision, subject, site_id, series_id, device_id, detector, version,
    extract(epoch FROM start)::float8 AS start_s, extract(epoch FROM "end")::float8 AS end_s,
    extract(epoch FROM peak)::float8 AS peak_s, observed, expected, spread, score, severity, n_readings, state,
    reason_en, reason_zh, evidence
FROM anomaly WHERE revision > %s ORDER BY revision LIMIT %s;

-- dead_letters: Dead letters, newest first.
SELECT letter_id, extract(epoch FROM received)::float8 AS received_s, topic,
    CASE WHEN %(whole)s THEN payload ELSE '' END AS payload, length(payload) AS size_bytes, content_type, properties,
    reason, detail, state, replays
FROM dead_letter
WHERE (%(ids)s::bigint[] IS NULL OR letter_id = ANY (%(ids)s)) AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(device)s::text IS NULL OR split_part(topic, '/', 4) = %(device)s)
    AND (%(received_before_s)s::float8 IS NULL OR received < to_timestamp(%(received_before_s)s))
    AND (%(before_id)s::bigint IS NULL OR letter_id < %(before_id)s)
ORDER BY letter_id DESC LIMIT %(limit)s;

-- statuses: What devices last said of themselves.
SELECT device_id, extract(epoch FROM status_received)::float8 AS received_s, status, clock_offset_s
FROM device WHERE status IS NOT NULL ORDER BY device_id;

-- activity: When each device was last heard.
SELECT d.device_id, d.area_id, min(s.site_id) AS site_id, min(s.interval_s) AS interval_s,
    extract(epoch FROM max(l."time"))::float8 AS measured_s, extract(epoch FROM max(l.received))::float8 AS received_s
FROM device AS d
JOIN channel AS c USING (device_id)
JOIN series AS s USING (series_id)
LEFT JOIN latest AS l USING (series_id)
GROUP BY d.device_id ORDER BY d.device_id;

-- health: What the database holds.
SELECT (SELECT count(*) FROM reading) AS readings,
    (SELECT count(*) FROM anomaly WHERE state = 'open') AS open_anomalies,
    (SELECT count(*) FROM dead_letter) AS dead_letters,
    (SELECT count(*) FROM rollup_due) AS rollups_due,
    (SELECT count(*) FROM rejudge_due) AS rejudge_due,
    (SELECT extract(epoch FROM max(received))::float8 FROM latest) AS newest_received_s;

-- take_due: Take some hours whose rollups are out of date.
DELETE FROM rollup_due WHERE ctid = ANY (
    ARRAY(SELECT ctid FROM rollup_due LIMIT %s FOR UPDATE SKIP LOCKED)
) RETURNING series_id, hour;

-- refresh_1min: Recompute the minutes of some hours.
INSERT INTO rollup_1min (series_id, bucket, count, good, min, max, mean)
SELECT r.series_id, time_bucket(interval '1 minute', r."time") AS bucket, count(*), count(*) FILTER (WHERE r.quality <= 2),
    min(r.value) FILTER (WHERE r.quality <= 2), max(r.value) FILTER (WHERE r.quality <= 2),
    avg(r.value) FILTER (WHERE r.quality <= 2)
FROM unnest(%s::int[], %s::timestamptz[]) AS due (series_id, hour)
JOIN reading_judged AS r
    ON r.series_id = due.series_id AND r."time" >= due.hour AND r."time" < due.hour + interval '1 hour'
GROUP BY 1, 2
ON CONFLICT (series_id, bucket) DO UPDATE SET count = excluded.count, good = excluded.good, min = excluded.min,
    max = excluded.max, mean = excluded.mean;

-- refresh_1h: Recompute some hours.
INSERT INTO rollup_1h (series_id, bucket, count, good, min, max, mean)
SELECT r.series_id, due.hour AS bucket, count(*), count(*) FILTER (WHERE r.quality <= 2),
    min(r.value) FILTER (WHERE r.quality <= 2), max(r.value) FILTER (WHERE r.quality <= 2),
    avg(r.value) FILTER (WHERE r.quality <= 2)
FROM unnest(%s::int[], %s::timestamptz[]) AS due (series_id, hour)
JOIN reading_judged AS r
    ON r.series_id = due.series_id AND r."time" >= due.hour AND r."time" < due.hour + interval '1 hour'
GROUP BY 1, 2
ON CONFLICT (series_id, bucket) DO UPDATE SET count = excluded.count, good = excluded.good, min = excluded.min,
    max = excluded.max, mean = excluded.mean;

-- late_due: Series with late readings that are to be judged again now, those that wait longest first.
SELECT series_id, extract(epoch FROM since)::float8 AS since_s, extract(epoch FROM until)::float8 AS until_s, readings
FROM rejudge_due WHERE due <= now() ORDER BY due, series_id LIMIT %s;

-- lock_late: The late readings of a series if none came since they were read; held until this transaction ends.
SELECT 1 FROM rejudge_due WHERE series_id = %(series_id)s AND readings = %(readings)s AND due <= now() FOR UPDATE;

-- late_done: A series is judged again.
DELETE FROM rejudge_due WHERE series_id = %(series_id)s;

-- late_again: A series is judged again, and will be once more.
UPDATE rejudge_due SET due = now() + make_interval(secs => %(again_s)s) WHERE series_id = %(series_id)s;

-- anomaly_exists: Whether there is such an anomaly.
SELECT 1 FROM anomaly WHERE anomaly_id = %s;

-- insert_feedback: What somebody says of an anomaly.
INSERT INTO feedback (anomaly_id, verdict, who, note) VALUES (%(anomaly_id)s, %(verdict)s, %(who)s, %(note)s);

-- withdraw_feedback: What was said of an anomaly stands no longer.
UPDATE feedback SET withdrawn = now(), withdrawn_by = %(who)s, withdrawn_note = %(note)s
WHERE anomaly_id = %(anomaly_id)s AND withdrawn IS NULL;

-- feedback: What was said of an anomaly, or of a series' anomalies, oldest first.
SELECT f.feedback_id, f.anomaly_id, a.series_id, f.verdict, f.who, f.note, extract(epoch FROM f."at")::float8 AS at_s,
    extract(epoch FROM f.withdrawn)::float8 AS withdrawn_s, f.withdrawn_by, f.withdrawn_note
FROM feedback AS f JOIN anomaly AS a USING (anomaly_id)
WHERE (%(anomaly_id)s::bigint IS NULL OR anomaly_id = %(anomaly_id)s)
    AND (%(series_id)s::int IS NULL OR a.series_id = %(series_id)s)
ORDER BY feedback_id;

-- verdicts: The verdicts that stand on some detectors' anomalies, counted by series.
SELECT a.series_id, (count(*) FILTER (WHERE f.verdict = 'false-alarm'))::int,
    (count(*) FILTER (WHERE f.verdict = 'confirmed'))::int
FROM feedback AS f JOIN anomaly AS a USING (anomaly_id)
WHERE f.withdrawn IS NULL AND a.series_id IS NOT NULL AND a.detector = ANY (%s)
GROUP BY a.series_id;
