"""The sentences that the wire contract answers bad input with."""

from __future__ import annotations


class WireError(ValueError):
    """Something on the wire is not as contract version 1 says; the message says what to do."""


class PayloadError(WireError):
    """A payload can't be read as SenML."""


class TopicError(WireError):
    """A topic is none of contract version 1."""


class UnitError(WireError):
    """A unit can't be converted to the quantity's canonical unit."""
