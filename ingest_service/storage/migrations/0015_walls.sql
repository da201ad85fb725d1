-- 0015 pre: the wall around the tables that came after it, and its views once more.

DO $$
BEGIN
    CALL wall('assessment', 'area_id IN (SELECT area_seen())');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;
