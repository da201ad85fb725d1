"""Serves the pages of incidents and of one's own tasks, and takes their forms."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Form, Path, Query, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from analytics.incidents.state_machine import (
    IllegalTransitionError,
    IncidentError,
    MissingDetailError,
    RoleError,
)
from gateway.api.incident_access import IncidentAccess
from gateway.api.models import incident_models as models
from gateway.api.problems import ProblemError
from gateway.api.routes import incident_requests, incidents
from gateway.auth.authorization import CONSOLE, INCIDENT_WORK, INCIDENTS, requires
from gateway.auth.principal import Role
from gateway.console.incident_rows import (
    OPERATOR_STATES,
    event_name,
    incident_row,
    sorted_for_work,
    state_name,
)
from gateway.console.incident_view import (
    IncidentRecord,
    deadline_rows,
    dispatch_proposals,
    read_record,
    record_values,
)
from gateway.console.map_features import STATUSES
from gateway.console.page_parts import PageParts
from gateway.console.plot_range import PlotRange, range_around
from gateway.console.series_pages import plot_values
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response, require
from ingest_service.storage.contract.incidents import IncidentQuery, RevisionConflictError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor

router = APIRouter(include_in_schema=False)

MAX_LISTED = 200
WORK = INCIDENT_WORK._replace(by_session=True)
OPERATION = incidents.INCIDENT_OPERATION._replace(by_session=True)
IncidentId = Annotated[int, Path(ge=1, lt=2**63)]
Revision = Annotated[int, Form(ge=1, lt=2**63)]
FormText = Annotated[str, Form(max_length=models.MAX_TEXT)]
DONE_KEYS = ("transition", "comment", "photo", "request", "decision", "assignment", "merge", "split")


@router.get("/console/incidents")
@requires(CONSOLE)
async def incidents_page(
    visitor: CurrentVisitor,
    state: CurrentState,
    status: Annotated[Literal["open", "over"], Query()] = "open",
) -> HTMLResponse:
    """Serve the list of incidents, the most urgent first."""
    found = await run_in_threadpool(
        _found, visitor, IncidentQuery(is_open=status == "open", limit=MAX_LISTED)
    )
    ordered = sorted_for_work(found) if status == "open" else found
    return page_response(
        visitor,
        "incidents.html",
        parts=PageParts(visitor, state),
        status=status,
        rows=[incident_row(one, visitor, state.directory_index) for one in ordered],
    )


@router.get("/console/tasks")
@requires(CONSOLE)
async def tasks_page(visitor: CurrentVisitor, state: CurrentState) -> HTMLResponse:
    """Serve the incidents whose next step is the visitor's: his team's, or the duty operators'."""
    found = await run_in_threadpool(_found, visitor, IncidentQuery(is_open=True, limit=MAX_LISTED))
    is_member = visitor.context.principal.role == Role.TEAM_MEMBER
    own = [one for one in found if is_member != (one.state in OPERATOR_STATES)]
    return page_response(
        visitor,
        "tasks.html",
        parts=PageParts(visitor, state),
        rows=[incident_row(one, visitor, state.directory_index) for one in sorted_for_work(own)],
    )


@router.get("/console/incidents/{incident_id}")
@requires(CONSOLE)
async def incident_page(
    visitor: CurrentVisitor,
    state: CurrentState,
    incident_id: IncidentId,
    done: Annotated[str, Query(max_length=20)] = "",
) -> HTMLResponse:
    """Serve an incident: why, where from, the neighbours, the timeline, and what may be done now."""
    notice = visitor.text(f"done_{done}") if done in DONE_KEYS else ""
    return await _page(visitor, state, incident_id, notice=notice)


@router.get("/console/incidents/{incident_id}/photos/{photo_id}")
@requires(CONSOLE)
async def photo(visitor: CurrentVisitor, incident_id: IncidentId, photo_id: IncidentId) -> Response:
    """Serve a photo."""
    require(visitor, INCIDENTS)
    return await run_in_threadpool(incident_requests.photo_content, visitor.context, incident_id, photo_id)


