-- operators: How many people may be on duty at a time, for the variable.
SELECT n::text AS "__text", n::text AS "__value" FROM generate_series(1, 20) AS n ORDER BY n;

-- operators_on_duty: The chosen number of operators, as a common table expression; no row without a town.
operators AS (
    SELECT n::double precision AS operators FROM generate_series(1, 20) AS n
    WHERE n::text = ANY (ARRAY[${operators:sqlstring}]::text[])
        AND EXISTS (SELECT FROM series_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[]))
    ORDER BY n LIMIT 1
);

-- sounded: Annunciations in the chosen towns and time, each with the number of those within 10 min from it on.
{{operators_on_duty}}, annunciation AS MATERIALIZED (
    SELECT a.*, a."time" AS sounded,
        count(*) OVER (ORDER BY a."time" RANGE BETWEEN CURRENT ROW AND interval '00:09:59.999999' FOLLOWING) AS within_10min
    FROM annunciation_view AS a
    WHERE a."time" >= $__timeFrom() AND a."time" < $__timeTo() AND a.town_id = ANY (ARRAY[${town:sqlstring}]::text[])
);

-- floods_found: Periods of 10 min from the begin of the chosen time on, with an operator's annunciations; floods begin above 10 and end below 5.
{{sounded}}, period AS MATERIALIZED (
    SELECT at, count(sounded) AS annunciations, count(sounded) / operators AS load
    FROM operators
    CROSS JOIN generate_series($__timeFrom()::timestamptz, $__timeTo()::timestamptz - interval '1 microsecond', interval '10 minutes') AS at
    LEFT JOIN annunciation ON date_bin(interval '10 minutes', sounded, $__timeFrom()::timestamptz) = at
    GROUP BY at, operators
), mark AS (
    SELECT *, CASE WHEN load > 10 THEN true WHEN load < 5 THEN false END AS begins FROM period
), marked AS (
    SELECT *, count(begins) OVER (ORDER BY at) AS nth_mark FROM mark
), judged AS (
    SELECT *, coalesce(bool_or(begins) OVER (PARTITION BY nth_mark), false) AS is_flood FROM marked
), flood AS (
    SELECT min(at) AS since, max(at) + interval '10 minutes' AS until, sum(annunciations) AS annunciations, max(load) AS peak_load
    FROM (SELECT *, count(*) FILTER (WHERE NOT is_flood) OVER (ORDER BY at) AS nth_flood FROM judged) AS numbered
    WHERE is_flood GROUP BY nth_flood
);

-- chattering_found: Incidents whose alarm sounded three times or more within a minute.
{{sounded}}, chattering AS (
    SELECT incident_id, max(sounded) AS last
    FROM (SELECT incident_id, sounded, sounded - lag(sounded, 2) OVER (PARTITION BY incident_id ORDER BY sounded) AS three_in FROM annunciation) AS a
    WHERE three_in <= interval '1 minute' GROUP BY incident_id
);

-- load_now: The load of an operator in the chosen time: annunciations a day, worst 10 min, shares of floods and of the ten most frequent alarms.
WITH {{floods_found}}, ranked AS (
    SELECT count(*) AS n, row_number() OVER (ORDER BY count(*) DESC) AS rank FROM annunciation GROUP BY site_id, cause
)
SELECT count(sounded) / operators * 86400 / extract(epoch FROM $__timeTo()::timestamptz - $__timeFrom()::timestamptz)::double precision AS "per_day",
    coalesce(max(within_10min), 0) / operators AS "peak_load",
    (SELECT avg((load > 10)::integer) FROM period)::double precision AS "periods_above",
    (SELECT coalesce(sum(extract(epoch FROM until - since)), 0) / extract(epoch FROM $__timeTo()::timestamptz - $__timeFrom()::timestamptz)
        FROM flood)::double precision AS "flood_share",
    (SELECT sum(n) FROM ranked WHERE rank <= 10)::double precision / nullif(count(sounded), 0) AS "top_share"
FROM operators LEFT JOIN annunciation ON true GROUP BY operators;

-- nuisance_now: How many alarms chattered in the chosen time, waited for a day for an acknowledgement, or were active for a day at its end.
WITH {{chattering_found}}
SELECT (SELECT count(*) FROM chattering) AS "chattering",
    count(*) FILTER (WHERE annunciations > 0
        AND coalesce(acknowledged, closed, $__timeTo()::timestamptz) - "time" > interval '1 day') AS "stale",
    count(*) FILTER (WHERE active AND is_open AND $__timeTo()::timestamptz - started > interval '1 day') AS "standing"
FROM operators LEFT JOIN incident_view ON "time" < $__timeTo() AND coalesce(closed >= $__timeFrom(), true)
    AND town_id = ANY (ARRAY[${town:sqlstring}]::text[])
GROUP BY operators;

-- alarms_standing: Open incidents that have been active for a day, or have waited for a day for an acknowledgement, the most urgent first.
SELECT priority AS "priority", started AS "since", extract(epoch FROM now() - started)::double precision AS "lasting",
    NAMED(cause, cause) AS "incident", concat(i.site_LANG, ' · ', i.town_LANG) AS "location", NAMED(state, state) AS "work",
    NAMED(state, alarm_state) AS "alarm_state", i.incident_id AS "incident_id", i.site_id AS "site_id",
    CASE WHEN s.site_kind IN ('river_section', 'lake_section') THEN 'river-section' WHEN s.site_kind = 'outfall' THEN 'outfall'
        WHEN s.site_kind IN ('road_section', 'junction') THEN 'road' ELSE 'town-overview' END AS "board_id"
