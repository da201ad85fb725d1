"""The store: schema, queries, migrations; PostgreSQL and its in-memory twin; the second contract."""
