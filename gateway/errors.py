"""Base class of the gateway's errors."""

from __future__ import annotations


class GatewayError(Exception):
    """Something failed in the gateway; subclasses tell what, and how to mend it."""
