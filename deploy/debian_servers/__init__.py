"""Installs Debian's TimescaleDB and Mosquitto, and runs them as child processes; needs root."""
