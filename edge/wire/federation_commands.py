"""Commands by which a county acts on a town below it through the town's own platform (docs/federation.md).

Published on ``…/command`` of the device that forwards for the town, again and again until its result comes
with the forwarded messages. A command has an id, by which the town recognises repeats.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edge.wire.errors import PayloadError
from edge.wire.federation import FORMAT_VERSION, ForwardedHistoryEntry

CONTENT_TYPE = "application/vnd.towntwin.federation-command+json"
CommandKind = Literal["limits", "incident"]


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


CommandContent = LimitsCommand | IncidentCommand


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
