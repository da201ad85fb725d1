"""Quality limits of series; names, texts and records of anomalies. Used by ingest and by the service."""
