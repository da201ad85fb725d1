-- anomaly_filter: The conditions of an `AnomalyQuery`, without order and limit.
((%(anomaly_id)s::bigint IS NULL OR anomaly_id = %(anomaly_id)s)
    AND (%(site_ids)s::text[] IS NULL OR site_id = ANY (%(site_ids)s))
    AND (%(series_ids)s::int[] IS NULL OR series_id = ANY (%(series_ids)s))
    AND (%(detectors)s::text[] IS NULL OR detector = ANY (%(detectors)s))
    AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
    AND severity >= %(severity_min)s
    AND (%(from_s)s::float8 IS NULL OR "end" IS NULL OR "end" > to_timestamp(%(from_s)s))
    AND (%(to_s)s::float8 IS NULL OR start < to_timestamp(%(to_s)s))
    AND (%(after_us)s::bigint IS NULL
        OR (start, anomaly_id) < ('epoch'::timestamptz + %(after_us)s * interval '1 microsecond', %(after_id)s)));

-- count_anomalies: Number of anomalies that match a filter.
SELECT count(*) FROM anomaly WHERE {{anomaly_filter}};

-- anomalies: Anomalies by filter, newest start first.
SELECT anomaly_id, revision, subject, site_id, series_id, device_id, detector, version,
    extract(epoch FROM start)::float8 AS start_s, extract(epoch FROM "end")::float8 AS end_s,
    extract(epoch FROM peak)::float8 AS peak_s, observed, expected, spread, score, severity, n_readings, state,
    reason_en, reason_zh, evidence
FROM anomaly
WHERE {{anomaly_filter}}
ORDER BY start DESC, anomaly_id DESC LIMIT %(limit)s;

-- anomalies_changed: Anomalies changed after a revision, up to a settled one, oldest change first.
SELECT anomaly_id, revision, subject, site_id, series_id, device_id, detector, version,
    extract(epoch FROM start)::float8 AS start_s, extract(epoch FROM "end")::float8 AS end_s,
    extract(epoch FROM peak)::float8 AS peak_s, observed, expected, spread, score, severity, n_readings, state,
    reason_en, reason_zh, evidence
FROM anomaly WHERE revision > %s AND revision <= %s ORDER BY revision LIMIT %s;

-- settled_revision: Up to which revision every anomaly is committed; in a separate statement, see migration 0020.
SELECT settled_revision();

-- drawn_revision: The newest revision ever assigned.
SELECT drawn_revision();

-- newest_revision: The newest change of any anomaly, up to a settled revision.
SELECT coalesce(max(revision), 0) FROM anomaly WHERE revision <= %s;

-- anomalies_left_out: The changes after a revision that are not among the newest ones, and the start times of their anomalies.
WITH cut AS (
    SELECT revision FROM anomaly
    WHERE revision > %(after)s AND revision <= %(settled)s
    ORDER BY revision DESC OFFSET %(newest)s LIMIT 1
), old AS (
    SELECT site_id, start FROM anomaly
    WHERE revision > %(after)s AND revision <= (SELECT revision FROM cut)
    ORDER BY revision DESC LIMIT %(counted)s + 1
)
SELECT (SELECT revision FROM cut) AS revision, (SELECT count(*) FROM old) <= %(counted)s AS is_counted,
    extract(epoch FROM min(start))::float8 AS first_s, extract(epoch FROM max(start))::float8 AS last_s
FROM old WHERE site_id = ANY (%(site_ids)s::text[]);

-- anomaly_exists: Whether an anomaly exists.
SELECT 1 FROM anomaly WHERE anomaly_id = %s;

-- insert_feedback: Insert a verdict on an anomaly.
INSERT INTO feedback (anomaly_id, verdict, who, note) VALUES (%(anomaly_id)s, %(verdict)s, %(who)s, %(note)s);

-- withdraw_feedback: Withdraw the current verdict on an anomaly.
UPDATE feedback SET withdrawn = now(), withdrawn_by = %(who)s, withdrawn_note = %(note)s
WHERE anomaly_id = %(anomaly_id)s AND withdrawn IS NULL;

-- feedback: Feedback on an anomaly, or on the anomalies of a series, oldest first.
SELECT f.feedback_id, f.anomaly_id, a.series_id, f.verdict, f.who, f.note, extract(epoch FROM f."at")::float8 AS at_s,
    extract(epoch FROM f.withdrawn)::float8 AS withdrawn_s, f.withdrawn_by, f.withdrawn_note
FROM feedback AS f JOIN anomaly AS a USING (anomaly_id)
WHERE (%(anomaly_id)s::bigint IS NULL OR anomaly_id = %(anomaly_id)s)
    AND (%(series_id)s::int IS NULL OR a.series_id = %(series_id)s)
ORDER BY feedback_id;

-- verdicts: Current verdicts on the anomalies of some detectors, counted by series.
SELECT a.series_id, (count(*) FILTER (WHERE f.verdict = 'false-alarm'))::int,
    (count(*) FILTER (WHERE f.verdict = 'confirmed'))::int
FROM feedback AS f JOIN anomaly AS a USING (anomaly_id)
WHERE f.withdrawn IS NULL AND a.series_id IS NOT NULL AND a.detector = ANY (%s)
GROUP BY a.series_id;
