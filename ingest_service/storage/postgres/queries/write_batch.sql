-- copy_readings: Readings that are not repeats.
COPY reading ("time", received, value, series_id, expected, spread, quality, rules) FROM STDIN (FORMAT binary);

-- staging: Temporary table for readings that may be repeats; empty after each transaction.
CREATE TEMP TABLE IF NOT EXISTS staging (LIKE reading) ON COMMIT DELETE ROWS;

-- copy_staging: Readings that may be repeats.
COPY staging ("time", received, value, series_id, expected, spread, quality, rules) FROM STDIN (FORMAT binary);

-- insert_staged: Insert the readings that are not stored yet; of repeats, the first.
INSERT INTO reading ("time", received, value, series_id, expected, spread, quality, rules)
SELECT DISTINCT ON (series_id, "time") "time", received, value, series_id, expected, spread, quality, rules
FROM staging ORDER BY series_id, "time", received, value
ON CONFLICT (series_id, "time") DO NOTHING
RETURNING series_id, (extract(epoch FROM "time") * 1000000)::bigint, rules;

-- select_conflicts: Staged readings with another value stored for the same series and time.
COPY (
    SELECT s."time", s.received, s.value, s.series_id, s.expected, s.spread, s.quality, s.rules
    FROM staging AS s JOIN reading AS r USING (series_id, "time") WHERE s.value <> r.value
) TO STDOUT (FORMAT binary);

-- first_staged: Time of the first reading that may be a repeat.
'epoch'::timestamptz + %(first_us)s * interval '1 microsecond';

-- last_staged: Likewise of the last one.
'epoch'::timestamptz + %(last_us)s * interval '1 microsecond';

-- judge_repeats: Judged repeats of stored readings that were not judged, as of a clock that was wrong, replace them. An UPDATE would decompress all readings.
WITH judged AS MATERIALIZED (
    SELECT DISTINCT ON (s.series_id, s."time") s.* FROM staging AS s JOIN reading AS r USING (series_id, "time")
    WHERE s.value = r.value AND s.received <> r.received AND s.rules & 16960 = 0 AND r.rules & 16960 <> 0
        AND r."time" BETWEEN {{first_staged}} AND {{last_staged}}
    ORDER BY s.series_id, s."time", s.received
)
INSERT INTO reading ("time", received, value, series_id, expected, spread, quality, rules)
SELECT "time", received, value, series_id, expected, spread, quality, rules FROM judged
ON CONFLICT (series_id, "time") DO UPDATE SET received = excluded.received, expected = excluded.expected,
    spread = excluded.spread, quality = excluded.quality, rules = excluded.rules
RETURNING series_id, (extract(epoch FROM "time") * 1000000)::bigint;

-- judge_latest: The newest readings of some series are as they are stored.
UPDATE latest AS l SET received = r.received, expected = r.expected, spread = r.spread, quality = r.quality, rules = r.rules
FROM reading AS r WHERE l.series_id = ANY (%(series_ids)s::int[]) AND r.series_id = l.series_id AND r."time" = l."time"
    AND r."time" BETWEEN {{first_staged}} AND {{last_staged}};

-- upsert_latest: Update the newest reading of each series; never to an older one.
INSERT INTO latest AS l (series_id, "time", received, value, expected, spread, quality, rules)
SELECT series_id, 'epoch'::timestamptz + time_us * interval '1 microsecond',
    'epoch'::timestamptz + received_us * interval '1 microsecond', value, expected, spread, quality, rules
FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::float8[], %s::real[], %s::real[], %s::smallint[], %s::smallint[])
    AS n (series_id, time_us, received_us, value, expected, spread, quality, rules)
ON CONFLICT (series_id) DO UPDATE SET "time" = excluded."time", received = excluded.received, value = excluded.value,
    expected = excluded.expected, spread = excluded.spread, quality = excluded.quality, rules = excluded.rules
WHERE excluded."time" > l."time";

