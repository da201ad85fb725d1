-- 0010 pre: rollups of four widths, what is out of date of them, and how far back things are kept.

-- The old rollups have no sums: all that they know is rolled up anew.
ALTER TABLE rollup_due RENAME COLUMN hour TO since;
ALTER TABLE rollup_due ADD COLUMN until timestamptz;
UPDATE rollup_due SET until = since + interval '1 hour';
ALTER TABLE rollup_due ALTER COLUMN until SET NOT NULL;
INSERT INTO rollup_due (series_id, since, until)
SELECT series_id, min(bucket), max(bucket) + interval '1 hour'
FROM rollup_1h GROUP BY series_id, date_trunc('week', bucket, 'UTC');
DROP SCHEMA IF EXISTS walled CASCADE;  -- made again by 0015, when all tables are there
DROP VIEW rollup_1min_view, rollup_1h_view;
DROP TABLE rollup_1min, rollup_1h;

-- count: all readings; good: those with flag 1 or 2, and over them min, max and total (their sum).
-- judged: those with an expected value, and over them the sums of expected and spread; flagged: the highest value of flag 3 or 4.
-- weight, weighted: of a speed that is good, the sums of the flow at the same time and of speed times flow.
CREATE TABLE rollup_1min (
    bucket timestamptz NOT NULL,
    min double precision,
    max double precision,
    total double precision,
    expected double precision,
    spread double precision,
    flagged double precision,
    weight double precision,
    weighted double precision,
    series_id integer NOT NULL,
    count integer NOT NULL,
    good integer NOT NULL,
    judged integer NOT NULL,
    PRIMARY KEY (series_id, bucket)
) WITH (fillfactor = 90);
CREATE TABLE rollup_15min (LIKE rollup_1min INCLUDING ALL) WITH (fillfactor = 90);
CREATE TABLE rollup_1h (LIKE rollup_1min INCLUDING ALL) WITH (fillfactor = 90);
CREATE TABLE rollup_1day (LIKE rollup_1min INCLUDING ALL) WITH (fillfactor = 90);

