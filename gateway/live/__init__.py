"""Live streams: server-sent events of readings, anomalies and device health."""
