"""Applies events to the two states of an incident, as `transitions.toml` allows them.

An illegal event is refused with the events that are legal. Nothing here reads a clock or a store: each
function takes an incident and returns the changed one with its history entries.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec

from analytics.errors import AnalyticsError
from ingest_service.storage.contract.incidents import (
    OVER_STATES,
    SERVICE,
    AlarmState,
    HistoryEntry,
    Incident,
    IncidentState,
    RequestKind,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ActingRole = Literal[
    "service", "viewer", "team_member", "operator", "supervisor", "engineer", "administrator"
]
ROLE_ORDER: Final[tuple[ActingRole, ...]] = get_args(ActingRole)[1:]
"""Roles of people in ascending order; the platform itself (``service``) is beside them."""

ANNUNCIATED: Final[frozenset[AlarmState]] = frozenset({"unacknowledged"})
_TIME_FIELDS: Final[dict[str, str]] = {
    "filed": "filed_s",
    "dispatched": "dispatched_s",
    "reported": "reported_s",
    "closed": "closed_s",
    "false_alarm": "closed_s",
}


class IncidentError(AnalyticsError):
    """Base class: an incident can't be changed as requested."""


class IllegalTransitionError(IncidentError):
    """An event is not legal in the incident's state; ``legal`` has the events that are."""

    def __init__(self, event: str, incident: Incident, legal: list[str]) -> None:
        super().__init__(
            f"{event!r} is not legal for incident {incident.incident_id}, which is {incident.state} with its "
            f"alarm {incident.alarm_state}; legal now: {', '.join(legal) or 'nothing'}"
        )
        self.event, self.legal = event, legal


class RoleError(IncidentError):
    """An event is legal, and requires a higher role, or an approved request."""


class MissingDetailError(IncidentError):
    """An event requires a reason, a team or a time, which is missing or out of its bounds."""


