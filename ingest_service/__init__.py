"""From the broker to the database: the pipeline, and the storage that every reader uses."""
