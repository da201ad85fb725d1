-- device_counts: How many devices of the chosen towns are silent, low on battery, weak in signal, behind, or wrong in their clock.
SELECT count(*) FILTER (WHERE online IS NOT TRUE) AS "offline", count(*) FILTER (WHERE battery_v < 11.5) AS "low_battery",
    count(*) FILTER (WHERE signal_dbm < -100) AS "weak_signal", count(*) FILTER (WHERE spool_depth > 100) AS "behind",
    count(*) FILTER (WHERE abs(clock_offset_s) > 60) AS "wrong_clock"
FROM device_view WHERE area_id IN (${town:sqlstring});

-- devices: Devices of the chosen towns, those that were heard of least lately first.
SELECT device_id AS "device", town_LANG AS "town", online AS "online", battery_v AS "battery", signal_dbm AS "signal",
    spool_depth AS "spool", evicted AS "evicted", clock_offset_s AS "clock", measured AS "measured", received AS "received"
FROM device_view WHERE area_id IN (${town:sqlstring}) ORDER BY received NULLS FIRST, 1;

-- rules_begun: Anomalies by the rule that found them and when they began.
SELECT $__timeGroupAlias(start, $__interval), detector AS metric, count(*) AS "value"
FROM anomaly_view WHERE $__timeFilter(start) AND state <> 'withdrawn' AND town_id IN (${town:sqlstring})
GROUP BY 1, 2 ORDER BY 1, 2;

-- rules_share: Anomalies by rule over the chosen time.
SELECT detector AS "rule", count(*) FILTER (WHERE severity = 3) AS "alarm", count(*) FILTER (WHERE severity = 2) AS "warning",
    count(*) FILTER (WHERE severity = 1) AS "notice"
FROM anomaly_view WHERE $__timeFilter(start) AND state <> 'withdrawn' AND town_id IN (${town:sqlstring})
GROUP BY 1 ORDER BY count(*) DESC, 1;

-- good_share: Which series were good least over the chosen time: by hour in a day, by day in a longer time.
SELECT s.site_id AS "site_id", s.site_LANG AS "site", s.quantity AS "quantity", d.readings AS "readings",
    d.good / nullif(d.readings, 0) AS "good", d.readings / nullif(d.seconds / s.interval_s, 0) AS "capture"
FROM (
    SELECT series_id, sum(count)::double precision AS readings, sum(good) AS good, count(*) * max(width_s)::double precision AS seconds
    FROM rollup_view
    WHERE width_s = rollup_width(greatest(12 * $__interval_ms, 3600000)) AND $__timeFilter(bucket)
        AND series_id = ANY (ARRAY(SELECT series_id FROM series_view WHERE town_id IN (${town:sqlstring})))
    GROUP BY 1
) AS d JOIN series_view AS s USING (series_id)
ORDER BY 5, 2, 3 LIMIT 30;
