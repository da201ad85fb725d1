"""Changes of incidents by people that are no transitions: assignment, merge, split, requests and decisions.

Each function takes incidents as they were read and returns `IncidentUpdate`s; the store applies them
together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from analytics.incidents.state_machine import (
    ActingRole,
    IllegalTransitionError,
    IncidentError,
    MissingDetailError,
    RoleError,
    apply_event,
    legal_requests,
    request_rule,
    role_includes,
)
from ingest_service.storage.contract.incidents import (
    SERVICE,
    HistoryEntry,
    Incident,
    IncidentAnomaly,
    IncidentRequest,
    IncidentUpdate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.incidents import RequestKind, RequestState


BY_HAND: Final = "by_hand"
"""Consequence of an incident whose priority a person set; the matrix does not change it any more."""


class WrongAnomalyError(IncidentError):
    """An anomaly can't be moved: it is not in the incident, or it is the last one of it."""


def record(event: str, *, who: str, at_s: float, why: str = "", **detail: object) -> HistoryEntry:
    """Return a history entry that is no transition."""
    return HistoryEntry(machine="record", event=event, who=who, why=why, at_s=at_s, detail=detail)


def assign(
    incident: Incident,
    *,
    who: str,
    at_s: float,
    why: str = "",
    team_id: str | None = None,
    assignee: str | None = None,
    priority: int | None = None,
) -> IncidentUpdate:
    """Set team, assignee and priority of an incident; None leaves one as it is.

    Raises `MissingDetailError` if the priority changes without a reason.
    """
    entries = []
    changed = incident
    if team_id is not None or assignee is not None:
        changed = msgspec.structs.replace(
            changed,
            team_id=team_id if team_id is not None else incident.team_id,
            assignee=assignee if assignee is not None else incident.assignee,
        )
        entries.append(
            record("assign", who=who, at_s=at_s, why=why, team_id=changed.team_id, assignee=changed.assignee)
        )
    if priority is not None and priority != incident.priority:
        if not why.strip():
            raise MissingDetailError("a priority by hand requires a reason: write in why what led to it")
        changed = msgspec.structs.replace(changed, priority=priority, consequence=BY_HAND, urgency="")
        entries.append(
            record("prioritise", who=who, at_s=at_s, why=why, before=incident.priority, priority=priority)
        )
    return IncidentUpdate(incident=changed, entries=entries)


def merge(
    target: Incident,
    others: Sequence[Incident],
    members: Sequence[IncidentAnomaly],
    *,
    who: str,
    at_s: float,
    why: str,
) -> list[IncidentUpdate]:
    """Move the anomalies of other incidents to one, and close the others.

    Parameters
    ----------
    target : incident that remains; it must not be over
    others : incidents to close
    members : anomalies of the others

    Raises
    ------
    IllegalTransitionError
        If one of them is over already.

    """
    for one in (target, *others):
        if one.is_over:
            raise IllegalTransitionError("merge", one, [])
    updates = []
    for one in others:
        closed, entries = apply_event(one, "absorb", who=SERVICE, role="service", at_s=at_s, why=why)
        closed = msgspec.structs.replace(closed, merged_into=target.incident_id, active=False)
        entries.append(record("merge", who=who, at_s=at_s, why=why, into=target.incident_id))
        updates.append(IncidentUpdate(incident=closed, entries=entries))
    everything = [target, *others]
    moved = [
        msgspec.structs.replace(
            one,
            role="joined" if one.role == "opened" else one.role,
            reason="merged" if one.role != "suppressed" else one.reason,
            reason_en="merged by hand" if one.role != "suppressed" else one.reason_en,
            reason_zh="人工并案" if one.role != "suppressed" else one.reason_zh,
            by=who,
        )
        for one in members
    ]
    widened = msgspec.structs.replace(
        target,
        area_ids=sorted({area for one in everything for area in one.area_ids}),
        active=any(one.active for one in everything),
        severity=max(one.severity for one in everything),
        priority=min(one.priority for one in everything),
        started_s=min(one.started_s for one in everything),
        last_s=max(one.last_s for one in everything),
    )
    entry = record("merge", who=who, at_s=at_s, why=why, merged=[one.incident_id for one in others])
    return [IncidentUpdate(incident=widened, entries=[entry], members=moved), *updates]


