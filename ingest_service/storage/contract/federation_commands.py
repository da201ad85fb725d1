"""Data classes of commands between a county and its towns."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from edge.wire.federation import FORMAT_VERSION
from edge.wire.federation_commands import FederationCommand

if TYPE_CHECKING:
    from ingest_service.storage.contract.incidents import IncidentUpdate

CommandState = Literal["waiting", "applied", "refused"]


class IssuedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command as it is stored.

    Attributes
    ----------
    area_id : of the site that it is about, or of the town that gets a dashboard
    device_id : forwarder of the platform below that gets it; None if it is applied here
    from_above : whether the platform above issued it
    kind : ``limits``, ``incident`` or ``dashboards``; ``unknown`` of a refused one that was not understood
    content : a `CommandContent` of `edge.wire.federation_commands`, as an object
    own_incident : the incident here that it is about
    state, detail : ``waiting`` until its result is known; why it was refused
    incident_id : incident that it opened, by its number at the platform that applied it

    """

    command_id: str = ""  # given by the store of the platform that issues it
    area_id: str
    device_id: str | None = None
    from_above: bool = False
    kind: str
    content: dict[str, Any]
    who: str
    note: str = ""
    issued_s: float = 0.0  # given by the store
    own_incident: int | None = None
    state: CommandState = "waiting"
    detail: str = ""
    incident_id: int | None = None
    finished_s: float | None = None


class CommandToSend(NamedTuple):
    """A command whose result is not known, with the device and its area, for the topic."""

    command: IssuedCommand
    device_area: str


class CommandEffect(NamedTuple):
    """What a received command does here; without any of the four it is refused, for a reason.

    ``limits`` are adopted for a series, ``incident`` is stored, it ``is_done`` outside of the database, or it
    is passed on to a forwarder.
    """

    refusal: str = ""
    limits: tuple[int, dict[str, float | None]] | None = None
    incident: IncidentUpdate | None = None
    device: str | None = None
    is_done: bool = False


def wire_command(command: IssuedCommand) -> FederationCommand:
    """Return a command as it is sent to the platform below."""
    content = {"kind": command.kind, **command.content}
    return FederationCommand(
        version=FORMAT_VERSION,
        command_id=command.command_id,
        issued_s=command.issued_s,
        who=command.who.removeprefix("above: "),
        note=command.note,
        content=msgspec.Raw(msgspec.json.encode(content)),
    )


def content_summary(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a command for lists and the audit: of a dashboard, its uid and title alone."""
    dashboard = content.get("dashboard")
    if not isinstance(dashboard, dict):
        return content
    digest = hashlib.sha256(msgspec.json.encode(dashboard, order="deterministic")).hexdigest()
    named = {name: dashboard.get(name) for name in ("uid", "title")}
    return content | {"dashboard": named | {"sha256": digest}}


def target_of(content: dict[str, Any]) -> str:
    """Return what a command is about: a site, or the uid of a dashboard."""
    dashboard = content.get("dashboard")
    named = dashboard.get("uid") if isinstance(dashboard, dict) else content.get("site_id")
    return named if isinstance(named, str) else ""
