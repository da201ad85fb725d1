"""Routes that list incidents, return one with its history, and change it (transitions, merge, split)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from analytics.incidents import edits, manual_incident, state_machine
from analytics.incidents.priority_matrix import read_matrix
from analytics.service.missing_results import MissingResult
from gateway.api import query_params
from gateway.api.incident_access import (
    IncidentAccess,
    anomaly_response,
    history_response,
)
from gateway.api.models import incident_models as models
from gateway.api.models.resource_models import PageResponse, missing_response
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext
from gateway.auth.authorization import INCIDENT_WORK, INCIDENTS, OPERATOR, RequiredRight, requires
from ingest_service.storage.contract.incidents import (
    AlarmState,
    IncidentKind,
    IncidentQuery,
    IncidentState,
    IncidentUpdate,
    RevisionConflictError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.incidents import HistoryEntry, Incident

router = APIRouter(prefix="/v1/incidents", tags=["incidents"])

IncidentIdParam = Annotated[int, query_params.ID_PATH]
INCIDENT_OPERATION = RequiredRight(OPERATOR, "incidents")
MAX_VERIFIED = 100  # anomalies of an incident, the first ones, among which a verdict is looked up
MAX_ATTEMPTS = 5  # of a comment, which needs no revision, against concurrent changes


def incident_query(
    context: CurrentContext,
    area: query_params.AreaParam = None,
    site: query_params.SiteParam = None,
    kind: Annotated[list[IncidentKind] | None, Query(description="Kinds, repeatable")] = None,
    cause: Annotated[
        list[Annotated[str, Field(max_length=200)]] | None, Query(description="Causes, repeatable")
    ] = None,
    state: Annotated[list[IncidentState] | None, Query(description="States, repeatable")] = None,
    alarm_state: Annotated[
        list[AlarmState] | None, Query(description="States of the alarm, repeatable")
    ] = None,
    status: Annotated[
        Literal["open", "over"] | None, Query(description="Over: closed, or a false alarm")
    ] = None,
    priority_max: Annotated[int, Query(ge=1, le=4, description="Up to this priority; 1 is most urgent")] = 4,
    team: Annotated[
        list[Annotated[str, Field(max_length=200)]] | None, Query(description="Teams, repeatable")
    ] = None,
    assignee: Annotated[str | None, Query(max_length=200)] = None,
    parent: Annotated[int | None, Query(ge=1, lt=2**63, description="Suppressed by this incident")] = None,
    from_: query_params.FromParam = None,
    to: query_params.ToParam = None,
) -> IncidentQuery:
    """Return the query of the filters, for opening times from ``from`` to ``to``."""
    directory_index = context.directory_index
    if site is not None and site not in directory_index.sites:
        raise not_found("site", site)
    if from_ and to and from_ >= to:
        raise ProblemError(422, "from: must be before to", where="from")
    if any("\0" in one for one in [*(cause or []), *(team or []), assignee or ""]):
        raise ProblemError(422, "cause, team, assignee: there must be no NUL in it", where="cause")
    return IncidentQuery(
        area_ids=None if area is None else sorted(directory_index.areas_below(area)),
        site_ids=None if site is None else [site],
        kinds=kind,
        causes=cause,
        states=state,
        alarm_states=alarm_state,
        is_open=None if status is None else status == "open",
        priority_max=priority_max,
        team_ids=team,
        assignee=assignee,
        parent_id=parent,
        from_s=from_.timestamp() if from_ else None,
        to_s=to.timestamp() if to else None,
    )


IncidentQueryParam = Annotated[IncidentQuery, Depends(incident_query)]


@router.get("", responses=problem_responses(404))
@requires(INCIDENTS)
def incidents(
    context: CurrentContext,
    request: Request,
    query: IncidentQueryParam,
    limit: query_params.LimitParam = 100,
    cursor: query_params.CursorParam = None,
) -> PageResponse[models.IncidentResponse]:
    """Incidents by filter, newest opening first. A team member gets those dispatched to his team."""
    access, cursor_signer = IncidentAccess.of(context), context.cursor_signer(request)
    rows = min(limit, context.settings.page_rows)
    if cursor:
        opened_us, incident_id = cursor_signer.decode(cursor, 2)
        query = msgspec.structs.replace(query, after=(opened_us, incident_id))
    matched = access.store.found(access.restricted(msgspec.structs.replace(query, limit=rows + 1)))
    return PageResponse(
        items=[access.response(one) for one in matched[:rows]],
        next=cursor_signer.encode(*matched[rows - 1].position) if len(matched) > rows else None,
    )


@router.post("", responses=problem_responses(403, 404))
@requires(INCIDENT_OPERATION)
def report(context: CurrentContext, new: models.NewIncidentRequest) -> models.IncidentResponse:
    """Open an incident that somebody reports; it has no anomaly, and its priority is that of the matrix."""
    access = IncidentAccess.of(context)
    site = context.directory_index.sites.get(new.site_id)
    if site is None:
        raise not_found("site", new.site_id)
    update = manual_incident.report(
        site,
        kind=new.kind,
        cause=new.cause,
        summary=new.summary,
        severity=new.severity,
        who=access.who,
        at_s=access.now_s,
        matrix=read_matrix(context.settings.priority_matrix),
    )
    return access.response(access.store.apply([update])[0])


@router.get("/{incident_id}", responses=problem_responses(404))
@requires(INCIDENTS)
def incident(context: CurrentContext, incident_id: IncidentIdParam) -> models.IncidentResponse:
    """One incident: the events that you may cause now, where its water came from, event or sensor fault."""
    access = IncidentAccess.of(context)
    found = access.visible(incident_id)
    verdicts = access.sensor_verdicts(access.members(incident_id, limit=MAX_VERIFIED))
    trace, verdict = access.trace(found), verdicts.first
    return access.response(found).model_copy(
        update={
            "trace": None if isinstance(trace, MissingResult) else trace,
            "trace_missing": missing_response(trace) if isinstance(trace, MissingResult) else None,
            "sensor_verdict": verdict,
            "sensor_verdict_missing": None if verdict else verdicts.first_missing,
        }
    )


@router.get("/{incident_id}/anomalies", responses=problem_responses(404))
@requires(INCIDENTS)
def members(context: CurrentContext, incident_id: IncidentIdParam) -> list[models.IncidentAnomalyResponse]:
    """The anomalies of an incident at sites that you may see, each with the reason why it belongs there.

    Those of the incidents of towns below it are among them.
    """
    access = IncidentAccess.of(context)
    access.visible(incident_id)
    found = access.members(incident_id)
    verdicts = access.sensor_verdicts(found)
    return [anomaly_response(one, verdicts) for one in found]


@router.get("/{incident_id}/history", responses=problem_responses(404))
@requires(INCIDENTS)
def history(
    context: CurrentContext,
    incident_id: IncidentIdParam,
    after: Annotated[int, Query(ge=0, lt=2**63, description="Entries after this one")] = 0,
    event: Annotated[
        list[Annotated[str, Field(max_length=50, pattern="^[a-z_]+$")]] | None,
        Query(description="Some events, repeatable", examples=[["comment"]]),
    ] = None,
) -> list[models.HistoryResponse]:
    """Who did what, when and why, from which state; oldest first. Comments are entries, too."""
    access = IncidentAccess.of(context)
    access.visible(incident_id)
    entries = access.store.history(incident_id, after_id=after, events=event)
    return [history_response(one) for one in entries]


@router.post("/{incident_id}/transitions", responses=problem_responses(403, 404, 409))
@requires(INCIDENT_WORK)
def transition(
    context: CurrentContext, incident_id: IncidentIdParam, requested: models.TransitionRequest
) -> models.IncidentResponse:
    """Cause an event. An illegal one gets 409 with the list of those that are `legal`."""
    access = IncidentAccess.of(context)
    changed, entries = state_machine.apply_event(
        access.changeable(incident_id, requested.revision),
        requested.event,
        who=access.who,
        role=access.role,
        at_s=access.now_s,
        why=requested.why,
        team_id=requested.team_id,
        assignee=requested.assignee,
        until_s=requested.until.timestamp() if requested.until else None,
    )
    context.add_audit_detail(event=requested.event)
    return access.response(access.store.apply([IncidentUpdate(incident=changed, entries=entries)])[0])


@router.post("/{incident_id}/comments", responses=problem_responses(403, 404, 409))
@requires(INCIDENT_WORK)
def comment(
    context: CurrentContext, incident_id: IncidentIdParam, new: models.CommentRequest
) -> models.IncidentResponse:
    """Add a comment to the history; it needs no revision, and no right for the home area."""
    access = IncidentAccess.of(context)
    entry = edits.record("comment", who=access.who, at_s=access.now_s, why=new.text)
    return access.response(apply_to_newest(access, incident_id, [entry]))


@router.put("/{incident_id}/assignment", responses=problem_responses(403, 404, 409))
@requires(INCIDENT_OPERATION)
def assign(
    context: CurrentContext, incident_id: IncidentIdParam, requested: models.AssignmentRequest
) -> models.IncidentResponse:
    """Set team, assignee or priority by hand; a priority requires a reason."""
    access = IncidentAccess.of(context)
    update = edits.assign(
        access.changeable(incident_id, requested.revision),
        who=access.who,
        at_s=access.now_s,
        why=requested.why,
        team_id=requested.team_id,
        assignee=requested.assignee,
        priority=requested.priority,
    )
    return access.response(access.store.apply([update])[0])


@router.post("/{incident_id}/merge", responses=problem_responses(403, 404, 409))
@requires(INCIDENT_OPERATION)
def merge(
    context: CurrentContext, incident_id: IncidentIdParam, requested: models.MergeRequest
) -> models.IncidentResponse:
    """Merge other incidents into this one: their anomalies move, and they are closed."""
    access = IncidentAccess.of(context)
    if incident_id in requested.incident_ids:
        raise ProblemError(422, "incident_ids: an incident can't be merged into itself", where="incident_ids")
    target = access.fully_visible(incident_id, requested.revision)
    others = [access.fully_visible(one) for one in dict.fromkeys(requested.incident_ids)]
    updates = edits.merge(
        target,
        others,
        access.store.members(one.incident_id for one in others),
        who=access.who,
        at_s=access.now_s,
        why=requested.why,
    )
    access.store.apply(updates)
    return access.response(access.visible(incident_id))


@router.post("/{incident_id}/split", responses=problem_responses(403, 404, 409))
@requires(INCIDENT_OPERATION)
def split(
    context: CurrentContext, incident_id: IncidentIdParam, requested: models.SplitRequest
) -> models.IncidentResponse:
    """Move some anomalies of this incident to a new one, which is returned."""
    access = IncidentAccess.of(context)
    updates = edits.split(
        access.fully_visible(incident_id, requested.revision),
        access.store.members([incident_id]),
        requested.anomaly_ids,
        {one.site_id: one.area_id for one in context.directory_index.directory.sites},
        who=access.who,
        at_s=access.now_s,
        why=requested.why,
    )
    fresh = access.store.apply(updates)[0]
    return access.response(access.visible(fresh.incident_id))


def apply_to_newest(access: IncidentAccess, incident_id: int, entries: Sequence[HistoryEntry]) -> Incident:
    """Add history entries to an incident, whatever its revision is. Raises as the store does."""
    for attempt in range(MAX_ATTEMPTS):
        try:
            update = IncidentUpdate(incident=access.visible(incident_id), entries=entries)
            return access.store.apply([update])[0]
        except RevisionConflictError:
            if attempt == MAX_ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt raises or returns")
