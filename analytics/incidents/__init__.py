"""Incidents: grouping of anomalies, states, priorities and alarm performance, as pure functions."""
