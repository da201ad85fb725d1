-- newest_measured: The newest measured time.
SELECT extract(epoch FROM max("time"))::float8 FROM latest;

-- newest_of_sites: The newest measured time of some sites.
SELECT extract(epoch FROM max(l."time"))::float8 FROM latest AS l JOIN series AS s USING (series_id)
WHERE s.site_id = ANY (%(site_ids)s);

-- assessed_until: The newest reading time that the assessments of a month include.
SELECT extract(epoch FROM max(data_to))::float8 FROM assessment WHERE month = %(month)s;

-- assessed_checked: Time since any month was last checked [s].
SELECT extract(epoch FROM now() - max(checked))::float8 FROM assessed_month;

-- month_fingerprint: A text that changes with any input of the assessments of a month.
SELECT concat_ws('/',
    (SELECT version FROM directory_version),
    (SELECT concat_ws(',', count(*), sum(count), sum(good), 
            sum(round((mean * (1 + series_id %% 97))::numeric, 6)), max(bucket))
        FROM rollup_1h_view WHERE bucket >= to_timestamp(%(from_s)s) AND bucket < to_timestamp(%(to_s)s)),
    (SELECT concat_ws(',', count(*), max(revision)) FROM anomaly
        WHERE start < to_timestamp(%(to_s)s) AND ("end" IS NULL OR "end" >= to_timestamp(%(from_s)s))),
    (SELECT concat_ws(',', count(*), count(withdrawn)) FROM feedback AS f JOIN anomaly AS a USING (anomaly_id)
        WHERE a.start < to_timestamp(%(to_s)s) AND (a."end" IS NULL OR a."end" >= to_timestamp(%(from_s)s))),
    (SELECT concat_ws(',', count(*), max(revision)) FROM incident
        WHERE opened < to_timestamp(%(to_s)s) AND (closed IS NULL OR closed >= to_timestamp(%(from_s)s))),
    (SELECT concat_ws(',', count(*), count(d.met), max(d.met), max(d.due)) FROM incident_deadline AS d
        JOIN incident AS i USING (incident_id)
        WHERE i.opened >= to_timestamp(%(from_s)s) AND i.opened < to_timestamp(%(to_s)s)),
    %(made_by)s::text
);

-- assessed_fingerprint: The fingerprint that a month was last computed from.
SELECT fingerprint FROM assessed_month WHERE month = %(month)s;

-- assessed_again: Record that a month was checked and is unchanged.
UPDATE assessed_month SET checked = now() WHERE month = %(month)s;

-- assessed: Record that a month was computed.
INSERT INTO assessed_month (month, fingerprint) VALUES (%(month)s, %(fingerprint)s)
ON CONFLICT (month) DO UPDATE SET fingerprint = excluded.fingerprint, checked = now();

-- month_series: Each series in a time range: number of readings, number of good ones, their mean, and the first hour ever.
SELECT s.series_id, coalesce(sum(r.count), 0)::bigint AS count, coalesce(sum(r.good), 0)::bigint AS good,
    sum(r.mean * r.good) / nullif(sum(r.good), 0) AS mean,
    (SELECT extract(epoch FROM min(bucket))::float8 FROM rollup_1h_view AS f WHERE f.series_id = s.series_id) AS first_s
FROM series AS s
LEFT JOIN rollup_1h_view AS r
    ON r.series_id = s.series_id AND r.bucket >= to_timestamp(%(from_s)s) AND r.bucket < to_timestamp(%(to_s)s)
GROUP BY s.series_id ORDER BY s.series_id;

-- month_traffic: Hours of road sites that have a good flow and a good speed [veh/h], [km/h].
SELECT s.site_id, extract(epoch FROM v.bucket)::float8 AS time_s, q.mean AS flow, v.mean AS speed
FROM series AS s
JOIN rollup_1h_view AS v USING (series_id)
JOIN series AS other ON other.site_id = s.site_id AND other.quantity = 'traffic_flow'
JOIN rollup_1h_view AS q ON q.series_id = other.series_id AND q.bucket = v.bucket
WHERE s.quantity = 'traffic_speed' AND v.good > 0 AND q.good > 0
    AND v.bucket >= to_timestamp(%(from_s)s) AND v.bucket < to_timestamp(%(to_s)s)
ORDER BY s.site_id, v.bucket;

-- month_anomalies: Anomalies that started in a time range, with the time of the first response: feedback, or a step of their incident.
SELECT a.site_id, a.detector, a.severity, extract(epoch FROM a.start)::float8 AS start_s,
    extract(epoch FROM a."end")::float8 AS end_s,
    extract(epoch FROM least(
        (SELECT min(f."at") FROM feedback AS f WHERE f.anomaly_id = a.anomaly_id AND f.withdrawn IS NULL),
        i.acknowledged, i.filed, i.dispatched))::float8 AS said_s
