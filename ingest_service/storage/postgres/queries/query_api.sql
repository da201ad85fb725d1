-- now: The current snapshot of this database as a text: time [us], and what is committed.
(extract(epoch FROM clock_timestamp()) * 1000000)::bigint || ':' || pg_current_snapshot();

-- current_snapshot: The current snapshot.
SELECT {{now}};

-- which_database: Unique identifier of this database.
SELECT (SELECT system_identifier::text FROM pg_control_system()) || '.'
    || (SELECT oid::text FROM pg_database WHERE datname = current_database());

-- begin: Begin a transaction.
BEGIN;

-- begin_frozen: Begin a transaction with a single snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ;

-- at: A snapshot in the form in which rows are compared with it.
SELECT age(%(xmax)s::xid) AS age, to_timestamp(%(at_s)s) - interval '10 minutes' AS settled;

-- replaced_since: Rows that were current in a snapshot and were replaced since.
replaced > (SELECT settled FROM at)
    AND (age(began) < 0 OR age(began) > (SELECT age FROM at)) AND began <> ALL (%(running)s::xid[])
    AND NOT ((age(ended) < 0 OR age(ended) > (SELECT age FROM at)) AND ended <> ALL (%(running)s::xid[]));

-- verdict_columns: What a list of anomalies shows of the verdict on a sensor; compared: the number of other sensors.
anomaly_id, event_probability, cardinality(others) AS compared;

-- anomalies_now: Anomalies by filter, newest start first, each with the current snapshot.
SELECT {{anomaly_fields}}, evidence::text, event_probability, compared, (SELECT {{now}})
FROM (SELECT {{anomaly_columns}} {{filtered_anomalies}}) AS a
LEFT JOIN (SELECT {{verdict_columns}} FROM sensor_verdict) AS v USING (anomaly_id)
ORDER BY start DESC, anomaly_id DESC;

-- anomalies_then: Anomalies by filter as of a snapshot, newest start first.
WITH at AS MATERIALIZED ({{at}})
SELECT {{anomaly_fields}}, evidence::text, event_probability, compared
FROM (
    (SELECT {{anomaly_columns}} FROM anomaly
    WHERE {{anomaly_filter}}
        AND (age(xmin) < 0 OR age(xmin) > (SELECT age FROM at)) AND xmin <> ALL (%(running)s::xid[])
    ORDER BY start DESC, anomaly_id DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT {{anomaly_columns}} FROM anomaly_history
    WHERE {{anomaly_filter}} AND {{replaced_since}}
    ORDER BY start DESC, anomaly_id DESC LIMIT %(limit)s)
) AS a
LEFT JOIN (
    SELECT {{verdict_columns}} FROM sensor_verdict
    WHERE (age(xmin) < 0 OR age(xmin) > (SELECT age FROM at)) AND xmin <> ALL (%(running)s::xid[])
    UNION ALL
    SELECT {{verdict_columns}} FROM sensor_verdict_history WHERE {{replaced_since}}
) AS v USING (anomaly_id)
ORDER BY start DESC, anomaly_id DESC LIMIT %(limit)s;

-- revised_then: Revised flags as of a snapshot.
SELECT series_id, "time", quality, rules FROM flag_revision
WHERE (age(xmin) < 0 OR age(xmin) > (SELECT age FROM at)) AND xmin <> ALL (%(running)s::xid[])
UNION ALL
SELECT series_id, "time", quality, rules FROM flag_revision_history
WHERE {{replaced_since}};

-- columns: Readings as one row of array columns.
array_agg("time"), array_agg(received), array_agg(value), array_agg(expected), array_agg(spread), array_agg(quality),
    array_agg(rules);

-- judged: Readings with their newest flags.
SELECT r."time", r.received, r.value, r.series_id, r.expected, r.spread,
    coalesce(v.quality, r.quality) AS quality, coalesce(v.rules, r.rules) AS rules
FROM reading AS r;

-- of_series: Readings of a series in a time range [s]; constant bounds let the planner exclude other chunks.
r.series_id = %(series_id)s AND r."time" >= to_timestamp(%(from_s)s) AND r."time" < to_timestamp(%(to_s)s);

