"""Errors of the HJ 212 server."""

from __future__ import annotations

from gateway.errors import GatewayError


class Hj212Error(GatewayError, ValueError):
    """A frame, a data segment or a station's settings can't be used; the message contains the remedy."""


class SegmentError(Hj212Error):
    """A data segment violates the grammar of HJ 212."""


class CipherError(Hj212Error):
    """An encrypted frame can't be decrypted."""


class StationError(Hj212Error):
    """The file of stations has an invalid entry."""
