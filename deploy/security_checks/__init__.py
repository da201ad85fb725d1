"""Checks of an installation for weaknesses: broker, database, gateway, certificates and files."""
