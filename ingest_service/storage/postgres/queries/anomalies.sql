-- anomaly_filter: The conditions of an `AnomalyQuery`, without order and limit.
((%(anomaly_id)s::bigint IS NULL OR anomaly_id = %(anomaly_id)s)
    AND (%(site_ids)s::text[] IS NULL OR site_id = ANY (%(site_ids)s))
    AND (%(series_ids)s::int[] IS NULL OR series_id = ANY (%(series_ids)s))
    AND (%(detectors)s::text[] IS NULL OR detector = ANY (%(detectors)s))
    AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
    AND severity BETWEEN %(severity_min)s AND %(severity_max)s
    AND (%(text)s::text IS NULL
        OR strpos(lower(reason_en), %(text)s) > 0 OR strpos(lower(reason_zh), %(text)s) > 0)
    AND (%(from_s)s::float8 IS NULL OR CASE WHEN "end" IS NULL THEN 'infinity' ELSE "end" END > to_timestamp(%(from_s)s))
    AND (%(to_s)s::float8 IS NULL OR start < to_timestamp(%(to_s)s))
    AND (%(after_us)s::bigint IS NULL
        OR (start, anomaly_id) < ('epoch'::timestamptz + %(after_us)s * interval '1 microsecond', %(after_id)s)));

-- anomaly_fields: The fields of `AnomalyFields`, in its order.
site_id, detector, version, state, severity, extract(epoch FROM start)::float8 AS start_s,
    extract(epoch FROM peak)::float8 AS peak_s, score, n_readings, reason_en, reason_zh, anomaly_id, series_id, device_id,
    extract(epoch FROM "end")::float8 AS end_s, observed, expected, spread;

-- anomaly_columns: Columns from which these fields are computed, with the evidence.
site_id, detector, version, state, severity, start, peak, score, n_readings, reason_en, reason_zh, anomaly_id, series_id,
    device_id, "end", observed, expected, spread, evidence;

-- filtered_anomalies: Anomalies by filter, newest start first.
FROM anomaly WHERE {{anomaly_filter}} ORDER BY start DESC, anomaly_id DESC LIMIT %(limit)s;

-- count_anomalies: Number of anomalies that match a filter.
SELECT count(*) FROM anomaly WHERE {{anomaly_filter}};

-- anomalies: Anomalies by filter, newest start first, as they are recorded.
SELECT {{anomaly_fields}}, revision, subject, evidence {{filtered_anomalies}};

-- anomalies_changed: Anomalies changed after a revision, up to a settled one, oldest change first.
SELECT {{anomaly_fields}}, revision, subject, evidence
FROM anomaly WHERE revision > %s AND revision <= %s ORDER BY revision LIMIT %s;

-- settled_revision: Up to which revision every anomaly is committed; in a separate statement, see migration 0020.
SELECT settled_revision();

-- assigned_revision: The newest revision ever assigned.
SELECT drawn_revision();

-- newest_revision: The newest change of any anomaly or incident, up to a settled revision.
WITH settled AS (SELECT %s::bigint AS revision)
SELECT greatest(
    (SELECT coalesce(max(a.revision), 0) FROM anomaly AS a WHERE a.revision <= (SELECT revision FROM settled)),
    (SELECT coalesce(max(i.revision), 0) FROM incident AS i WHERE i.revision <= (SELECT revision FROM settled)));

-- omitted_anomalies: The changes after a revision that are not among the newest ones, and the start times of their anomalies.
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

-- verdicts: Current verdicts on the anomalies of some detectors, but for those of one score, counted by series.
SELECT a.series_id, (count(*) FILTER (WHERE f.verdict = 'false-alarm'))::int,
    (count(*) FILTER (WHERE f.verdict = 'confirmed'))::int
FROM feedback AS f JOIN anomaly AS a USING (anomaly_id)
WHERE f.withdrawn IS NULL AND a.series_id IS NOT NULL AND a.detector = ANY (%s) AND a.score <> %s
GROUP BY a.series_id;
