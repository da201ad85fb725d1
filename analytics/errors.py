"""Base class of the errors of `analytics`."""

from __future__ import annotations


class AnalyticsError(Exception):
    """An analysis, a report or an assessment could not be made; the message tells why."""


class TwinModelError(AnalyticsError):
    """A network, flow or observation that the models of the twin can not compute with."""
