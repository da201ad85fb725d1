"""Base class of the errors of `ingest_service.pipeline`."""

from __future__ import annotations


class IngestError(Exception):
    """A message or a batch could not be processed; the message tells why."""
