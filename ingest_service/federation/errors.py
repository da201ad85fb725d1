"""Errors of federation."""

from __future__ import annotations

from ingest_service.pipeline.errors import IngestError


class FederationError(IngestError):
    """What may be forwarded can't be read, or forwarding can't go on; the message states the remedy."""
