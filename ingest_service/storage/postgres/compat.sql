-- What the queries use of TimescaleDB, for a plain PostgreSQL. Same names, same answers.

CREATE OR REPLACE FUNCTION time_bucket(bucket_width interval, ts timestamptz)
RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN date_bin(bucket_width, ts, timestamptz '2000-01-03 00:00:00+00');

CREATE OR REPLACE FUNCTION time_bucket(bucket_width interval, ts timestamptz, timezone text)
RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE STRICT
RETURN date_bin(bucket_width, ts AT TIME ZONE timezone, timestamp '2000-01-03 00:00:00') AT TIME ZONE timezone;
