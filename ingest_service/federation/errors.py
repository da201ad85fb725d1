"""Errors of federation."""

from __future__ import annotations

from ingest_service.pipeline.errors import IngestError


class DashboardsAwayError(IngestError):
    """Grafana does not answer now; the command stays with the platform above, which sends it again."""


class FederationError(IngestError):
    """What may be forwarded can't be read, or forwarding can't go on; the message states the remedy."""