class Transition(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A row of one of the two machines."""

    event: str
    zh: str
    from_: list[str]
    to: str
    to_if_active: str | None = None
    role: ActingRole
    why: bool = False
    needs: list[Literal["team_id", "until"]] = []
    by_request: bool = False


class RequestRule(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A row of the requests: who may make one, who approves it, and the event that follows its approval."""

    kind: RequestKind
    zh: str
    from_: list[IncidentState]
    role: ActingRole
    approver: ActingRole
    needs: list[Literal["until"]] = []
    event: str | None = None


class TransitionTable(msgspec.Struct, frozen=True):
    """Both machines, the requests and the limits of shelving, as in `transitions.toml`."""

    workflow: list[Transition]
    alarm: list[Transition]
    requests: list[RequestRule]
    shelving_h: dict[str, float]

    def __post_init__(self) -> None:
        _check_machine("workflow", self.workflow, get_args(IncidentState))
        _check_machine("alarm", self.alarm, get_args(AlarmState))

    def machine_of(self, event: str) -> Literal["workflow", "alarm"] | None:
        """Return the machine that has an event; None if neither has."""
        if any(one.event == event for one in self.workflow):
            return "workflow"
        return "alarm" if any(one.event == event for one in self.alarm) else None

    def row(self, event: str, incident: Incident) -> Transition | None:
        """Return the row of an event that is legal in the incident's states; None if there is none."""
        for machine, state in ((self.workflow, incident.state), (self.alarm, incident.alarm_state)):
            for one in machine:
                if one.event == event and state in one.from_:
                    return one
        return None


@cache
def transition_table() -> TransitionTable:
    """Return the table of this version. Raises ValueError where the file is wrong."""
    text = files("analytics.incidents").joinpath("transitions.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), TransitionTable)


def legal_events(incident: Incident, role: ActingRole | None = None) -> list[str]:
    """Return the events that people may cause in the incident's states, or those that a role may.

    Events that follow the approval of a request, and those of the platform, are left out. Nothing but to
    reopen it can be done with an incident that is over.
    """
    return list(
        dict.fromkeys(
            one.event for one in _legal_rows(incident) if role is None or role_includes(role, one.role)
        )
    )


def legal_requests(incident: Incident, role: ActingRole) -> list[RequestKind]:
    """Return the kinds of requests that a role may make for an incident now."""
    return [
        one.kind
        for one in transition_table().requests
        if incident.state in one.from_ and role_includes(role, one.role)
    ]


def request_rule(kind: RequestKind) -> RequestRule:
    """Return the rule of a kind of requests."""
    return next(one for one in transition_table().requests if one.kind == kind)


def apply_event(
    incident: Incident,
    event: str,
    *,
    who: str,
    role: ActingRole,
    at_s: float,
    why: str = "",
    team_id: str | None = None,
    assignee: str | None = None,
    until_s: float | None = None,
    approved: bool = False,
) -> tuple[Incident, list[HistoryEntry]]:
    """Apply an event to an incident.

    Parameters
    ----------
    who, role : who causes the event, and his role; ``service`` is the platform
    at_s : when, Unix seconds [s]
    why : reason, required by some events
    team_id, assignee : of a dispatch
    until_s : end of a shelving, Unix seconds [s]
    approved : whether a request for this event was approved

    Returns
    -------
    The incident after the event, and its history entries: one of the event, and one where the alarm is
    cleared because the incident is over.

    Raises
    ------
    IllegalTransitionError
        If the event is not legal in the incident's states, or there is no such event.
    RoleError
        If it requires a higher role or an approved request.
    MissingDetailError
        If it requires something that is missing.

    """
    row = transition_table().row(event, incident)
    if row is None or (incident.is_over and event not in {"reopen", "recur"} and row.role != SERVICE):
        raise IllegalTransitionError(
            event, incident, legal_events(incident, None if role == SERVICE else role)
        )
    _check_right(row, event, role, approved=approved)
    _check_details(row, incident, at_s, why=why, team_id=team_id, until_s=until_s)
    if row in transition_table().workflow:
        changed, entry = _workflow_step(incident, row, who, at_s, why, team_id=team_id, assignee=assignee)
    else:
        changed, entry = _alarm_step(incident, row, who, at_s, why, until_s=until_s)
    entries = [entry]
    if changed.is_over and not incident.is_over and transition_table().row("clear", changed):
        changed, cleared = apply_event(changed, "clear", who=SERVICE, role="service", at_s=at_s, why=event)
        entries += cleared
    return changed, entries


def _workflow_step(
    incident: Incident,
    row: Transition,
    who: str,
    at_s: float,
    why: str,
    *,
    team_id: str | None,
    assignee: str | None,
) -> tuple[Incident, HistoryEntry]:
    fields: dict[str, object] = {"state": row.to}
    if row.to in _TIME_FIELDS:
        fields[_TIME_FIELDS[row.to]] = at_s
    if incident.state in OVER_STATES:
        fields |= {"closed_s": None, "reported_s": None}
    detail: dict[str, object] = {}
    if row.event == "dispatch":
        fields |= {"team_id": team_id, "assignee": assignee}
        detail = {"team_id": team_id, "assignee": assignee}
    if row.event == "send_back":
        fields |= {"team_id": None, "assignee": None}
    entry = HistoryEntry(
        machine="workflow",
        event=row.event,
        from_state=incident.state,
        to_state=row.to,
        who=who,
        why=why,
        at_s=at_s,
        detail=detail,
    )
    return msgspec.structs.replace(incident, **fields), entry


def _alarm_step(
    incident: Incident, row: Transition, who: str, at_s: float, why: str, *, until_s: float | None
) -> tuple[Incident, HistoryEntry]:
    to = row.to_if_active if row.to_if_active is not None and incident.active else row.to
    fields: dict[str, object] = {"alarm_state": to, "shelved_until_s": None}
    if row.event == "shelve":
        fields["shelved_until_s"] = until_s
    if row.event == "acknowledge" and incident.acknowledged_s is None:
        fields |= {"acknowledged_s": at_s, "acknowledged_by": who}
    if row.event != "suppress":
        fields["suppressed_by"] = None
    if to in ANNUNCIATED:
        fields["annunciations"] = incident.annunciations + 1
    entry = HistoryEntry(
        machine="alarm",
        event=row.event,
        from_state=incident.alarm_state,
        to_state=to,
        who=who,
        why=why,
        at_s=at_s,
        detail={"until_s": until_s} if row.event == "shelve" else {},
    )
    return msgspec.structs.replace(incident, **fields), entry


def _legal_rows(incident: Incident) -> Iterator[Transition]:
    table = transition_table()
    machines: list[tuple[list[Transition], str]] = [(table.workflow, incident.state)]
    if not incident.is_over:
        machines.append((table.alarm, incident.alarm_state))
    for machine, state in machines:
        yield from (
            one for one in machine if state in one.from_ and one.role != SERVICE and not one.by_request
        )


def _check_right(row: Transition, event: str, role: ActingRole, *, approved: bool) -> None:
    if row.by_request and not approved:
        raise RoleError(f"{event!r} follows a request that was approved: make one, and have it approved")
    if not role_includes(role, row.role):
        needed = "the platform itself" if row.role == SERVICE else f"the role {row.role}"
        raise RoleError(f"{event!r} requires {needed}, and this is the role {role}")


def _check_details(
    row: Transition, incident: Incident, at_s: float, *, why: str, team_id: str | None, until_s: float | None
) -> None:
    if row.why and not why.strip():
        raise MissingDetailError(f"{row.event!r} requires a reason: write in why what led to it")
    if "team_id" in row.needs and not team_id:
        raise MissingDetailError(f"{row.event!r} requires a team: name it in team_id")
    if "until" in row.needs:
        longest_s = 3600 * transition_table().shelving_h[str(incident.priority)]
        if until_s is None or not at_s < until_s <= at_s + longest_s:
            raise MissingDetailError(
                f"{row.event!r} requires an end within {longest_s / 3600:g} h from now, for priority "
                f"{incident.priority}: give it in until"
            )


def role_includes(role: ActingRole, needed: ActingRole) -> bool:
    """Whether a role includes another one; the platform may do everything.

    >>> [role_includes("operator", one) for one in ("team_member", "supervisor", "service")]
    [True, False, False]
    """
    if role == SERVICE:
        return True
    return needed != SERVICE and ROLE_ORDER.index(role) >= ROLE_ORDER.index(needed)


def _check_machine(name: str, rows: list[Transition], states: tuple[str, ...]) -> None:
    """Raise ValueError where a row has an unknown state, or two rows of an event share a state."""
    seen: set[tuple[str, str]] = set()
    for one in rows:
        for state in [*one.from_, one.to, *([one.to_if_active] if one.to_if_active else [])]:
            if state not in states:
                raise ValueError(f"transitions.toml: {name} {one.event!r} has no state {state!r}")
        for state in one.from_:
            if (one.event, state) in seen:
                raise ValueError(f"transitions.toml: {name} has {one.event!r} twice from {state!r}")
            seen.add((one.event, state))
