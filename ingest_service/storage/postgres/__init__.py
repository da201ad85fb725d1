"""Store in PostgreSQL with TimescaleDB: connections, writes, reads, migrations, row-level security."""
