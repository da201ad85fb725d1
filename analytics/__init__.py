"""The judging core, the twin models, the assessments, and the periodic service."""
