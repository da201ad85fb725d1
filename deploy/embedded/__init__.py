"""Runs PostgreSQL and an MQTT broker from Python wheels as child processes; needs no installation."""
