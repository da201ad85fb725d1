-- 0056 pre: the newest forecast of series, for the dashboards (decision 0108).

-- One row for each series whose newest forecast has skill. times begins with issued, the time of the readings that it is made
-- from, where "values", low and high are their mean; then follow the times that have a value, with the band of 80 %.
CREATE TABLE series_forecast (
    series_id integer PRIMARY KEY REFERENCES series ON DELETE CASCADE,
    issued timestamptz NOT NULL,
    times timestamptz[] NOT NULL,
    "values" double precision[] NOT NULL,
    low double precision[] NOT NULL,
    high double precision[] NOT NULL,
    CHECK (cardinality(times) BETWEEN 2 AND 100 AND cardinality("values") = cardinality(times)
        AND cardinality(low) = cardinality(times) AND cardinality(high) = cardinality(times))
);

-- A forecast that has ended is not shown.
CREATE VIEW series_forecast_view AS
SELECT f.series_id, f.issued, p."time", p.value, p.low, p.high
FROM series_forecast AS f CROSS JOIN LATERAL unnest(f.times, f."values", f.low, f.high) AS p ("time", value, low, high)
WHERE f.times[cardinality(f.times)] > now();

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON series_forecast TO towntwin_analytics;
    GRANT SELECT ON series_forecast TO towntwin_gateway;
    GRANT SELECT ON rollup_view TO towntwin_analytics;
    GRANT SELECT ON series_forecast_view TO towntwin_gateway, towntwin_grafana;
    CALL wall('series_forecast', 'series_id IN (SELECT series_id FROM series)');
    CALL wall_views();
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR undefined_function THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
