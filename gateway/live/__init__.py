"""Live streams: server-sent events of readings and anomalies."""
