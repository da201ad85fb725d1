-- 0060 pre: forecasts that a town forwards (decision 0119).

-- origin: of a row that a town has forwarded; the county makes no forecast of the series until that one has ended.
ALTER TABLE series_forecast ADD COLUMN origin text REFERENCES device;
CREATE INDEX series_forecast_by_origin ON series_forecast (origin) WHERE origin IS NOT NULL;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON series_forecast TO towntwin_ingest;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
