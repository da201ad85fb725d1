"""Heartbeats of the platform's processes, and what is derived from them: states, readiness, messages."""
