-- 0005 pre: what the roles lacked for doing their rooms' work.
DO $$
BEGIN
    IF to_regclass('schema_migration') IS NOT NULL THEN
        GRANT SELECT ON schema_migration TO towntwin_ingest, towntwin_analytics, towntwin_gateway;
    END IF;
    GRANT UPDATE ON rollup_due TO towntwin_analytics;
    GRANT SELECT ON reading_judged, latest_judged TO towntwin_analytics;
    GRANT SELECT ON shard, rejudge_due TO towntwin_gateway;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
