"""Base class of the errors of `analytics`."""

from __future__ import annotations


class AnalyticsError(Exception):
    """An analysis, a report or an assessment could not be made; the message tells why."""