-- upsert_revisions: Insert or update flags changed by later evidence.
INSERT INTO flag_revision (series_id, "time", quality, rules)
SELECT series_id, 'epoch'::timestamptz + time_us * interval '1 microsecond', quality, rules
FROM unnest(%s::int[], %s::bigint[], %s::smallint[], %s::smallint[]) AS n (series_id, time_us, quality, rules)
ON CONFLICT (series_id, "time") DO UPDATE SET quality = excluded.quality, rules = excluded.rules, revised = now();

-- kept_explanation: Of the row before, unless the new one is withdrawn or has one; with the severity that was judged now.
CASE WHEN a.evidence ? 'explained_by' AND NOT excluded.evidence ? 'explained_by' AND excluded.state <> 'withdrawn'
    THEN a.evidence -> 'explained_by' || jsonb_build_object('judged_severity', excluded.severity) END;

-- upsert_anomaly: Insert or update an anomaly by subject and start; an unchanged one keeps its revision, and all keep `rejudged` and `explained_by`.
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
    spread = excluded.spread, score = excluded.score, n_readings = excluded.n_readings, state = excluded.state,
    severity = least(excluded.severity, ({{kept_explanation}} ->> 'severity')::smallint),
    reason_en = concat(excluded.reason_en, {{kept_explanation}} ->> 'en'),
    reason_zh = concat(excluded.reason_zh, {{kept_explanation}} ->> 'zh'),
    evidence = excluded.evidence
        || CASE WHEN a.evidence ? 'rejudged' AND NOT excluded.evidence ? 'rejudged'
            THEN jsonb_build_object('rejudged', a.evidence -> 'rejudged') ELSE '{}' END
        || jsonb_strip_nulls(jsonb_build_object('explained_by', {{kept_explanation}})),
    updated = now(), revision = nextval('anomaly_revision')
WHERE (a.detector, a."end", a.peak, a.score, a.severity, a.n_readings, a.state, a.reason_en)
    IS DISTINCT FROM (excluded.detector, excluded."end", excluded.peak, excluded.score,
    least(excluded.severity, ({{kept_explanation}} ->> 'severity')::smallint), excluded.n_readings, excluded.state,
    concat(excluded.reason_en, {{kept_explanation}} ->> 'en'));

-- explain_anomaly: Replace the explanation of an anomaly, or remove it (null): severity and reasons follow from it and from what was judged.
WITH judged AS (
    SELECT anomaly_id, evidence - 'explained_by' AS evidence,
        coalesce((evidence #>> '{explained_by,judged_severity}')::smallint, severity) AS severity,
        CASE WHEN evidence ? 'explained_by' AND right(reason_en, length(evidence #>> '{explained_by,en}')) = evidence #>> '{explained_by,en}'
            THEN left(reason_en, length(reason_en) - length(evidence #>> '{explained_by,en}')) ELSE reason_en END AS reason_en,
        CASE WHEN evidence ? 'explained_by' AND right(reason_zh, length(evidence #>> '{explained_by,zh}')) = evidence #>> '{explained_by,zh}'
            THEN left(reason_zh, length(reason_zh) - length(evidence #>> '{explained_by,zh}')) ELSE reason_zh END AS reason_zh
    FROM anomaly WHERE anomaly_id = %(anomaly_id)s FOR UPDATE
)
UPDATE anomaly AS a SET severity = least(j.severity, (x.explanation ->> 'severity')::smallint),
    reason_en = concat(j.reason_en, x.explanation ->> 'en'), reason_zh = concat(j.reason_zh, x.explanation ->> 'zh'),
    evidence = j.evidence || CASE WHEN x.explanation IS NULL THEN '{}'
        ELSE jsonb_build_object('explained_by', x.explanation || jsonb_build_object('judged_severity', j.severity)) END,
    updated = now(), revision = nextval('anomaly_revision')
FROM judged AS j, (SELECT %(explanation)s::jsonb AS explanation) AS x
WHERE a.anomaly_id = j.anomaly_id
    AND (a.evidence -> 'explained_by') - 'judged_severity' IS DISTINCT FROM x.explanation;

-- insert_due: Stretches of series whose rollups are out of date.
INSERT INTO rollup_due (series_id, since, until)
SELECT series_id, to_timestamp(since_s), to_timestamp(until_s)
FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS n (series_id, since_s, until_s);
