-- 0042 pre: the service counts dead letters to notice that they grow; it reads no payload.

DO $$
BEGIN
    GRANT SELECT (letter_id, received, topic, reason) ON dead_letter TO towntwin_analytics;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
