-- device_counts: How many devices of the chosen towns are silent, low on battery, weak in signal, behind, or wrong in their clock.
SELECT count(*) FILTER (WHERE online IS NOT TRUE) AS "offline", count(*) FILTER (WHERE battery_v < 11.5) AS "low_battery",
    count(*) FILTER (WHERE signal_dbm < -100) AS "weak_signal", count(*) FILTER (WHERE spool_depth > 100) AS "behind",
    count(*) FILTER (WHERE abs(clock_offset_s) > 60) AS "wrong_clock"
FROM device_view WHERE area_id = ANY (ARRAY[${town:sqlstring}]::text[])
HAVING count(*) > 0;

-- devices: Devices of the chosen towns, those that were heard of least lately first.
SELECT device_id AS "device", town_LANG AS "town", online AS "online", battery_v AS "battery", signal_dbm AS "signal",
    spool_depth AS "spool", evicted AS "evicted", clock_offset_s AS "clock", measured AS "measured", received AS "received"
FROM device_view WHERE area_id = ANY (ARRAY[${town:sqlstring}]::text[]) ORDER BY received NULLS FIRST, 1;

-- rules_begun: Anomalies by the rule that found them and when they began.
WITH BINS, begun AS (
    SELECT BIN(start) AS at, NAMED(detector, detector) AS metric, anomaly_id FROM anomaly_view
    WHERE $__timeFilter(start) AND state <> 'withdrawn' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[])
)
SELECT at AS "time", metric, count(anomaly_id) AS "value"
FROM bin CROSS JOIN (SELECT DISTINCT metric FROM begun) AS rule LEFT JOIN begun USING (at, metric)
GROUP BY 1, 2 ORDER BY 1, 2;

-- rules_share: Anomalies by rule over the chosen time.
SELECT NAMED(detector, detector) AS "rule", count(*) FILTER (WHERE severity = 3) AS "alarm", count(*) FILTER (WHERE severity = 2) AS "warning",
    count(*) FILTER (WHERE severity = 1) AS "notice"
FROM anomaly_view WHERE $__timeFilter(start) AND state <> 'withdrawn' AND town_id = ANY (ARRAY[${town:sqlstring}]::text[])
GROUP BY 1 ORDER BY count(*) DESC, 1;

-- good_share: Which series were good least over the chosen time, at most its last 31 days.
WITH chosen AS MATERIALIZED (
    SELECT series_id, interval_s, site_id, site_LANG AS site, quantity FROM series_view WHERE town_id = ANY (ARRAY[${town:sqlstring}]::text[])
), drawn AS MATERIALIZED (
    SELECT series_id, sum(count)::double precision AS readings, sum(good) AS good, sum(width_s)::double precision AS seconds
    FROM rollup_view
    WHERE width_s = rollup_width(greatest(12 * $__interval_ms, 3600000))
        AND bucket BETWEEN greatest($__timeFrom()::timestamptz, $__timeTo()::timestamptz - interval '31 days') AND $__timeTo()
        AND series_id = ANY (ARRAY(SELECT series_id FROM chosen))
    GROUP BY 1
)
SELECT site_id AS "site_id", site AS "site", NAMED(quantity, quantity) AS "quantity", readings AS "readings", good / nullif(readings, 0) AS "good",
    readings / nullif(seconds / interval_s, 0) AS "capture"
FROM drawn JOIN chosen USING (series_id) ORDER BY 5, 2, 3 LIMIT 30;
