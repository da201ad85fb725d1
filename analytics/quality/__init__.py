"""Limits of series by quantity, and names, texts and records of anomalies, for ingest and the service."""
