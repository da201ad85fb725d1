"""Grafana as code: panels, dashboards, data source; the JSON is generated and committed."""
