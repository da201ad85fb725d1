"""Implements `towntwin up`: runs the servers and all processes of the platform on one machine."""