-- Since when readings and rollups are kept; without a row, all are. What is older is never rolled up again.
CREATE TABLE retention (
    what text PRIMARY KEY CHECK (what IN ('reading', 'rollup_1min', 'rollup_15min', 'rollup_1h', 'rollup_1day')),
    since timestamptz NOT NULL
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable(name::regclass, 'bucket', chunk_time_interval => width, create_default_indexes => false)
        FROM (VALUES ('rollup_1min', interval '7 days'), ('rollup_15min', interval '28 days'),
            ('rollup_1h', interval '91 days'), ('rollup_1day', interval '3640 days')) AS made (name, width);
    END IF;
END
$$;

-- A speed series and the flow series of its site.
CREATE VIEW flow_of_speed AS
SELECT speed.series_id, flow.series_id AS flow_id
FROM series AS speed JOIN series AS flow ON flow.site_id = speed.site_id AND flow.quantity = 'traffic_flow'
WHERE speed.quantity = 'traffic_speed';

-- Each reading as a rollup of its own; it has no weight.
CREATE VIEW reading_as_rollup AS
SELECT
    r.series_id, r."time" AS bucket, 1 AS count,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 THEN 1 ELSE 0 END AS good,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 THEN r.value END AS min,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 THEN r.value END AS max,
    CASE WHEN coalesce(v.quality, r.quality) <= 2 THEN r.value END AS total,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN 1 ELSE 0 END AS judged,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN r.expected::double precision END AS expected,
    CASE WHEN r.expected <> 'NaN' AND r.spread <> 'NaN' THEN r.spread::double precision END AS spread,
    CASE WHEN coalesce(v.quality, r.quality) IN (3, 4) THEN r.value END AS flagged,
    NULL::double precision AS weight, NULL::double precision AS weighted
FROM reading AS r
LEFT JOIN flag_revision AS v ON v.series_id = r.series_id AND v."time" = r."time";

CREATE VIEW rollup_1min_view AS
SELECT series_id, bucket, count, good, min, max, total / nullif(good, 0) AS mean, weighted / nullif(weight, 0) AS weighted_mean,
    total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1min;
CREATE VIEW rollup_15min_view AS
SELECT series_id, bucket, count, good, min, max, total / nullif(good, 0) AS mean, weighted / nullif(weight, 0) AS weighted_mean,
    total, judged, expected, spread, flagged, weight, weighted
FROM rollup_15min;
CREATE VIEW rollup_1h_view AS
SELECT series_id, bucket, count, good, min, max, total / nullif(good, 0) AS mean, weighted / nullif(weight, 0) AS weighted_mean,
    total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1h;
CREATE VIEW rollup_1day_view AS
SELECT series_id, bucket, count, good, min, max, total / nullif(good, 0) AS mean, weighted / nullif(weight, 0) AS weighted_mean,
    total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1day;

-- All widths under one name: with a constant width_s the planner leaves the other branches out. 0 is the readings;
-- 60 is minutes of what is measured more often, else the readings.
CREATE VIEW rollup_view AS
SELECT 0 AS width_s, series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM reading_as_rollup
UNION ALL
SELECT 60, r.series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM reading_as_rollup AS r JOIN series AS s ON s.series_id = r.series_id AND s.interval_s >= 60
UNION ALL
SELECT 60, series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1min
UNION ALL
SELECT 900, series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM rollup_15min
UNION ALL
SELECT 3600, series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1h
UNION ALL
SELECT 86400, series_id, bucket, count, good, min, max, total, judged, expected, spread, flagged, weight, weighted
FROM rollup_1day;

-- The width to draw from where points lie so far apart: no wider than four of them, as wide as it goes.
CREATE FUNCTION rollup_width(interval_ms bigint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN interval_ms >= 21600000 THEN 86400
    WHEN interval_ms >= 900000 THEN 3600
    WHEN interval_ms >= 225000 THEN 900
    WHEN interval_ms >= 15000 THEN 60
    ELSE 0
END;

-- When the point of a bucket begins; a local day stays one, for it begins at no multiple of anything.
CREATE FUNCTION rollup_time(bucket timestamptz, interval_ms bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN interval_ms >= 21600000 THEN bucket
    ELSE date_bin(
        make_interval(secs => greatest(interval_ms / 1000.0, rollup_width(interval_ms), 1)::double precision),
        bucket, timestamptz '2000-01-03 00:00:00+00')
END;

-- A series that is measured more often than before gets its minutes.
CREATE FUNCTION rollup_again() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO rollup_due (series_id, since, until)
    SELECT NEW.series_id, min(bucket), max(bucket) + interval '1 hour'
    FROM rollup_1h WHERE series_id = NEW.series_id GROUP BY date_trunc('week', bucket, 'UTC');
    RETURN NULL;
END
$$;
CREATE TRIGGER rollup_again AFTER UPDATE OF interval_s ON series
FOR EACH ROW WHEN (NEW.interval_s < 60 AND OLD.interval_s >= 60) EXECUTE FUNCTION rollup_again();

-- Let go of what is older, but of nothing that waits to be rolled up: whoever commits readings is waited for.
CREATE FUNCTION keep_since(kind text, wanted timestamptz, zone text) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    kept timestamptz := (SELECT since FROM retention WHERE what = kind);
BEGIN
    wanted := date_trunc('day', wanted, zone);
    IF kept >= wanted THEN
        RETURN kept;
    END IF;
    LOCK TABLE rollup_due IN SHARE MODE;
    wanted := least(wanted, (SELECT date_trunc('day', min(since), zone) FROM rollup_due));
    INSERT INTO retention AS r (what, since) VALUES (kind, wanted)
    ON CONFLICT (what) DO UPDATE SET since = greatest(r.since, excluded.since)
    RETURNING since INTO kept;
    RETURN kept;
END
$$;

-- Drop what retention lets go of: whole chunks with TimescaleDB, else some rows at a time. Returns how many.
CREATE FUNCTION forget(kind text, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    before timestamptz := (SELECT since FROM retention WHERE what = kind);
    moment text := CASE kind WHEN 'reading' THEN 'time' ELSE 'bucket' END;
    gone bigint;
BEGIN
    IF before IS NULL THEN
        RETURN 0;
    END IF;
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        gone := (SELECT count(*) FROM drop_chunks(kind::regclass, older_than => before));
    ELSE
        EXECUTE format($delete$
            DELETE FROM %1$I WHERE ctid = ANY (ARRAY(
                SELECT old.place FROM series AS s CROSS JOIN LATERAL (
                    SELECT ctid AS place FROM %1$I WHERE series_id = s.series_id AND %2$I < $1 LIMIT $2
                ) AS old LIMIT $2))
            $delete$, kind, moment) USING before, most;
        GET DIAGNOSTICS gone = ROW_COUNT;
    END IF;
    IF kind = 'reading' THEN
        DELETE FROM flag_revision WHERE "time" < before AND gone = 0;
    END IF;
    RETURN gone;
END
$$;

-- Compress whole chunks that are older, some at a time; TimescaleDB Community only. Returns how many.
CREATE FUNCTION compress_before(kind text, before timestamptz, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    moment text := CASE kind WHEN 'reading' THEN 'time' ELSE 'bucket' END;
    place regclass;
    done bigint := 0;
BEGIN
    IF coalesce(current_setting('timescaledb.license', true), '') <> 'timescale' THEN
        RETURN 0;
    END IF;
    IF NOT (SELECT compression_enabled FROM timescaledb_information.hypertables
            WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = kind::regclass) THEN
        EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L,'
            ' timescaledb.compress_orderby = %L)', kind, 'series_id', moment);
    END IF;
    FOR place IN
        SELECT format('%I.%I', chunk_schema, chunk_name)::regclass FROM timescaledb_information.chunks
        WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = kind::regclass
            AND NOT is_compressed AND range_end <= before
        ORDER BY range_end LIMIT most
    LOOP
        PERFORM compress_chunk(place);
        done := done + 1;
    END LOOP;
    RETURN done;
END
$$;

-- Compiling a query that meets many chunks takes longer than running it; this is for Grafana's connections.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET jit = off', current_database());
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'this user may not ALTER DATABASE: turn jit off for Grafana''s user';
END
$$;

REVOKE ALL ON FUNCTION keep_since, forget, compress_before, rollup_again FROM PUBLIC;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON rollup_1min, rollup_15min, rollup_1h, rollup_1day TO towntwin_analytics;
    GRANT SELECT ON retention, flow_of_speed, reading_as_rollup TO towntwin_analytics;
    GRANT SELECT ON retention TO towntwin_gateway;
    GRANT EXECUTE ON FUNCTION keep_since, forget, compress_before TO towntwin_analytics;
    GRANT SELECT ON rollup_1min_view, rollup_15min_view, rollup_1h_view, rollup_1day_view, rollup_view
        TO towntwin_gateway, towntwin_grafana;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