def split(
    incident: Incident,
    members: Sequence[IncidentAnomaly],
    anomaly_ids: Sequence[int],
    area_of_site: dict[str, str],
    *,
    who: str,
    at_s: float,
    why: str,
) -> list[IncidentUpdate]:
    """Move some anomalies of an incident to a new one, which is new and unacknowledged.

    Raises
    ------
    WrongAnomalyError
        If an anomaly is not in the incident, or none would remain.

    """
    chosen = set(anomaly_ids)
    moved = [one for one in members if one.anomaly_id in chosen]
    kept = [one for one in members if one.anomaly_id not in chosen]
    missing = sorted(chosen - {one.anomaly_id for one in moved})
    if missing:
        raise WrongAnomalyError(
            f"anomaly {missing[0]} is not in incident {incident.incident_id}: leave it out"
        )
    if not any(one.role != "suppressed" for one in kept):
        raise WrongAnomalyError(
            f"incident {incident.incident_id} would have no anomaly left: leave one in it"
        )
    main = min(moved, key=lambda one: (one.start_s, one.anomaly_id))
    fresh = Incident(
        area_id=area_of_site[main.site_id],
        area_ids=sorted({area_of_site[one.site_id] for one in moved}),
        main_site_id=main.site_id,
        kind=incident.kind,
        cause=incident.cause,
        priority=incident.priority,
        consequence=incident.consequence,
        urgency=incident.urgency,
        severity=max(one.severity for one in moved),
        active=any(one.state == "open" for one in moved),
        started_s=main.start_s,
        last_s=max(one.end_s or one.start_s for one in moved),
        opened_s=at_s,
        alarm_state="normal",
        opened_by=who,
    )
    fresh, sounded = apply_event(fresh, "annunciate", who=SERVICE, role="service", at_s=at_s)
    new_members = [
        msgspec.structs.replace(
            one,
            role="opened" if one is main else "joined",
            reason="split",
            reason_en="split off by hand",
            reason_zh="人工拆案",
            by=who,
        )
        for one in moved
    ]
    return [
        IncidentUpdate(
            incident=fresh,
            entries=[record("open", who=who, at_s=at_s, why=why, split_from=incident.incident_id), *sounded],
            members=new_members,
        ),
        IncidentUpdate(
            incident=msgspec.structs.replace(
                incident,
                area_ids=sorted({area_of_site[one.site_id] for one in kept} | {incident.area_id}),
                active=any(one.state == "open" and one.role != "suppressed" for one in kept),
            ),
            entries=[record("split", who=who, at_s=at_s, why=why, anomalies=sorted(chosen))],
        ),
    ]


def request_approval(
    incident: Incident,
    kind: RequestKind,
    *,
    who: str,
    role: ActingRole,
    at_s: float,
    why: str,
    until_s: float | None,
) -> tuple[IncidentRequest, IncidentUpdate]:
    """Make a request for an extension, a return or a hold.

    Raises
    ------
    IllegalTransitionError
        If the incident's state or the role allows no such request.
    MissingDetailError
        If the reason, or a time that the request needs, is missing.

    """
    rule = request_rule(kind)
    legal = legal_requests(incident, role)
    if kind not in legal:
        raise IllegalTransitionError(f"request {kind}", incident, [f"request {one}" for one in legal])
    if not why.strip():
        raise MissingDetailError("a request requires a reason: write in why what led to it")
    if "until" in rule.needs and (until_s is None or until_s <= at_s):
        raise MissingDetailError(f"a request for {kind} requires a time in the future: give it in until")
    request = IncidentRequest(
        incident_id=incident.incident_id,
        kind=kind,
        requested_by=who,
        requested_s=at_s,
        why=why,
        until_s=until_s if "until" in rule.needs else None,
        approver_role=rule.approver,
    )
    entry = record("request", who=who, at_s=at_s, why=why, kind=kind, until_s=request.until_s)
    return request, IncidentUpdate(incident=incident, entries=[entry])


def decide_request(
    incident: Incident,
    request: IncidentRequest,
    state: RequestState,
    *,
    who: str,
    role: ActingRole,
    at_s: float,
    why: str,
) -> tuple[IncidentRequest, IncidentUpdate]:
    """Approve, refuse or withdraw a request, and apply what its approval means.

    Nobody approves his own request.

    Raises
    ------
    RoleError
        If the role may not decide on it, or whoever made it approves it himself.
    IllegalTransitionError
        If it was approved, and the incident's state does not allow it any more.

    """
    rule = request_rule(request.kind)
    if state == "withdrawn":
        if who != request.requested_by:
            raise RoleError("a request is withdrawn by whoever made it: refuse it instead")
    elif not role_includes(role, rule.approver):
        raise RoleError(
            f"a request for {request.kind} is decided by the role {rule.approver}, and this is {role}"
        )
    elif state == "approved" and who == request.requested_by:
        raise RoleError("nobody approves his own request: let somebody else decide")
    decided = msgspec.structs.replace(request, state=state, decided_by=who, decided_s=at_s, decided_why=why)
    entries = [
        record(
            "decide", who=who, at_s=at_s, why=why, kind=request.kind, state=state, request=request.request_id
        )
    ]
    changed = incident
    if state == "approved":
        if incident.state not in rule.from_:
            raise IllegalTransitionError(f"request {request.kind}", incident, [])
        if rule.event is not None:
            changed, transitions = apply_event(
                incident, rule.event, who=who, role=role, at_s=at_s, why=request.why, approved=True
            )
            entries += transitions
        else:
            name = "extended_until_s" if request.kind == "extension" else "held_until_s"
            changed = msgspec.structs.replace(incident, **{name: request.until_s})
            event = "extend" if request.kind == "extension" else "hold"
            entries.append(record(event, who=who, at_s=at_s, why=request.why, until_s=request.until_s))
    return decided, IncidentUpdate(incident=changed, entries=entries)
