"""Errors of duty: plans, policies and cells that cannot be used."""

from __future__ import annotations

from analytics.errors import AnalyticsError


class DutyError(AnalyticsError, ValueError):
    """A roster, cell or policy is invalid; the message names the part and what to change."""
