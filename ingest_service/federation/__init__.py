"""Forwards from a town's platform to its county's, and receives there (docs/federation.md)."""
