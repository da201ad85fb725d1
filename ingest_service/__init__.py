"""Ingest service: the MQTT-to-database pipeline, and the storage layer that all services use."""
