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

-- upsert_anomaly: Insert or update an anomaly by subject and start; an unchanged one keeps its revision, and all keep `rejudged`.
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

-- insert_due: Stretches of series whose rollups are out of date.
INSERT INTO rollup_due (series_id, since, until)
SELECT series_id, to_timestamp(since_s), to_timestamp(until_s)
FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS n (series_id, since_s, until_s);
