-- timescale_version: The version of the TimescaleDB extension in this database.
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';

-- timescale_available: Whether the server has TimescaleDB on disk.
SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb';

-- timescale_create: Install the TimescaleDB extension in this database.
CREATE EXTENSION IF NOT EXISTS timescaledb;

-- timescale_licence: "timescale" or "apache".
SELECT current_setting('timescaledb.license', true);

-- migration_lock: Lock out other migrating processes; released with the connection.
SELECT pg_advisory_lock(hashtext('towntwin migrate'));

-- migration_table: Create the table of applied migrations.
CREATE TABLE IF NOT EXISTS schema_migration (
    number integer PRIMARY KEY, name text NOT NULL, applied timestamptz NOT NULL DEFAULT now()
);

-- migration_table_exists: Whether this database has ever been migrated.
SELECT to_regclass('schema_migration') IS NOT NULL;

-- migration_version: The newest applied migration.
SELECT coalesce(max(number), 0) FROM schema_migration;

-- migration_done: Record a migration as applied.
INSERT INTO schema_migration (number, name) VALUES (%s, %s);

-- of_some: Rows of some series, or of all.
(%(series_ids)s::int[] IS NULL OR series_id = ANY (%(series_ids)s));

-- health: Row counts of the database, of some series or of all; days whose rollup is due are counted from readings.
WITH due AS MATERIALIZED (
    SELECT series_id, lower(span) AS since, upper(span) AS until FROM (
        SELECT series_id, unnest(range_agg(tstzrange(
            date_trunc('day', since, %(zone)s),
            ((date_trunc('day', until - interval '1 microsecond', %(zone)s) AT TIME ZONE %(zone)s) + interval '1 day') AT TIME ZONE %(zone)s
        ))) AS span
        FROM rollup_due WHERE {{of_some}} GROUP BY series_id
    ) AS merged
), days AS (
    SELECT coalesce(sum(count), 0)::bigint AS readings FROM rollup_1day AS r
    WHERE {{of_some}} AND bucket >= coalesce((SELECT since FROM retention WHERE what = 'reading'), '-infinity')
        AND NOT EXISTS (
            SELECT FROM due WHERE due.series_id = r.series_id AND r.bucket >= due.since AND r.bucket < due.until
        )
), since AS (
    SELECT coalesce(sum(n), 0)::bigint AS readings FROM due CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM reading AS r
        WHERE r.series_id = due.series_id AND r."time" >= due.since AND r."time" < due.until
    ) AS counted
)
SELECT (SELECT readings FROM days) + (SELECT readings FROM since) AS readings,
    (SELECT count(*) FROM anomaly WHERE state = 'open') AS open_anomalies,
    (SELECT count(*) FROM dead_letter) AS dead_letters,
    (SELECT coalesce(ceil(sum(extract(epoch FROM until - since)) / 3600), 0)::int FROM rollup_due WHERE {{of_some}}) AS rollups_due,
    (SELECT count(*) FROM rejudge_due WHERE {{of_some}}) AS rejudge_due,
    (SELECT extract(epoch FROM max(received))::float8 FROM latest WHERE {{of_some}}) AS newest_received_s;

-- size: Size of the database, and its data directory if the user may read it and is on the same machine.
SELECT
    pg_database_size(current_database()) AS bytes,
    CASE
        WHEN pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')
            AND coalesce(inet_server_addr() << inet '127.0.0.0/8' OR inet_server_addr() = inet '::1', true)
        THEN current_setting('data_directory')
    END AS folder;
