"""Encrypted backups of a PostgreSQL server, with write-ahead log, and restoring them at a point in time."""
