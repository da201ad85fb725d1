"""Numbers about readings: the judging core, the twin models, and the periodic service."""
