"""Operators' web console: pages rendered by the server (Jinja2), htmx for fragments, MapLibre for the map."""
