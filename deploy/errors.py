"""Defines `DeployError`, the base class of all errors of the commands."""

from __future__ import annotations


class DeployError(Exception):
    """A command could not do its work; the message gives the cause and the remedy."""
