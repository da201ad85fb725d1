-- 0008 pre: who may come in, what was done, and the wall that keeps each area's rows its own.

-- hash: argon2 of the secret. area_id NULL is everything; scopes empty are all that the role may.
CREATE TABLE api_key (
    key_id text PRIMARY KEY,
    name text NOT NULL,
    hash text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'operator', 'engineer', 'administrator')),
    scopes text[] NOT NULL DEFAULT '{}',
    area_id text REFERENCES area,
    loopback boolean NOT NULL DEFAULT false,
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires timestamptz,
    revoked timestamptz,
    revoked_by text,
    last_used timestamptz
);

-- area: what the one who did it was bound to; NULL is everything.
CREATE TABLE audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "at" timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL,
    name text NOT NULL,
    areas text[],
    action text NOT NULL,
    target text NOT NULL,
    address text NOT NULL,
    status smallint NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_by_who ON audit (who, audit_id DESC);

CREATE FUNCTION audit_stands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only: its lines are neither changed nor deleted' USING ERRCODE = '42501';
END
$$;
CREATE TRIGGER audit_stands BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stands();

-- Areas of the scope that a transaction has set (towntwin.area: names joined by commas, * is everything), with all
-- below them. Without a scope, none: who forgets to set one sees nothing.
CREATE FUNCTION area_seen() RETURNS SETOF text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH RECURSIVE seen AS (
        SELECT a.area_id FROM area AS a
        WHERE current_setting('towntwin.area', true) = '*'
            OR a.area_id = ANY (string_to_array(current_setting('towntwin.area', true), ','))
        UNION
        SELECT a.area_id FROM area AS a JOIN seen ON a.parent = seen.area_id
    )
    SELECT area_id FROM seen
$$;

-- Run as whoever asks, so the wall of series holds here.
CREATE FUNCTION series_seen() RETURNS SETOF integer LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT series_id FROM series
$$;

-- Put a table behind the wall: the gateway sees and writes only rows that meet a condition, everybody else as before.
-- Whoever sees everything is asked once a statement, not once a row.
CREATE PROCEDURE wall(walled regclass, condition text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', walled);
    EXECUTE format('CREATE POLICY everybody ON %s USING (true)', walled);
    EXECUTE format('CREATE POLICY wall ON %s AS RESTRICTIVE TO towntwin_gateway '
        'USING ((SELECT current_setting(''towntwin.area'', true) = ''*'') OR %s)', walled, condition);
END
$$;

-- Row-level security would keep TimescaleDB from compressing readings and from rolling them up, so these are seen
-- through views that have the wall in them. The schema "walled" has one of the same name for each, and a copy of every
-- view that stands on walled tables; the gateway's transactions look there first. To be called again by a migration
-- that changes a view.
CREATE PROCEDURE wall_views() LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
    path text := current_setting('search_path');
    base text;
    kind text;
    copied text[];
BEGIN
    DROP SCHEMA IF EXISTS walled CASCADE;
    CREATE SCHEMA walled;
    GRANT USAGE ON SCHEMA walled TO towntwin_gateway;
    FOR base, kind IN
        SELECT relname, relkind FROM pg_class
        WHERE relnamespace = home::regnamespace AND relkind IN ('r', 'p', 'v') AND relname ~ '^(reading|rollup_[0-9]+[a-z]+)$'
    LOOP
        EXECUTE format('CREATE VIEW walled.%1$I WITH (security_barrier) AS SELECT *%3$s FROM %2$I.%1$I '
            'WHERE (SELECT current_setting(''towntwin.area'', true) = ''*'') OR series_id IN (SELECT %2$I.series_seen())',
            base, home, CASE WHEN base = 'reading' AND kind <> 'v' THEN ', xmin' ELSE '' END);  -- for answers as of old
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
BEGIN
    GRANT SELECT, INSERT, UPDATE (revoked, revoked_by, last_used) ON api_key TO towntwin_gateway;
    GRANT SELECT, INSERT ON audit TO towntwin_gateway;
    CALL wall('site', 'area_id IN (SELECT area_seen())');
    CALL wall('device', 'area_id IN (SELECT area_seen())');
    CALL wall('node', 'area_id IN (SELECT area_seen())');
    CALL wall('link', '(from_node IN (SELECT node_id FROM node) AND to_node IN (SELECT node_id FROM node))');
    CALL wall('series', 'site_id IN (SELECT site_id FROM site)');
    CALL wall('channel', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('latest', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('flag_revision', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('rollup_due', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('rejudge_due', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('anomaly', 'site_id IN (SELECT site_id FROM site)');
    CALL wall('feedback', 'EXISTS (SELECT FROM anomaly AS a WHERE a.anomaly_id = feedback.anomaly_id)');
    CALL wall('dead_letter', 'split_part(topic, ''/'', 3) IN (SELECT area_seen())');
    CALL wall('api_key', 'false');
    CALL wall('audit', 'false');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;
