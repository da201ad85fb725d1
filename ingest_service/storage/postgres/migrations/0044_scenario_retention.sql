-- 0044 pre: the service deletes scenarios that are older than their retention time.

CREATE INDEX scenario_by_time ON scenario (created);

DO $$
BEGIN
    GRANT SELECT, DELETE ON scenario TO towntwin_analytics;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
