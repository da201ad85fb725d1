"""Base class of the errors of `deploy`."""

from __future__ import annotations


class DeployError(Exception):
    """A command could not do its work; the message tells why, and what to do."""
