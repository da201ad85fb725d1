"""Embedded PostgreSQL and MQTT broker from Python wheels, run as child processes without root or installation."""
