"""Exceptions for topics, payloads and units that violate the wire contract."""

from __future__ import annotations


class EdgeError(Exception):
    """Something failed on the device; the message tells why, and what to do."""


class WireError(EdgeError, ValueError):
    """Base class: input violates contract version 1; the message states the remedy."""


class PayloadError(WireError):
    """A payload can't be decoded (SenML, status or receipt)."""


class TopicError(WireError):
    """A topic is not a topic of contract version 1."""


class UnitError(WireError):
    """A unit can't be converted to the quantity's canonical unit."""
