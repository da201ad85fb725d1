-- timescale_version: The version of the TimescaleDB extension in this database.
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';

-- timescale_available: Whether the server has TimescaleDB on disk.
SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb';

-- timescale_create: Put TimescaleDB into this database.
CREATE EXTENSION IF NOT EXISTS timescaledb;

-- timescale_licence: "timescale" or "apache".
SELECT current_setting('timescaledb.license', true);

-- migration_lock: One process migrates at a time; the lock goes with the connection.
SELECT pg_advisory_lock(hashtext('towntwin migrate'));

-- migration_table: Where the applied migrations stand.
CREATE TABLE IF NOT EXISTS schema_migration (
    number integer PRIMARY KEY, name text NOT NULL, applied timestamptz NOT NULL DEFAULT now()
);

-- migration_table_exists: Whether this database was ever migrated.
SELECT to_regclass('schema_migration') IS NOT NULL;

-- migration_version: The newest applied migration.
SELECT coalesce(max(number), 0) FROM schema_migration;

-- migration_done: Note a migration as applied.
INSERT INTO schema_migration (number, name) VALUES (%s, %s);

-- health: What the database holds.
SELECT (SELECT count(*) FROM reading) AS readings,
    (SELECT count(*) FROM anomaly WHERE state = 'open') AS open_anomalies,
    (SELECT count(*) FROM dead_letter) AS dead_letters,
    (SELECT coalesce(ceil(sum(extract(epoch FROM until - since)) / 3600), 0)::int FROM rollup_due) AS rollups_due,
    (SELECT count(*) FROM rejudge_due) AS rejudge_due,
    (SELECT extract(epoch FROM max(received))::float8 FROM latest) AS newest_received_s;
