"""Error of the reports."""

from __future__ import annotations

from analytics.errors import AnalyticsError


class MissingExtraError(AnalyticsError, ImportError):
    """A library that reports need is not installed; the message names the extra."""
