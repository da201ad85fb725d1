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

-- health: Row counts of some areas, or of everything, and what edition and schema the database has.
SELECT readings, open_anomalies, dead_letters, rollups_due, rejudge_due,
    extract(epoch FROM newest_received)::float8 AS newest_received_s,
    (SELECT max(number) FROM schema_migration) AS schema_version,
    (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescale,
    current_setting('timescaledb.license', true) AS licence
FROM health_counts(%(areas)s::text[], %(zone)s);

-- size: Size of the database, and its data directory if the user may read it and is on the same machine.
SELECT
    pg_database_size(current_database()) AS bytes,
    CASE
        WHEN pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')
            AND coalesce(inet_server_addr() << inet '127.0.0.0/8' OR inet_server_addr() = inet '::1', true)
        THEN current_setting('data_directory')
    END AS folder;

-- disk_folders: The data folder, if the user may read it, and the tablespaces of this database, if they are on the same machine.
SELECT folder FROM (
    SELECT CASE WHEN pg_has_role(current_user, 'pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END AS folder
    UNION ALL
    SELECT nullif(pg_tablespace_location(t.oid), '') FROM pg_tablespace AS t WHERE t.oid IN (
        SELECT d.dattablespace FROM pg_database AS d WHERE d.datname = current_database()
        UNION SELECT c.reltablespace FROM pg_class AS c
    )
) AS found
WHERE folder IS NOT NULL AND coalesce(inet_server_addr() << inet '127.0.0.0/8' OR inet_server_addr() = inet '::1', true);

-- database_clock: The time of the database's clock.
SELECT extract(epoch FROM clock_timestamp())::float8;
