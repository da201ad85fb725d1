"""Base class of the errors of `dashboards`."""

from __future__ import annotations


class DashboardsError(Exception):
    """Dashboards or alert rules could not be generated or pushed; the message tells why."""