FROM incident_view AS i JOIN (SELECT DISTINCT site_id, site_kind FROM series_view) AS s USING (site_id)
WHERE i.is_open AND i.town_id = ANY (ARRAY[${town:sqlstring}]::text[])
    AND ((i.active AND i.started < now() - interval '1 day')
        OR (i.annunciations > 0 AND i.acknowledged IS NULL AND i."time" < now() - interval '1 day'))
ORDER BY i.priority, i.started LIMIT 200;

-- load_over_time: An operator's annunciations in 10 min; over a longer time the worst 10 min of each interval.
WITH {{floods_found}}
SELECT date_bin(greatest(interval '10 minutes', $__interval_ms * interval '1 millisecond'), at, $__timeFrom()::timestamptz) AS "time", max(load) AS "load"
FROM period GROUP BY 1 ORDER BY 1;

-- load_by_day: An operator's annunciations on each day in China, the first day as a whole.
WITH {{operators_on_duty}}, day AS (
    SELECT at FROM generate_series(
        date_bin(interval '1 day', $__timeFrom()::timestamptz, TIMESTAMPTZ '2000-01-03 00:00+08'), $__timeTo()::timestamptz, interval '1 day') AS at
)
SELECT at AS "time", count(a."time") / operators AS "load"
FROM day CROSS JOIN operators LEFT JOIN annunciation_view AS a
    ON a."time" >= at AND a."time" < least(at + interval '1 day', $__timeTo()::timestamptz) AND a.town_id = ANY (ARRAY[${town:sqlstring}]::text[])
GROUP BY at, operators ORDER BY at;

-- floods: The floods of the chosen time, newest first, with the number of alarms and an operator's worst 10 min.
WITH {{floods_found}}
SELECT peak_load AS "peak_load", since AS "since", extract(epoch FROM until - since)::double precision AS "lasting",
    annunciations::double precision AS "sounded"
FROM flood ORDER BY since DESC LIMIT 200;

-- top_alarms: The ten alarms that sounded most often, by site and cause.
WITH {{sounded}}
SELECT count(*) AS "sounded", count(*)::double precision / sum(count(*)) OVER () AS "of_all", NAMED(cause, a.cause) AS "incident",
    concat(a.site_LANG, ' · ', a.town_LANG) AS "location", a.site_id AS "site_id",
    CASE WHEN s.site_kind IN ('river_section', 'lake_section') THEN 'river-section' WHEN s.site_kind = 'outfall' THEN 'outfall'
        WHEN s.site_kind IN ('road_section', 'junction') THEN 'road' ELSE 'town-overview' END AS "board_id"
FROM operators, annunciation AS a JOIN (SELECT DISTINCT site_id, site_kind FROM series_view) AS s USING (site_id)
GROUP BY a.site_id, a.cause, a.site_LANG, a.town_LANG, s.site_kind ORDER BY 1 DESC, a.site_id, a.cause LIMIT 10;

-- chattering_alarms: The alarms that sounded three times or more within a minute, the newest first.
WITH {{chattering_found}}
SELECT i.priority AS "priority", count(*) AS "sounded", c.last AS "since", NAMED(cause, i.cause) AS "incident",
    concat(i.site_LANG, ' · ', i.town_LANG) AS "location", i.incident_id AS "incident_id"
FROM operators, chattering AS c JOIN annunciation AS a USING (incident_id) JOIN incident_view AS i USING (incident_id)
GROUP BY i.incident_id, i.priority, c.last, i.cause, i.site_LANG, i.town_LANG ORDER BY c.last DESC LIMIT 100;

-- sounded_over_time: Annunciations by priority, over the chosen time.
WITH BINS, {{sounded}}, begun AS (
    SELECT BIN(sounded) AS at, priority FROM annunciation
)
SELECT at AS "time", count(*) FILTER (WHERE priority = 1) AS "priority_1", count(*) FILTER (WHERE priority = 2) AS "priority_2",
    count(*) FILTER (WHERE priority = 3) AS "priority_3", count(*) FILTER (WHERE priority = 4) AS "priority_4"
FROM bin CROSS JOIN operators LEFT JOIN begun USING (at) GROUP BY 1 ORDER BY 1;

-- priorities: By priority: annunciations, their share, incidents, and the median and 95th percentile of the times to acknowledge and to close.
WITH {{sounded}}, counted AS (
    SELECT priority, count(*) AS sounded FROM annunciation GROUP BY 1
), timed AS (
    SELECT priority, count(*) AS incidents,
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM acknowledged - "time")) AS acknowledge,
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM closed - "time")) AS close
    FROM incident_view
    WHERE "time" < $__timeTo() AND coalesce(closed >= $__timeFrom(), true) AND town_id = ANY (ARRAY[${town:sqlstring}]::text[])
    GROUP BY 1
)
SELECT priority AS "priority", coalesce(c.sounded, 0) AS "sounded",
    c.sounded::double precision / nullif((SELECT sum(sounded) FROM counted), 0)::double precision AS "of_all",
    coalesce(t.incidents, 0) AS "opened", t.acknowledge[1]::double precision AS "acknowledge_50",
    t.acknowledge[2]::double precision AS "acknowledge_95", t.close[1]::double precision AS "close_50", t.close[2]::double precision AS "close_95"
FROM operators CROSS JOIN generate_series(1, 4) AS priority LEFT JOIN counted AS c USING (priority) LEFT JOIN timed AS t USING (priority)
ORDER BY priority;
