-- 0003 pre: group roles, one a room; where the migrating user may not make roles, this does nothing.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['towntwin_ingest', 'towntwin_analytics', 'towntwin_gateway', 'towntwin_grafana'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    END LOOP;
    GRANT SELECT ON area, site, device, series, channel, node, link, directory_version
        TO towntwin_ingest, towntwin_analytics, towntwin_gateway;
    GRANT SELECT, INSERT, UPDATE ON reading, flag_revision, latest, anomaly, detector_state TO towntwin_ingest;
    GRANT SELECT, INSERT ON dead_letter, rollup_due TO towntwin_ingest;
    GRANT UPDATE ON device TO towntwin_ingest;
    GRANT USAGE ON SEQUENCE anomaly_revision TO towntwin_ingest, towntwin_analytics;
    GRANT SELECT ON reading, flag_revision, latest TO towntwin_analytics;
    GRANT SELECT, INSERT, UPDATE ON anomaly, rollup_1min, rollup_1h TO towntwin_analytics;
    GRANT SELECT, DELETE ON rollup_due TO towntwin_analytics;
    GRANT DELETE ON rollup_1min, rollup_1h TO towntwin_analytics;
    GRANT SELECT ON reading, flag_revision, latest, anomaly, dead_letter, rollup_1min, rollup_1h, rollup_due
        TO towntwin_gateway;
    GRANT SELECT ON series_view, reading_judged, latest_judged, anomaly_view, device_view, dead_letter_view,
        link_view, rollup_1min_view, rollup_1h_view TO towntwin_gateway, towntwin_grafana;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