@router.post("/console/incidents/{incident_id}/transitions")
@requires(WORK)
async def transition(
    visitor: CurrentVisitor,
    state: CurrentState,
    incident_id: IncidentId,
    event: Annotated[str, Form(max_length=50)],
    revision: Revision,
    why: FormText = "",
    team_id: FormText = "",
    assignee: FormText = "",
    until: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Cause an event; an illegal one is refused with those that are legal."""
    return await _change(
        visitor,
        state,
        incident_id,
        "transition",
        lambda: incidents.transition(
            visitor.context,
            incident_id,
            models.TransitionRequest(
                event=event,
                revision=revision,
                why=why,
                team_id=team_id or None,
                assignee=assignee or None,
                until=local_form_time(until, visitor),
            ),
        ),
    )


@router.post("/console/incidents/{incident_id}/comments")
@requires(WORK)
async def comment(
    visitor: CurrentVisitor, state: CurrentState, incident_id: IncidentId, text: FormText
) -> Response:
    """Add a comment to the timeline."""
    return await _change(
        visitor,
        state,
        incident_id,
        "comment",
        lambda: incidents.comment(visitor.context, incident_id, models.CommentRequest(text=text)),
    )


@router.post("/console/incidents/{incident_id}/photos")
@requires(WORK)
async def add_photo(
    visitor: CurrentVisitor,
    state: CurrentState,
    incident_id: IncidentId,
    file: UploadFile,
    caption: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Store a photo, encoded anew without its metadata."""
    uploaded = await file.read()

    def store() -> object:
        access = IncidentAccess.of(visitor.context)
        return incident_requests.store_photo(access, incident_id, uploaded, caption)

    return await _change(visitor, state, incident_id, "photo", store)


@router.post("/console/incidents/{incident_id}/requests")
@requires(WORK)
async def make_request(
    visitor: CurrentVisitor,
    state: CurrentState,
    incident_id: IncidentId,
    kind: Annotated[Literal["extension", "return", "hold"], Form()],
    revision: Revision,
    why: FormText,
    until: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Request an extension, a return or a hold."""
    return await _change(
        visitor,
        state,
        incident_id,
        "request",
        lambda: incident_requests.make_request(
            visitor.context,
            incident_id,
            models.ApprovalRequest(
                kind=kind, revision=revision, why=why, until=local_form_time(until, visitor)
            ),
        ),
    )


@router.post("/console/incidents/{incident_id}/requests/{request_id}")
@requires(WORK)
async def decide(
    visitor: CurrentVisitor,
    state: CurrentState,
    incident_id: IncidentId,
    request_id: IncidentId,
    decision: Annotated[Literal["approved", "refused", "withdrawn"], Form()],
    revision: Revision,
    why: FormText = "",
) -> Response:
    """Approve or refuse a request, or withdraw one's own."""
    return await _change(
        visitor,
        state,
        incident_id,
        "decision",
        lambda: incident_requests.decide(
            visitor.context,
            incident_id,
            request_id,
            models.RequestDecision(state=decision, revision=revision, why=why),
        ),
    )


@router.post("/console/incidents/{incident_id}/assignment")
@requires(OPERATION)
async def assign(
    visitor: CurrentVisitor,
    state: CurrentState,
    incident_id: IncidentId,
    revision: Revision,
    priority: Annotated[int, Form(ge=1, le=4)],
    why: FormText = "",
) -> Response:
    """Set the priority by hand, for a reason."""
    requested = models.AssignmentRequest(revision=revision, priority=priority, why=why)
    return await _change(
        visitor,
        state,
        incident_id,
        "assignment",
        lambda: incidents.assign(visitor.context, incident_id, requested),
    )


@router.post("/console/incidents/{incident_id}/merge")
@requires(OPERATION)
async def merge(
    visitor: CurrentVisitor,
    state: CurrentState,
    incident_id: IncidentId,
    revision: Revision,
    other: Annotated[int, Form(ge=1, lt=2**63)],
    why: FormText,
) -> Response:
    """Merge another incident into this one."""
    return await _change(
        visitor,
        state,
        incident_id,
        "merge",
        lambda: incidents.merge(
            visitor.context,
            incident_id,
            models.MergeRequest(revision=revision, incident_ids=[other], why=why),
        ),
    )


@router.post("/console/incidents/{incident_id}/split")
@requires(OPERATION)
async def split(
    visitor: CurrentVisitor,
    state: CurrentState,
    incident_id: IncidentId,
    revision: Revision,
    why: FormText,
    anomaly: Annotated[list[int] | None, Form()] = None,
) -> Response:
    """Move some anomalies to a new incident."""
    return await _change(
        visitor,
        state,
        incident_id,
        "split",
        lambda: incidents.split(
            visitor.context,
            incident_id,
            models.SplitRequest(revision=revision, anomaly_ids=anomaly or [], why=why),
        ),
    )


def local_form_time(text: str, visitor: Visitor) -> datetime | None:
    """Return the time of a form's ``datetime-local`` field, which is in the time zone of the towns.

    Raises
    ------
    ProblemError
        422 where it is no time.

    """
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=visitor.context.unscoped_store.zone)
    except ValueError as error:
        raise ProblemError(422, visitor.text("bad_time"), where="until") from error


def refusal_text(error: Exception, visitor: Visitor) -> str:
    """Return in the visitor's language why a change was refused, and what is possible instead."""
    if isinstance(error, IllegalTransitionError):
        legal = "、" if visitor.language == "zh" else ", "
        names = legal.join(event_name(one, visitor) for one in error.legal) or visitor.text("nothing_legal")
        return visitor.text("refused_illegal", event_name(error.event, visitor), names)
    if isinstance(error, RoleError):
        return visitor.text("refused_role")
    if isinstance(error, MissingDetailError | ValidationError):
        return visitor.text("refused_missing")
    if isinstance(error, RevisionConflictError) or getattr(error, "where", None) == "revision":
        return visitor.text("refused_changed")
    if isinstance(error, ProblemError) and error.status in {413, 415}:
        return visitor.text("refused_photo")
    return f"{visitor.text('refused')} {error}"


async def _change(
    visitor: Visitor, state: PlatformState, incident_id: int, kind: str, change: Callable[[], object]
) -> Response:
    """Make a change and go back to the page; serve the page with the reason where it is refused."""
    try:
        await run_in_threadpool(change)
    except (IncidentError, RevisionConflictError, ValidationError, ProblemError) as error:
        if isinstance(error, ProblemError) and error.status in {403, 404, 501}:
            raise
        return await _page(visitor, state, incident_id, refusal=refusal_text(error, visitor), status=409)
    return RedirectResponse(f"/console/incidents/{incident_id}?done={kind}", 303)


async def _page(
    visitor: Visitor,
    state: PlatformState,
    incident_id: int,
    *,
    notice: str = "",
    refusal: str = "",
    status: int = 200,
) -> HTMLResponse:
    require(visitor, INCIDENTS)
    access = await run_in_threadpool(IncidentAccess.of, visitor.context)
    record = await run_in_threadpool(read_record, access, incident_id)
    values: dict[str, Any] = record_values(record, access, visitor, state)
    return page_response(
        visitor,
        "incident.html",
        http_status=status,
        parts=PageParts(visitor, state),
        notice=notice,
        refusal=refusal,
        statuses=STATUSES,
        teams=await run_in_threadpool(dispatch_proposals, access, record.incident, visitor),
        deadlines=await run_in_threadpool(deadline_rows, access, record.incident, visitor),
        may_operate=visitor.may(OPERATION),
        may_work=visitor.may(WORK),
        alarm_name=state_name(record.incident.alarm_state, visitor),
        **await _plot_of(record, visitor, state) | values,
    )


async def _plot_of(record: IncidentRecord, visitor: Visitor, state: PlatformState) -> dict[str, Any]:
    """Return the plot of the first anomaly; of the main site's first series where there is none."""
    anomaly, index = record.first_anomaly, state.directory_index
    site = index.sites.get(record.incident.main_site_id)
    if anomaly is not None and (series := index.series.get(anomaly.series_id or 0)) is not None:
        now_s = time.time()
        shaded = (anomaly.start_s, now_s if anomaly.end_s is None else anomaly.end_s)
        return await plot_values(visitor, state, series, range_around(anomaly, now_s), shaded)
    series = next(iter(index.series_of(site=site.site_id)), None) if site else None
    if series is None:
        return {"series": None, "site": site}
    return await plot_values(visitor, state, series, PlotRange(), None)


def _found(visitor: Visitor, query: IncidentQuery) -> list[Any]:
    """Return the incidents that a visitor may see. Raises `ProblemError` 403 without the right."""
    require(visitor, INCIDENTS)
    access = IncidentAccess.of(visitor.context)
    return list(access.store.found(access.restricted(query)))