FROM anomaly AS a
LEFT JOIN incident_anomaly AS m ON m.anomaly_id = a.anomaly_id AND m.role <> 'suppressed'
LEFT JOIN incident AS i USING (incident_id)
WHERE a.state <> 'withdrawn' AND a.start >= to_timestamp(%(from_s)s) AND a.start < to_timestamp(%(to_s)s)
ORDER BY a.site_id, a.start, a.anomaly_id;

-- month_incidents: Incidents opened in a time range, without those merged into others: times of their steps.
SELECT incident_id, area_id, extract(epoch FROM opened)::float8 AS opened_s,
    extract(epoch FROM acknowledged)::float8 AS acknowledged_s, extract(epoch FROM dispatched)::float8 AS dispatched_s,
    extract(epoch FROM reported)::float8 AS reported_s, extract(epoch FROM closed)::float8 AS closed_s
FROM incident
WHERE merged_into IS NULL AND opened >= to_timestamp(%(from_s)s) AND opened < to_timestamp(%(to_s)s)
ORDER BY incident_id;

-- month_deadlines: The deadlines of incidents opened in a time range, without those merged into others.
SELECT d.incident_id, i.area_id, d.phase, extract(epoch FROM d.due)::float8 AS due_s,
    extract(epoch FROM d.met)::float8 AS met_s
FROM incident_deadline AS d
JOIN incident AS i USING (incident_id)
WHERE i.merged_into IS NULL AND i.opened >= to_timestamp(%(from_s)s) AND i.opened < to_timestamp(%(to_s)s)
ORDER BY d.incident_id, d.phase;

-- days_of_series: Mean of the good readings of some series by local day.
SELECT series_id, extract(day FROM bucket AT TIME ZONE %(zone)s)::int AS day,
    sum(mean * good) / nullif(sum(good), 0) AS mean
FROM rollup_1h_view
WHERE series_id = ANY (%(series_ids)s) AND bucket >= to_timestamp(%(from_s)s) AND bucket < to_timestamp(%(to_s)s)
GROUP BY 1, 2 HAVING sum(good) > 0 ORDER BY 1, 2;

-- forget_assessments: Delete the assessments of a month that are not among those computed now, nor of a town's platform.
DELETE FROM assessment WHERE month = %(month)s AND (kind || ' ' || subject) <> ALL (%(kept)s) AND origin IS NULL;

-- upsert_assessment: Insert or update an assessment by kind, subject and month; an unchanged one keeps its time, one of a town all.
INSERT INTO assessment AS a (kind, subject, area_id, site_id, link_id, month, value, class, target, met, items, items_of,
    detail, data_from, data_to, readings, version)
VALUES (%(kind)s, %(subject)s, %(area_id)s, %(site_id)s, %(link_id)s, %(month)s, %(value)s, %(class)s, %(target)s, %(met)s,
    %(items)s, %(items_of)s, %(detail)s, to_timestamp(%(data_from_s)s), to_timestamp(%(data_to_s)s), %(readings)s,
    %(version)s)
ON CONFLICT (kind, subject, month) DO UPDATE SET area_id = excluded.area_id, site_id = excluded.site_id,
    link_id = excluded.link_id, value = excluded.value, class = excluded.class, target = excluded.target,
    met = excluded.met, items = excluded.items, items_of = excluded.items_of, detail = excluded.detail,
    data_from = excluded.data_from, data_to = excluded.data_to, readings = excluded.readings,
    version = excluded.version, computed = now()
WHERE a.origin IS NULL AND (a.area_id, a.value, a.class, a.target, a.met, a.items, a.items_of, a.detail, a.data_from, a.data_to, a.readings,
    a.version) IS DISTINCT FROM (excluded.area_id, excluded.value, excluded.class, excluded.target, excluded.met,
    excluded.items, excluded.items_of, excluded.detail, excluded.data_from, excluded.data_to, excluded.readings,
    excluded.version);

-- assessments: Assessments by filter, newest month first, then by id.
SELECT assessment_id, kind, subject, area_id, site_id, link_id, to_char(month, 'YYYY-MM') AS month, value, class, target,
    met, items, items_of, detail, extract(epoch FROM data_from)::float8 AS data_from_s,
    extract(epoch FROM data_to)::float8 AS data_to_s, readings, version, extract(epoch FROM computed)::float8 AS computed_s
FROM assessment
WHERE (%(area_ids)s::text[] IS NULL OR area_id = ANY (%(area_ids)s))
    AND (%(site_id)s::text IS NULL OR site_id = %(site_id)s)
    AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s))
    AND (%(from_month)s::date IS NULL OR month >= %(from_month)s::date)
    AND (%(to_month)s::date IS NULL OR month <= %(to_month)s::date)
    AND (%(after_month)s::date IS NULL OR month < %(after_month)s::date
        OR (month = %(after_month)s::date AND assessment_id > %(after_id)s))
ORDER BY assessment.month DESC, assessment_id LIMIT %(limit)s;
