-- 0040 pre: the process that passes the access of devices on to the broker reports its state as the others do.

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON heartbeat TO towntwin_access;
    GRANT SELECT, UPDATE ON heartbeat_gap TO towntwin_access;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
