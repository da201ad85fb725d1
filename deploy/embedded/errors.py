"""Error of the embedded servers."""

from __future__ import annotations

from deploy.errors import DeployError


class EmbeddedError(DeployError):
    """An embedded server can't be used as requested; the message gives the remedy."""
