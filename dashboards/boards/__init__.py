"""The eight dashboards, each for a person and a question."""
