-- alert_severe: Each site: how many alarms are open there. Every site has a row, so that one which is well says 0.
SELECT s.town_id AS "area", s.site_id AS "site", s.town_en, s.town_zh, s.site_en, s.site_zh, s.board,
    count(DISTINCT a.anomaly_id)::double precision AS "value"
FROM (
    SELECT DISTINCT town_id, town_en, town_zh, site_id, site_en, site_zh,
        CASE WHEN site_kind IN ('river_section', 'lake_section') THEN 'river-section' WHEN site_kind = 'outfall' THEN 'outfall'
            WHEN site_kind IN ('road_section', 'junction') THEN 'road' ELSE 'town-overview' END AS board
    FROM series_view
) AS s
LEFT JOIN anomaly_view AS a ON a.site_id = s.site_id AND a.state = 'open' AND a.severity = 3 AND a.detector <> 'silence'
GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 2;

-- alert_severe_since: Each site: an hour before its oldest open alarm began, in milliseconds since 1970; now without one.
SELECT s.town_id AS "area", s.site_id AS "site", s.town_en, s.town_zh, s.site_en, s.site_zh, s.board,
    (extract(epoch FROM coalesce(min(a.start), now()) - interval '1 hour') * 1000)::double precision AS "value"
FROM (
    SELECT DISTINCT town_id, town_en, town_zh, site_id, site_en, site_zh,
        CASE WHEN site_kind IN ('river_section', 'lake_section') THEN 'river-section' WHEN site_kind = 'outfall' THEN 'outfall'
            WHEN site_kind IN ('road_section', 'junction') THEN 'road' ELSE 'town-overview' END AS board
    FROM series_view
) AS s
LEFT JOIN anomaly_view AS a ON a.site_id = s.site_id AND a.state = 'open' AND a.severity = 3 AND a.detector <> 'silence'
GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 2;

-- alert_silent: Each site: how many of its devices are silent.
SELECT s.town_id AS "area", s.site_id AS "site", s.town_en, s.town_zh, s.site_en, s.site_zh,
    count(DISTINCT a.anomaly_id)::double precision AS "value"
FROM (SELECT DISTINCT town_id, town_en, town_zh, site_id, site_en, site_zh FROM series_view) AS s
LEFT JOIN anomaly_view AS a ON a.site_id = s.site_id AND a.state = 'open' AND a.detector = 'silence'
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 2;

-- alert_silent_since: Each site: an hour before its devices became silent, in milliseconds since 1970; now where none is.
SELECT s.town_id AS "area", s.site_id AS "site", s.town_en, s.town_zh, s.site_en, s.site_zh,
    (extract(epoch FROM coalesce(min(a.start), now()) - interval '1 hour') * 1000)::double precision AS "value"
FROM (SELECT DISTINCT town_id, town_en, town_zh, site_id, site_en, site_zh FROM series_view) AS s
LEFT JOIN anomaly_view AS a ON a.site_id = s.site_id AND a.state = 'open' AND a.detector = 'silence'
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 2;

-- alert_incident: Each town: how many of its urgent incidents (priority 1 or 2) nobody has acknowledged.
SELECT s.town_id AS "area", s.town_en, s.town_zh, count(DISTINCT i.incident_id)::double precision AS "value"
FROM (SELECT DISTINCT town_id, town_en, town_zh FROM series_view) AS s
LEFT JOIN incident_view AS i ON i.town_id = s.town_id AND i.is_open AND i.priority <= 2 AND i.alarm_state = 'unacknowledged'
GROUP BY 1, 2, 3 ORDER BY 1;

-- alert_lag: Each town that ever sent something: seconds since its newest reading came.
SELECT s.town_id AS "area", s.town_en, s.town_zh, extract(epoch FROM now() - max(l.received))::double precision AS "value"
FROM latest_judged AS l JOIN series_view AS s USING (series_id)
GROUP BY 1, 2, 3 ORDER BY 1;

-- alert_processes: Each kind of process: how many of its kind are not alive; one that was started again and works is.
SELECT 'platform' AS "area", e.kind AS "process", count(p.kind) FILTER (WHERE NOT p.works)::double precision AS "value"
FROM (VALUES ('ingest'), ('service'), ('gateway'), ('access'), ('hj212')) AS e (kind) LEFT JOIN process_state AS p ON p.kind = e.kind
GROUP BY 1, 2 ORDER BY 2;

-- alert_letters: Messages of the last quarter of an hour that could not be taken and still wait.
SELECT 'platform' AS "area", count(*)::double precision AS "value" FROM dead_letter_view
WHERE state = 'waiting' AND received > now() - interval '15 minutes';

-- alert_evaluation: Zero if the queries of the other rules run; it fails if one of them does.
SELECT 'platform' AS "area", 0 * (
    (SELECT count("value") FROM (_SEVERE) AS severe) + (SELECT count("value") FROM (_SILENT) AS silent)
    + (SELECT count("value") FROM (_INCIDENT) AS incident) + (SELECT count("value") FROM (_LAG) AS lag) + (SELECT count("value") FROM (_PROCESSES) AS processes)
    + (SELECT count("value") FROM (_LETTERS) AS letters)
)::double precision AS "value";
