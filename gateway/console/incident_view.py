"""Collects what the page of an incident shows: reasons, trace, timeline, photos, legal actions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from analytics.incidents.reasons import step_reason_zh
from analytics.incidents.state_machine import legal_events, legal_requests, role_includes, transition_table
from analytics.service import missing_results, network_state
from analytics.service.missing_results import MissingResult
from gateway.api.routes import duty, notifications
from gateway.auth.authorization import SCENARIO_RUN
from gateway.console.incident_rows import event_name, incident_row, state_name
from gateway.console.sensor_verdict_row import sensor_verdict_row
from gateway.console.series_pages import neighbours

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.api.incident_access import IncidentAccess, MemberVerdicts
    from gateway.api.models.incident_models import IncidentTraceResponse
    from gateway.api.models.resource_models import PosteriorCandidateResponse, SensorVerdictResponse
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor
    from ingest_service.storage.contract.incidents import (
        Incident,
        IncidentAnomaly,
        IncidentHistory,
        IncidentPhoto,
        IncidentRequest,
    )
    from ingest_service.storage.contract.models import Anomaly

MAIN_EVENTS = ("acknowledge", "file", "dispatch", "accept", "report", "verify", "close")
"""Events of the usual way through the loop, whose buttons come first."""
MAX_MEMBERS = 100
MAX_TRACED = 8


class Action(NamedTuple):
    """An event that is legal now, with what its form requires."""

    event: str
    name: str
    is_main: bool
    needs_why: bool
    needs_team: bool
    needs_until: bool


@dataclass(frozen=True, slots=True)
class IncidentRecord:
    """An incident with everything stored about it, as the visitor may see it."""

    incident: Incident
    members: Sequence[IncidentAnomaly]
    history: Sequence[IncidentHistory]
    requests: Sequence[IncidentRequest]
    photos: Sequence[IncidentPhoto]
    first_anomaly: Anomaly | None
    source_trace: IncidentTraceResponse | MissingResult
    verdicts: MemberVerdicts


def read_record(access: IncidentAccess, incident_id: int) -> IncidentRecord:
    """Read an incident. Raises `ProblemError` 404 where it is not visible, and as the store does."""
    incident = access.visible(incident_id)
    members = [one for one in access.members(incident_id, limit=MAX_MEMBERS) if one.role != "suppressed"]
    plotted = next((one for one in members if one.series_id is not None), next(iter(members), None))
    return IncidentRecord(
        incident=incident,
        members=members,
        history=access.store.history(incident_id),
        requests=access.store.requests(incident_id=incident_id),
        photos=access.store.photos(incident_id),
        first_anomaly=None if plotted is None else access.context.store.anomaly(plotted.anomaly_id),
        source_trace=access.trace(incident),
        verdicts=access.sensor_verdicts(members),
    )


def record_values(
    record: IncidentRecord, access: IncidentAccess, visitor: Visitor, state: PlatformState
) -> dict[str, Any]:
    """Return what the template of an incident shows."""
    incident, index = record.incident, state.directory_index
    is_at_home = incident.area_id in index.visible_area_ids and incident.origin is None
    main_site = index.sites.get(incident.main_site_id)
    return {
        "incident": incident,
        "row": incident_row(incident, visitor, index),
        "main_site": main_site,
        "sites": [index.sites[one] for one in incident.site_ids if one in index.sites],
        "members": [_member_row(one, record.verdicts.found, visitor, state) for one in record.members],
        "verdict": sensor_verdict_row(record.verdicts.first, visitor, index),
        "verdict_missing": record.verdicts.first_missing,
        "anomaly": record.first_anomaly,
        "reason": _reason(record.first_anomaly, visitor),
        "evidence": _evidence(record.first_anomaly),
        "neighbours": neighbours(state, incident.main_site_id) if main_site else None,
        "timeline": [_timeline_row(one, visitor) for one in reversed(record.history)],
        "photos": record.photos,
        "actions": legal_actions(incident, access, visitor) if is_at_home else [],
        "request_kinds": [
            {"kind": kind, "name": visitor.text(f"request_{kind}"), "needs_until": kind != "return"}
            for kind in (legal_requests(incident, access.role) if is_at_home else [])
        ],
        "requests": [_request_row(one, access, visitor) for one in record.requests],
        **_trace(record, visitor, state),
        "may_replay": visitor.may(SCENARIO_RUN),
    }


def legal_actions(incident: Incident, access: IncidentAccess, visitor: Visitor) -> list[Action]:
    """Return the events that the visitor may cause now, the usual ones first."""
    actions = []
    for event in legal_events(incident, access.role):
        row = transition_table().row(event, incident)
        if row is not None:
            actions.append(
                Action(
                    event=event,
                    name=event_name(event, visitor),
                    is_main=event in MAIN_EVENTS,
                    needs_why=row.why,
                    needs_team="team_id" in row.needs,
                    needs_until="until" in row.needs,
                )
            )
    return sorted(actions, key=lambda one: not one.is_main)


def _reason(anomaly: Anomaly | None, visitor: Visitor) -> str:
    if anomaly is None:
        return ""
    return anomaly.reason_zh if visitor.language == "zh" else anomaly.reason_en


def _evidence(anomaly: Anomaly | None) -> str:
    return "" if anomaly is None else json.dumps(anomaly.evidence, ensure_ascii=False, indent=1, default=str)


def _member_row(
    one: IncidentAnomaly,
    verdicts: Mapping[int, SensorVerdictResponse],
    visitor: Visitor,
    state: PlatformState,
) -> dict[str, Any]:
    verdict = verdicts.get(one.anomaly_id)
    site = state.directory_index.sites.get(one.site_id)
    return {
        "id": one.anomaly_id,
        "site": visitor.name(site) if site else "–",
        "reason": one.reason_zh if visitor.language == "zh" else one.reason_en,
        "state": visitor.text(f"state_{one.state}"),
        "start_s": one.start_s,
        "severity": one.severity,
        "verdict": "" if verdict is None else visitor.text(f"verdict_{verdict.verdict}"),
    }


def _timeline_row(one: IncidentHistory, visitor: Visitor) -> dict[str, Any]:
    steps = [state_name(name, visitor) for name in (one.from_state, one.to_state) if name]
    return {
        "at_s": one.at_s,
        "event": event_name(one.event, visitor),
        "who": visitor.text("the_platform") if one.who == "service" else one.who.partition(" (")[0],
        "why": _step_reason(one, visitor),
        "steps": " → ".join(dict.fromkeys(steps)),
    }


def _step_reason(one: IncidentHistory, visitor: Visitor) -> str:
    """Return why a step was taken, the platform's own ones in the visitor's language."""
    if one.who != "service" or not one.why:
        return one.why
    if event_name(one.why, visitor) != one.why.replace(
        "_", " "
    ):  # the event of the other machine that caused it
        return event_name(one.why, visitor)
    return step_reason_zh(one.why) if visitor.language == "zh" else one.why


def _request_row(one: IncidentRequest, access: IncidentAccess, visitor: Visitor) -> dict[str, Any]:
    may_decide = role_includes(access.role, one.approver_role)  # type: ignore[arg-type]
    return {
        "id": one.request_id,
        "name": visitor.text(f"request_{one.kind}"),
        "who": one.requested_by.partition(" (")[0],
        "why": one.why,
        "until_s": one.until_s,
        "state": visitor.text(f"request_state_{one.state}"),
        "is_waiting": one.state == "waiting",
        "may_decide": one.state == "waiting" and may_decide,
        "may_withdraw": one.state == "waiting" and one.requested_by == access.who,
    }


def _trace(record: IncidentRecord, visitor: Visitor, state: PlatformState) -> dict[str, Any]:
    """Return where a water incident came from, with links and sources for the map.

    By concentrations as soon as the service has computed that; until then, and where it can't be computed, by
    travel times alone, with the reason.
    """
    index, anomaly = state.directory_index, record.first_anomaly
    nothing: dict[str, Any] = {
        "trace": None, "candidates": [], "trace_links": [], "sources": [], "map_sources": [], "sample": None,
        "trace_missing": record.source_trace if isinstance(record.source_trace, MissingResult) else None,
    }  # fmt: skip
    site = None if anomaly is None else index.sites.get(anomaly.site_id)
    if anomaly is None or site is None or not site.kind.startswith(("river", "lake", "outfall")):
        return nothing
    trace = network_state.trace_anomaly(index.directory, anomaly)
    found = record.source_trace
    if isinstance(found, MissingResult) or not found.posterior.candidates:
        shown = trace.candidates[:MAX_TRACED]
        links = sorted({link for one in shown for link in one.links})
        by_time = {"trace": trace, "candidates": shown, "trace_links": links}
        hidden = {} if isinstance(found, MissingResult) else {"trace_missing": missing_results.OUT_OF_SIGHT}
        return nothing | by_time | hidden
    posterior = found.posterior
    likely = set(posterior.credible_90)
    sample, nodes = posterior.extra_sample, index.nodes
    return nothing | {
        "sources": [
            _source_row(one, visitor, state, is_likely=one.node_id in likely)
            for one in posterior.candidates[:MAX_TRACED]
        ],
        "source_trace": found,
        "trace_links": sorted(
            {link for one in trace.candidates if one.node_id in likely for link in one.links}
        ),
        "map_sources": [
            {
                "lon": nodes[one.node_id].lon,
                "lat": nodes[one.node_id].lat,
                "text": f"{_percent(one.probability)} {visitor.name(one)}",
            }
            for one in posterior.candidates
            if one.node_id in likely
        ],
        "sample": sample and {"name": visitor.name(nodes[sample.node_id]), "time_s": sample.time.timestamp()},
    }


def _source_row(
    one: PosteriorCandidateResponse, visitor: Visitor, state: PlatformState, *, is_likely: bool
) -> dict[str, Any]:
    site_id = state.directory_index.nodes[one.node_id].site_id
    return {
        "name": visitor.site_name(one, site_id),
        "site_id": site_id,
        "probability": _percent(one.probability),
        "from_s": one.released_from.timestamp(),
        "to_s": one.released_to.timestamp(),
        "duration": visitor.duration(one.duration_s),
        "is_likely": is_likely,
        "group": one.group,
    }


def _percent(share: float) -> str:
    return "< 1%" if share < 0.01 else f"{share:.0%}"


def dispatch_proposals(access: IncidentAccess, incident: Incident, visitor: Visitor) -> list[tuple[str, str]]:
    """Return id and name of the teams to dispatch to, those responsible for the main site first."""
    if not visitor.may(duty.DUTY) or incident.main_site_id not in access.context.directory_index.sites:
        return []
    responsible = duty.duty(access.context, site=incident.main_site_id, kind=incident.kind)
    names = {one.team_id: visitor.name(one) for one in responsible}
    names |= {one.team_id: visitor.name(one) for one in duty.teams(access.context)}
    return list(names.items())


def deadline_rows(access: IncidentAccess, incident: Incident, visitor: Visitor) -> list[dict[str, Any]]:
    """Return the deadlines of the phases that are not met yet."""
    return [
        {"phase": visitor.text(f"phase_{one.phase}"), "due_s": one.due.timestamp(), "is_late": one.late}
        for one in notifications.deadlines(access.context, incident.incident_id)
        if one.met is None
    ]
