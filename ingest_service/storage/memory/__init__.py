"""The store in memory, for tests and for judging files without a database."""
