-- 0021 pre: row-level security that keeps the order of an index, and that finds the visible series once a statement.

-- The sites and the series of the areas in towntwin.area. SECURITY DEFINER: one look-up in place of three policies, each
-- inside of the next. Both read that setting and nothing else of the caller, so they return what the policies would.
CREATE FUNCTION site_seen() RETURNS SETOF text LANGUAGE plpgsql STABLE PARALLEL SAFE
SECURITY DEFINER AS $$
BEGIN
    RETURN QUERY SELECT s.site_id FROM site AS s WHERE s.area_id IN (SELECT area_seen());
END
$$;

CREATE OR REPLACE FUNCTION series_seen() RETURNS SETOF integer LANGUAGE plpgsql STABLE PARALLEL SAFE
SECURITY DEFINER AS $$
BEGIN
    RETURN QUERY SELECT s.series_id FROM site JOIN series AS s USING (site_id) WHERE site.area_id IN (SELECT area_seen());
END
$$;

-- A temporary table named like one of ours would be found before it, unless pg_temp stands last.
DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['area_seen', 'site_seen', 'series_seen'] LOOP
        EXECUTE format('ALTER FUNCTION %I() SET search_path TO %I, pg_temp', one, current_schema());
    END LOOP;
END
$$;

-- Readings of a series by time, from either end. In front of the wall these views are the table. Behind it PostgreSQL
-- plans what is inside of a security barrier by itself, without the ORDER BY and LIMIT of the query around it; with an
-- ORDER BY of its own it reads the index in that order, and the query stops where its page is full. With TimescaleDB it
-- reads chunk by chunk. To be called again by a migration that changes "reading"; wall_views() does.
CREATE PROCEDURE order_views() LANGUAGE plpgsql AS $$
DECLARE
    ending text;
    transaction text := (SELECT CASE WHEN relkind = 'v' THEN '' ELSE ', xmin' END FROM pg_class WHERE oid = 'reading'::regclass);
BEGIN
    FOREACH ending IN ARRAY ARRAY['oldest_first', 'newest_first'] LOOP
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
        'WHERE (SELECT current_setting(''towntwin.area'', true) = ''*'') OR series_id IN (SELECT %2$I.series_seen())';
    -- Readings are always read by series: an array and "series_id = 5" are merged before an index is read, so that no row is
    -- checked by itself. (Of everybody, series_seen() returns every series.)
    readings text := 'CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT *%3$s FROM %2$I.reading '
        'WHERE series_id = ANY (ARRAY(SELECT %2$I.series_seen())) %4$s';
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
    GRANT SELECT ON ALL TABLES IN SCHEMA walled TO towntwin_gateway;
END
$$;

CALL order_views();

DO $$
DECLARE
    walled text;
BEGIN
    FOREACH walled IN ARRAY ARRAY['channel', 'latest', 'flag_revision', 'flag_revision_history', 'rollup_due', 'rejudge_due', 'adoption']
    LOOP
        EXECUTE format('ALTER POLICY wall ON %I USING ((SELECT current_setting(''towntwin.area'', true) = ''*'') '
            'OR series_id IN (SELECT series_seen()))', walled);
    END LOOP;
    FOREACH walled IN ARRAY ARRAY['series', 'anomaly', 'anomaly_history'] LOOP
        EXECUTE format('ALTER POLICY wall ON %I USING ((SELECT current_setting(''towntwin.area'', true) = ''*'') '
            'OR site_id IN (SELECT site_seen()))', walled);
    END LOOP;
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;
