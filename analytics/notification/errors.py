"""Errors of notification."""

from __future__ import annotations

from analytics.errors import AnalyticsError


class NotificationError(AnalyticsError):
    """A notification cannot be sent, and a retry would fail again; the message holds no secret."""


class AddressRefusedError(NotificationError):
    """The destination is not a public address, and the settings do not allow it."""
