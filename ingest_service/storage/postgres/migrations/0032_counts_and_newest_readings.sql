-- 0032 pre: newest readings, and counts of rows, with an area-restricted key: the visible series are looked up once per statement.

-- Local days of some series whose rollups are due, merged.
CREATE FUNCTION rollup_days_due(ids integer[], zone text)
RETURNS TABLE (series_id integer, since timestamptz, until timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT m.series_id, lower(m.span), upper(m.span) FROM (
        SELECT d.series_id, unnest(range_agg(tstzrange(
            date_trunc('day', d.since, zone),
            ((date_trunc('day', d.until - interval '1 microsecond', zone) AT TIME ZONE zone) + interval '1 day') AT TIME ZONE zone
        ))) AS span
        FROM rollup_due AS d WHERE d.series_id = ANY (ids) GROUP BY d.series_id
    ) AS m OFFSET 0  -- bounds are computed once per span, not once per comparison
$$;

-- Condition on the series of "r" that selects some ids, which are $1; none if they are all of them: without it, a scan of all
-- daily rollups takes half the time.
CREATE FUNCTION series_condition(ids integer[]) RETURNS text LANGUAGE plpgsql STABLE
SET plan_cache_mode TO force_generic_plan AS $$
BEGIN
    IF cardinality(ids) < (SELECT count(*) FROM series)
        OR EXISTS (SELECT s.series_id FROM series AS s EXCEPT SELECT unnest(ids))
    THEN
        RETURN 'r.series_id = ANY ($1)';
    END IF;
    RETURN 'true';
END
$$;

-- Number of readings per series on days whose rollups are due, from a time on. Series with the same days are counted together by
-- a plan for these days: a plan for any day would search every chunk once for each series.
CREATE FUNCTION reading_counts_of_days_due(ids integer[], kept timestamptz, zone text)
RETURNS TABLE (series_id integer, readings bigint)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED AS $$
DECLARE
    due record;
BEGIN
    FOR due IN
        SELECT greatest(d.since, kept) AS since, d.until, array_agg(d.series_id) AS ids
        FROM rollup_days_due(ids, zone) AS d WHERE d.until > kept GROUP BY 1, 2
    LOOP
        RETURN QUERY EXECUTE 'SELECT r.series_id, count(*) FROM reading AS r '
            'WHERE r.series_id = ANY ($1) AND r."time" >= $2 AND r."time" < $3 GROUP BY r.series_id'
            USING due.ids, due.since, due.until;
    END LOOP;
END
$$;

-- Number of readings per series, exactly, in parts that have to be added: whole days from the rollups; days whose rollup is due,
-- and readings older than the retention limit, which are not rolled up any more, are counted from the readings. In restricted
-- transactions the function of this name in the schema "walled" replaces it.
CREATE FUNCTION reading_counts(ids integer[], zone text) RETURNS TABLE (series_id integer, readings bigint)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED AS $$
DECLARE
    kept timestamptz := (SELECT coalesce(max(t.since), '-infinity') FROM retention AS t);
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT r.series_id, sum(r.count)::bigint FROM rollup_1day AS r WHERE %s AND r.bucket >= $2 AND NOT EXISTS ('
        'SELECT FROM rollup_days_due($1, $3) AS d WHERE d.series_id = r.series_id AND r.bucket >= d.since AND r.bucket < d.until'
        ') GROUP BY r.series_id', series_condition(ids)
    ) USING ids, kept, zone;
    RETURN QUERY SELECT c.* FROM reading_counts_of_days_due(ids, kept, zone) AS c;
    IF kept > '-infinity' THEN
        RETURN QUERY EXECUTE 'SELECT r.series_id, count(*) FROM reading AS r '
            'WHERE r.series_id = ANY ($1) AND r."time" < $2 GROUP BY r.series_id' USING ids, kept;
    END IF;
END
$$;

-- Row counts for the platform's health: of some areas, or of everything. Likewise replaced.
CREATE FUNCTION health_counts(areas text[], zone text)
RETURNS TABLE (
    readings bigint, open_anomalies bigint, dead_letters bigint, rollups_due integer, rejudge_due bigint,
    newest_received timestamptz
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET plan_cache_mode TO force_generic_plan AS $$
DECLARE
    ids integer[] := ARRAY(
        SELECT s.series_id FROM series AS s JOIN site AS t USING (site_id) WHERE areas IS NULL OR t.area_id = ANY (areas)
    );
    kept timestamptz := coalesce((SELECT t.since FROM retention AS t WHERE t.what = 'reading'), '-infinity');
    rolled_up bigint;
BEGIN
    EXECUTE format(
        'SELECT coalesce(sum(r.count), 0)::bigint FROM rollup_1day AS r WHERE %s AND r.bucket >= $2 AND NOT EXISTS ('
        'SELECT FROM rollup_days_due($1, $3) AS d WHERE d.series_id = r.series_id AND r.bucket >= d.since AND r.bucket < d.until'
        ')', series_condition(ids)
    ) INTO rolled_up USING ids, kept, zone;
    RETURN QUERY SELECT
        rolled_up + (
            SELECT coalesce(sum(c.readings), 0)::bigint FROM reading_counts_of_days_due(ids, kept, zone) AS c
        ),
        CASE WHEN areas IS NULL THEN (SELECT count(*) FROM anomaly AS a WHERE a.state = 'open') ELSE (
            SELECT count(*) FROM anomaly AS a JOIN site AS t USING (site_id) WHERE a.state = 'open' AND t.area_id = ANY (areas)
        ) END,
        CASE WHEN areas IS NULL THEN (SELECT count(*) FROM dead_letter)
            ELSE (SELECT count(*) FROM dead_letter AS l WHERE split_part(l.topic, '/', 3) = ANY (areas)) END,
        (
            SELECT coalesce(ceil(sum(extract(epoch FROM d.until - d.since)) / 3600), 0)::integer FROM rollup_due AS d
            WHERE d.series_id IN (SELECT unnest(ids))
        ),
        (SELECT count(*) FROM rejudge_due AS d WHERE d.series_id IN (SELECT unnest(ids))),
        (SELECT max(l.received) FROM latest AS l WHERE l.series_id IN (SELECT unnest(ids)));
END
$$;

-- The newest reading of some series, or of all, with its newest flag, if it was received after a time. Likewise replaced.
CREATE FUNCTION latest_readings(ids integer[], received_after timestamptz)
RETURNS TABLE (
    series_id integer, "time" timestamptz, received timestamptz, value double precision, quality smallint, rules integer,
    expected real, spread real
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET plan_cache_mode TO force_generic_plan AS $$
BEGIN
    RETURN QUERY SELECT l.series_id, l."time", l.received, l.value, l.quality, l.rules::integer, l.expected, l.spread
    FROM latest_judged AS l
    WHERE l.series_id = ANY (coalesce(ids, ARRAY(SELECT s.series_id FROM series AS s)))
        AND (received_after IS NULL OR l.received > received_after);
END
$$;

-- The functions of these names in the schema "walled", for those series and areas that the scope includes: they are
-- looked up once, and the rows are read without a barrier in between. Of the caller, nothing but the ids gets inside.
CREATE PROCEDURE wall_functions() LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
    definer text := 'LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path TO %1$I, pg_temp '
        'SET plan_cache_mode TO force_generic_plan AS $body$ ';
BEGIN
    EXECUTE format('CREATE FUNCTION walled.series_extent(ids integer[]) RETURNS TABLE (series_id integer, '
        '"first" timestamptz, first_received timestamptz, "last" timestamptz, last_received timestamptz) ' || definer || 'BEGIN '
        'RETURN QUERY SELECT e.* FROM %1$I.series_extent(ARRAY(SELECT unnest(ids) INTERSECT SELECT %1$I.series_seen())) AS e; '
        'END $body$', home);
    EXECUTE format('CREATE FUNCTION walled.reading_counts(ids integer[], zone text) '
        'RETURNS TABLE (series_id integer, readings bigint) ' || definer || 'BEGIN RETURN QUERY SELECT c.* FROM '
        '%1$I.reading_counts(ARRAY(SELECT unnest(ids) INTERSECT SELECT %1$I.series_seen()), zone) AS c; '
        'END $body$', home);
    EXECUTE format('CREATE FUNCTION walled.latest_readings(ids integer[], received_after timestamptz) '
        'RETURNS TABLE (series_id integer, "time" timestamptz, received timestamptz, value double precision, quality smallint, '
        'rules integer, expected real, spread real) ' || definer || 'BEGIN '
        'ids := ARRAY(SELECT s.id FROM %1$I.series_seen() AS s (id) WHERE ids IS NULL OR s.id IN (SELECT unnest(ids))); '
        'RETURN QUERY SELECT l.* FROM %1$I.latest_readings(ids, received_after) AS l; '
        'END $body$', home);
    EXECUTE format('CREATE FUNCTION walled.health_counts(areas text[], zone text) '
        'RETURNS TABLE (readings bigint, open_anomalies bigint, dead_letters bigint, rollups_due integer, rejudge_due bigint, '
        'newest_received timestamptz) ' || definer || 'BEGIN '
        'IF NOT %1$I.wall_is_open() THEN '
        'areas := ARRAY(SELECT a.id FROM %1$I.area_seen() AS a (id) WHERE areas IS NULL OR a.id = ANY (areas)); '
        'END IF; '
        'RETURN QUERY SELECT h.* FROM %1$I.health_counts(areas, zone) AS h; '
        'END $body$', home);
END
$$;

CREATE OR REPLACE PROCEDURE wall_views() LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
    path text := current_setting('search_path');
    base text;
    kind text;
    copied text[];
    rows text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT * FROM %2$I.%1$I '
        'WHERE (SELECT %2$I.wall_is_open()) OR series_id IN (SELECT %2$I.series_seen())';
    -- Readings are always read by series: an array and "series_id = 5" are merged before an index is read, so that no row is
    -- checked by itself. (Of everybody, series_seen() returns every series.)
    readings text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT *%3$s FROM %2$I.reading '
        'WHERE series_id = ANY (ARRAY(SELECT %2$I.series_seen())) %4$s';
    -- A few rows of each of many series: an array would be evaluated once more for each of them, and for each chunk.
    few text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT *%3$s FROM %2$I.reading '
        'WHERE (SELECT %2$I.wall_is_open()) OR series_id IN (SELECT %2$I.series_seen()) %4$s';
    transaction text;
BEGIN
    DROP SCHEMA IF EXISTS walled CASCADE;
    CALL order_views();
    CREATE SCHEMA walled;
    GRANT USAGE ON SCHEMA walled TO towntwin_gateway;
    FOR base, kind IN
        SELECT relname, relkind FROM pg_class
        WHERE relnamespace = home::regnamespace AND relkind IN ('r', 'p', 'v') AND relname ~ '^(reading|rollup_[0-9]+[a-z]+)$'
    LOOP
        transaction := CASE WHEN base = 'reading' AND kind <> 'v' THEN ', xmin' ELSE '' END;  -- for answers as of old
        IF base = 'reading' THEN
            EXECUTE format(readings, base, home, transaction, '');
            EXECUTE format(readings, 'reading_oldest_first', home, transaction, 'ORDER BY "time"');
            EXECUTE format(readings, 'reading_newest_first', home, transaction, 'ORDER BY "time" DESC');
            EXECUTE format(few, 'reading_oldest_few', home, transaction, 'ORDER BY "time"');
            EXECUTE format(few, 'reading_newest_few', home, transaction, 'ORDER BY "time" DESC');
        ELSE
            EXECUTE format(rows, base, home);
        END IF;
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, base);
    END LOOP;
    SELECT array_agg(ARRAY[relname::text, pg_get_viewdef(oid)] ORDER BY oid) INTO copied FROM pg_class
    WHERE relnamespace = home::regnamespace AND relkind = 'v'
        AND relname ~ '(_view|_judged|^reading_as_rollup|^flow_of_speed)$';
    PERFORM set_config('search_path', 'walled, ' || path, true);
    FOR i IN 1 .. coalesce(array_length(copied, 1), 0) LOOP
        EXECUTE format('CREATE VIEW walled.%I WITH (security_invoker) AS %s', copied[i][1], copied[i][2]);
        EXECUTE format('REVOKE ALL ON %I.%I FROM towntwin_gateway', home, copied[i][1]);
    END LOOP;
    PERFORM set_config('search_path', path, true);
    CALL wall_functions();
    GRANT SELECT ON ALL TABLES IN SCHEMA walled TO towntwin_gateway;
END
$$;

DO $$
BEGIN
    IF to_regclass('walled.reading') IS NOT NULL THEN
        CALL wall_views();
    END IF;
END
$$;
