"""Generates the Grafana dashboards and alert rules as JSON and YAML files, and pushes them to Grafana."""
