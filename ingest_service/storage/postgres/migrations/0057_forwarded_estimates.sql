-- 0057 pre: estimates of the twin that a town forwards, where the county lacks the readings they are made of (decision 0109).

-- origin: of a row that a town has forwarded; the county's own estimate yields to it for a day.
ALTER TABLE state_estimate ADD COLUMN origin text REFERENCES device;
CREATE INDEX state_estimate_by_origin ON state_estimate (origin) WHERE origin IS NOT NULL;

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON state_estimate TO towntwin_ingest;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'roles were not made: this user may not; grants are yours to make';
END
$$;
