"""Commands by which a county acts on a town below it through the town's own platform (docs/federation.md).

Published on ``…/command`` of the device that forwards for the town, again and again until its result comes
with the forwarded messages. A command has an id, by which the town recognises repeats.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from edge.wire.errors import PayloadError
from edge.wire.federation import FORMAT_VERSION, ForwardedHistoryEntry

CONTENT_TYPE = "application/vnd.towntwin.federation-command+json"
CommandKind = Literal["limits", "incident", "dashboards"]
MAX_DASHBOARD_BYTES = 500_000
"""Size of a dashboard as JSON; the largest generated one has 150,000 bytes."""
OWN_UID_PREFIX = "towntwin-"
"""Of the dashboards that each platform generates itself."""


class LimitsCommand(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="limits"):
    """Adopt limits for a series in place of all adopted before; None disables one."""

    site_id: str
    quantity: str
    limits: dict[str, float | None]


class IncidentCommand(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="incident"):
    """Open an incident at a site, with its fields by the names of the HTTP API, times with ``_s``."""

    site_id: str
    incident: dict[str, Any]
    entries: list[ForwardedHistoryEntry] = []


class DashboardsCommand(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="dashboards"):
    """Put a dashboard of Grafana into that of the town for an area; it has a ``uid`` and a ``title``."""

    area_id: str
    dashboard: dict[str, Any]


CommandContent = LimitsCommand | IncidentCommand | DashboardsCommand


def dashboard_problem(dashboard: dict[str, Any]) -> str:
    """Return what is wrong with a dashboard to be sent to a town; empty if nothing is.

    >>> dashboard_problem({"uid": "county-rivers", "title": "Rivers"})
    ''
    """
    uid, title = dashboard.get("uid"), dashboard.get("title")
    if not isinstance(uid, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", uid):
        return "the dashboard has no uid of 1 to 40 letters, digits, _ and -"
    if uid.startswith(OWN_UID_PREFIX):
        return f"uid {uid!r} is of a dashboard that every platform generates: save a copy with another uid"
    if not isinstance(title, str) or not title.strip():
        return "the dashboard has no title"
    size = len(msgspec.json.encode(dashboard))
    if size > MAX_DASHBOARD_BYTES:
        return f"the dashboard has {size:,} bytes, and at most {MAX_DASHBOARD_BYTES:,} are sent: split it"
    return ""


class FederationCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command; ``content`` is a `CommandContent`, decoded by itself so that one of a newer kind is refused.

    Attributes
    ----------
    version : of the format
    command_id : a UUID
    issued_s : Unix time [s]
    who, note : who issued it, and why

    """

    version: int
    command_id: str
    issued_s: float
    who: str
    note: str = ""
    content: msgspec.Raw


def decode_command(payload: bytes) -> FederationCommand:
    """Decode a command without its content. Raises `PayloadError`."""
    try:
        return msgspec.json.decode(payload, type=FederationCommand)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"it is no command of a platform above: {error}") from error


def decode_content(command: FederationCommand) -> CommandContent:
    """Decode the content of a command. Raises `PayloadError` with the remedy."""
    if abs(command.version - FORMAT_VERSION) > 1:
        older = "the platform that issued it" if command.version < FORMAT_VERSION else "this platform"
        raise PayloadError(
            f"its format has version {command.version}, and this platform understands {FORMAT_VERSION} and"
            f" the ones before and after it: update {older}"
        )
    try:
        found: CommandContent = msgspec.json.decode(command.content, type=CommandContent)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"its content is not understood: {error}; update this platform") from error
    return found


def encode_command(command: FederationCommand) -> bytes:
    """Encode a command as JSON."""
    return msgspec.json.encode(command)
