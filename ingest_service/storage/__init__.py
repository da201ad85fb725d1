"""Storage layer: data model, schema, queries and migrations, for PostgreSQL and in memory."""
