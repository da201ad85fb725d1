"""Stored values of duty: grid cells (网格), teams and their members, rosters, overrides, hand-over notes."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Language = Literal["zh", "en"]
Setting = Literal["town", "village"]
"""Whether a grid cell lies in a town or in a village, whose verification may take longer."""
TeamRole = Literal["member", "leader", "supervisor"]
RotationDays = Literal["all", "working", "rest"]


class GridCell(msgspec.Struct, frozen=True, kw_only=True):
    """A grid cell (网格): part of an area for which teams are responsible.

    ``geometry`` is a GeoJSON Polygon or MultiPolygon, WGS 84 [deg].
    """

    cell_id: str
    area_id: str
    en: str
    zh: str
    setting: Setting = "town"
    geometry: dict[str, Any]
    enabled: bool = True


class TeamMember(msgspec.Struct, frozen=True, kw_only=True):
    """A person of a team. ``principal`` is the id with which the person signs in (``key:…``, ``oidc:…``)."""

    member_id: str
    name: str
    role: TeamRole = "member"
    principal: str | None = None
    email: str | None = None
    language: Language = "zh"


class LinkedMember(msgspec.Struct, frozen=True, kw_only=True):
    """A member of a team who may be the holder of a principal or of an e-mail address."""

    member_id: str
    team_id: str
    principal: str | None


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What a team is responsible for: a cell (None: every cell of its area), a kind of incident (None: any).

    Among the teams that cover an incident, the one with the lowest ``rank`` is called first.
    """

    cell_id: str | None = None
    kind: str | None = None
    rank: int = 1


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """A team with its coverage, members and the channels of its group (``channels``: ids)."""

    team_id: str
    area_id: str
    en: str
    zh: str
    coverage: list[Coverage] = []
    members: list[TeamMember] = []
    channels: list[str] = []
    enabled: bool = True


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """Members who follow one another in shifts of equal length.

    Attributes
    ----------
    members : ids, in order; the first one has the shift that begins at ``starts``
    starts : start of the first shift, RFC 3339 with offset
    shift_hours : length of a shift on the clock of the towns [h]
    days : every day, only working days (调休 included), or only rest days
    from_time, until_time : time of the day in which the rotation is on duty, local ``HH:MM``; the whole day
        without them; an end before the start is on the next day

    """

    members: list[str]
    starts: str
    shift_hours: float = 24.0
    days: RotationDays = "all"
    from_time: str | None = None
    until_time: str | None = None


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """Duty roster (值班表) of a team: the first rotation that applies at a time says who is on duty."""

    roster_id: str
    area_id: str
    team_id: str
    en: str
    zh: str
    rotations: list[Rotation] = []
    enabled: bool = True


class RosterOverride(msgspec.Struct, frozen=True, kw_only=True):
    """A member who takes the duty in ``[from_s, to_s)`` [Unix s]; the newest one wins.

    ``member_id`` None restores the rotation.
    """

    override_id: int = 0  # given by the database
    roster_id: str
    area_id: str
    member_id: str | None
    from_s: float
    to_s: float
    who: str
    note: str = ""
    at_s: float = 0.0  # given by the database


class HandoverNote(msgspec.Struct, frozen=True, kw_only=True):
    """A note (交接班记录) that a shift leaves to the next one, with the incidents that it is about."""

    note_id: int = 0  # given by the database
    area_id: str
    team_id: str
    who: str
    text: str
    incidents: list[int] = []
    at_s: float = 0.0  # given by the database


class DutyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that defines who is on duty: cells, teams, rosters, and overrides that are not over."""

    cells: list[GridCell] = []
    teams: list[Team] = []
    rosters: list[Roster] = []
    overrides: list[RosterOverride] = []
