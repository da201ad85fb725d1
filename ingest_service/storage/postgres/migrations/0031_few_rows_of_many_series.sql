-- 0031 pre: row-level security of questions about many series: the visible series are found once, not once for each of them.

-- When the readings of some series begin and end: measured and received. Behind the wall, the function of this name in the
-- schema "walled" stands in for it. The plan is kept for the session: with a chunk a week, it costs more than its execution.
CREATE FUNCTION series_extent(ids integer[])
RETURNS TABLE (series_id integer, "first" timestamptz, first_received timestamptz, "last" timestamptz, last_received timestamptz)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET plan_cache_mode TO force_generic_plan SET enable_seqscan TO off SET enable_bitmapscan TO off AS $$
BEGIN
    RETURN QUERY SELECT l.series_id, f."time", f.received, l."time", l.received
    FROM unnest(ids) AS s (id) JOIN latest AS l ON l.series_id = s.id CROSS JOIN LATERAL (
        SELECT r."time", r.received FROM reading AS r WHERE r.series_id = l.series_id ORDER BY r."time" LIMIT 1
    ) AS f;
END
$$;

-- As before, in one function each: a call of another one costs more than what either looks up.
CREATE OR REPLACE FUNCTION site_seen() RETURNS SETOF text LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SECURITY DEFINER AS $$
DECLARE
    scope text := current_setting('towntwin.area', true);
BEGIN
    IF NOT scope_is_signed() THEN
        RETURN;
    END IF;
    RETURN QUERY WITH RECURSIVE seen AS (
        SELECT a.area_id FROM area AS a WHERE scope = '*' OR a.area_id = ANY (string_to_array(scope, ','))
        UNION
        SELECT a.area_id FROM area AS a JOIN seen ON a.parent = seen.area_id
    )
    SELECT s.site_id FROM site AS s WHERE s.area_id IN (SELECT seen.area_id FROM seen);
END
$$;

CREATE OR REPLACE FUNCTION series_seen() RETURNS SETOF integer LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SECURITY DEFINER AS $$
DECLARE
    scope text := current_setting('towntwin.area', true);
BEGIN
    IF NOT scope_is_signed() THEN
        RETURN;
    END IF;
    RETURN QUERY WITH RECURSIVE seen AS (
        SELECT a.area_id FROM area AS a WHERE scope = '*' OR a.area_id = ANY (string_to_array(scope, ','))
        UNION
        SELECT a.area_id FROM area AS a JOIN seen ON a.parent = seen.area_id
    )
    SELECT s.series_id FROM site JOIN series AS s USING (site_id) WHERE site.area_id IN (SELECT seen.area_id FROM seen);
END
$$;

-- Two more views in an order, for statements that read a few rows of each of many series.
CREATE OR REPLACE PROCEDURE order_views() LANGUAGE plpgsql AS $$
DECLARE
    ending text;
    transaction text := (SELECT CASE WHEN relkind = 'v' THEN '' ELSE ', xmin' END FROM pg_class WHERE oid = 'reading'::regclass);
BEGIN
    FOREACH ending IN ARRAY ARRAY['oldest_first', 'newest_first', 'oldest_few', 'newest_few'] LOOP
        EXECUTE format('DROP VIEW IF EXISTS reading_%s', ending);
        EXECUTE format('CREATE VIEW reading_%s AS SELECT *%s FROM reading', ending, transaction);
        BEGIN
            EXECUTE format('GRANT SELECT ON reading_%s TO towntwin_ingest, towntwin_analytics', ending);
        EXCEPTION
            WHEN insufficient_privilege OR undefined_object THEN
                RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
        END;
    END LOOP;
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
    -- The function of that name in front, for those series that the scope sees: they are found once, and the readings are
    -- read without a barrier in between. Nothing of the caller gets inside but the ids.
    extents text := 'CREATE FUNCTION walled.series_extent(ids integer[]) RETURNS TABLE (series_id integer, '
        '"first" timestamptz, first_received timestamptz, "last" timestamptz, last_received timestamptz) '
        'LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path TO %1$I, pg_temp AS $body$ BEGIN '
        'RETURN QUERY SELECT e.* FROM %1$I.series_extent(ARRAY(SELECT unnest(ids) INTERSECT SELECT %1$I.series_seen())) AS e; '
        'END $body$';
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
    EXECUTE format(extents, home);
    GRANT SELECT ON ALL TABLES IN SCHEMA walled TO towntwin_gateway;
END
$$;

DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['site_seen()', 'series_seen()', 'series_extent(integer[])'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path TO %I, pg_temp', one, current_schema());
    END LOOP;
    -- Whatever a statement sets for its own plans, the look-ups inside keep theirs: making them costs more than the look-up.
    FOREACH one IN ARRAY ARRAY['site_seen()', 'series_seen()', 'scope_is_signed()'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode TO force_generic_plan', one);
    END LOOP;
    CALL order_views();
    IF to_regclass('walled.reading') IS NOT NULL THEN
        CALL wall_views();
    END IF;
END
$$;
