-- 0015 pre: the wall around the tables that came after it, and its views once more.

DO $$
BEGIN
    CALL wall('assessment', 'area_id IN (SELECT area_seen())');
    CALL wall('anomaly_history', 'site_id IN (SELECT site_id FROM site)');
    CALL wall('flag_revision_history', 'series_id IN (SELECT series_id FROM series)');
    CALL wall('adoption', 'series_id IN (SELECT series_id FROM series)');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'the wall was not built: this user may not make roles or schemas; see docs/access.md';
END
$$;
