-- 0029 pre: the scope of a transaction behind the wall is signed, so that a statement can't give itself another one.

-- The key with which a session signs its scopes. The gateway gives a random one before it steps behind the wall for the
-- first time; no later statement of the session can replace it, and nobody but the owner of the table can read it.
CREATE UNLOGGED TABLE wall_key (
    pid integer PRIMARY KEY,
    backend_start timestamptz NOT NULL,  -- tells a session from an earlier one with the same pid
    key bytea NOT NULL CHECK (length(key) = 32)
);

CREATE FUNCTION begin_wall(given bytea) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    began timestamptz := (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid()));
BEGIN
    INSERT INTO wall_key AS k VALUES (pg_backend_pid(), began, given)
    ON CONFLICT (pid) DO UPDATE SET backend_start = excluded.backend_start, key = excluded.key
        WHERE k.backend_start <> excluded.backend_start;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this session has a key for its scopes already' USING ERRCODE = '42501';
    END IF;
END
$$;

-- Whether towntwin.area was set by whoever knows the session's key. One hash is enough: what would have to be appended to
-- a text for computing the hash of a longer one holds NUL, which no text does. Parallel workers have a pid of their own.
CREATE FUNCTION scope_is_signed() RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER AS $$
BEGIN
    RETURN coalesce((
        SELECT encode(sha256(k.key || convert_to(current_setting('towntwin.area', true), 'UTF8')), 'hex')
            = current_setting('towntwin.signature', true)
        FROM wall_key AS k WHERE k.pid = pg_backend_pid()
    ), false);
END
$$;

-- Whether the scope is everything.
CREATE FUNCTION wall_is_open() RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL RESTRICTED AS $$
BEGIN
    RETURN current_setting('towntwin.area', true) = '*' AND scope_is_signed();
END
$$;

CREATE OR REPLACE PROCEDURE wall(walled regclass, condition text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', walled);
    EXECUTE format('CREATE POLICY everybody ON %s USING (true)', walled);
    EXECUTE format('CREATE POLICY wall ON %s AS RESTRICTIVE TO towntwin_gateway '
        'USING ((SELECT wall_is_open()) OR %s)', walled, condition);
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

DO $$
DECLARE
    one text;
    walled record;
BEGIN
    IF NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN
        RAISE insufficient_privilege;  -- begin_wall() could not see when a session of the gateway began
    END IF;
    CREATE OR REPLACE FUNCTION area_seen() RETURNS SETOF text LANGUAGE plpgsql STABLE PARALLEL RESTRICTED AS $body$
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
        SELECT seen.area_id FROM seen;
    END
    $body$;
    ALTER FUNCTION site_seen() PARALLEL RESTRICTED;
    ALTER FUNCTION series_seen() PARALLEL RESTRICTED;
    FOREACH one IN ARRAY ARRAY[
        'area_seen()', 'site_seen()', 'series_seen()', 'begin_wall(bytea)', 'scope_is_signed()', 'wall_is_open()'
    ] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path TO %I, pg_temp', one, current_schema());
    END LOOP;
    FOR walled IN
        SELECT polrelid::regclass AS name, pg_get_expr(polqual, polrelid) AS condition
        FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid
        WHERE polname = 'wall' AND relnamespace = current_schema()::regnamespace
    LOOP
        one := replace(walled.condition, '(current_setting(''towntwin.area''::text, true) = ''*''::text)', 'wall_is_open()');
        IF one = walled.condition THEN
            RAISE EXCEPTION 'the policy "wall" on % is not of the known form: %', walled.name, walled.condition;
        END IF;
        EXECUTE format('ALTER POLICY wall ON %s USING (%s)', walled.name, one);
    END LOOP;
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        DROP FUNCTION begin_wall(bytea);
        CREATE OR REPLACE FUNCTION scope_is_signed() RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
        RAISE NOTICE 'scopes are not signed: this user may not make roles or schemas, or is no member of pg_read_all_stats; '
            'see docs/access.md';
END
$$;