-- fields: Columns of a reading.
r.series_id, r."time", r.received, r.value, r.expected, r.spread, r.quality, r.rules;

-- first_of_series: Readings of a series, oldest first.
SELECT {{fields}} FROM reading_oldest_first AS r WHERE {{of_series}};

-- flagged: Selected readings with their newest flags.
SELECT r."time", r.received, r.value, r.series_id, r.expected, r.spread,
    coalesce(v.quality, r.quality) AS quality, coalesce(v.rules, r.rules) AS rules;

-- revised_of_series: Likewise for their revisions; repeated, for the planner does not push conditions into a LIMIT.
v.series_id = %(series_id)s AND v."time" >= to_timestamp(%(from_s)s) AND v."time" < to_timestamp(%(to_s)s);

-- readings_now: Readings of a series in a time range with revisions applied, as one row of columns, and the current snapshot.
SELECT {{columns}}, {{now}}
FROM (
    {{flagged}}
    FROM ({{first_of_series}} ORDER BY r."time" LIMIT %(limit)s) AS r
    LEFT JOIN flag_revision AS v ON v."time" = r."time" AND {{revised_of_series}}
    ORDER BY r."time"
) AS found;

-- readings_then: As readings_now, as of a snapshot.
SELECT {{columns}}
FROM (
    WITH at AS MATERIALIZED ({{at}})
    {{flagged}}
    FROM (
        {{first_of_series}}
            AND (age(r.xmin) < 0 OR age(r.xmin) > (SELECT age FROM at)) AND r.xmin <> ALL (%(running)s::xid[])
        ORDER BY r."time" LIMIT %(limit)s
    ) AS r
    LEFT JOIN ({{revised_then}}) AS v ON v."time" = r."time" AND {{revised_of_series}}
    ORDER BY r."time"
) AS found;

-- readings_received: As readings_then for tables without transaction ids (column store): by time of reception.
SELECT {{columns}}
FROM (
    WITH at AS MATERIALIZED ({{at}})
    {{flagged}}
    FROM (
        {{first_of_series}} AND (%(is_now)s OR r.received <= to_timestamp(%(at_s)s))
        ORDER BY r."time" LIMIT %(limit)s
    ) AS r
    LEFT JOIN ({{revised_then}}) AS v ON v."time" = r."time" AND {{revised_of_series}}
    ORDER BY r."time"
) AS found;

-- local_bucket: As bucket_of.
CASE WHEN mod(3600, %(width_s)s::int) = 0
    THEN date_bin(make_interval(secs => %(width_s)s), "time", date_trunc('hour', "time", %(zone)s))
    ELSE time_bucket(make_interval(secs => %(width_s)s), "time", %(zone)s) END;

-- in_buckets: Aggregate the readings to buckets.
SELECT extract(epoch FROM {{local_bucket}})::float8 AS time_s,
    count(*)::int AS count, (count(*) FILTER (WHERE quality <= 2 AND abs(value) <= 1e30))::int AS good,
    min(value) FILTER (WHERE quality <= 2 AND abs(value) <= 1e30) AS min, max(value) FILTER (WHERE quality <= 2 AND abs(value) <= 1e30) AS max,
    avg(value) FILTER (WHERE quality <= 2 AND abs(value) <= 1e30) AS mean
FROM known GROUP BY 1 ORDER BY 1;

-- buckets_then: Buckets from the readings as of a snapshot.
WITH at AS MATERIALIZED ({{at}}), known AS (
    {{judged}}
    LEFT JOIN ({{revised_then}}) AS v ON v.series_id = r.series_id AND v."time" = r."time"
    WHERE {{of_series}}
        AND (age(r.xmin) < 0 OR age(r.xmin) > (SELECT age FROM at)) AND r.xmin <> ALL (%(running)s::xid[])
)
{{in_buckets}};

-- buckets_received: As buckets_then for tables without transaction ids (column store): by time of reception.
WITH at AS MATERIALIZED ({{at}}), known AS (
    {{judged}}
    LEFT JOIN ({{revised_then}}) AS v ON v.series_id = r.series_id AND v."time" = r."time"
    WHERE {{of_series}} AND (%(is_now)s OR r.received <= to_timestamp(%(at_s)s))
)
{{in_buckets}};
