"""Serves the page of commands: those sent to towns, those of the platform above, and forms to send one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
from fastapi import APIRouter, Form, Query
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool

from edge.wire.quantities import QUANTITIES
from gateway.api.models import federation_models as models
from gateway.api.problems import ProblemError
from gateway.api.routes import federation
from gateway.auth.authorization import CONSOLE, requires
from gateway.console.duty_pages import area_options, refused, saved
from gateway.console.enrolment_pages import parse_limits
from gateway.console.page_parts import PageParts
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response, require
from ingest_service.storage.contract.federation_commands import target_of
from ingest_service.storage.contract.incidents import IncidentKind

if TYPE_CHECKING:
    from gateway.console.form_refusals import Refusal
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor

router = APIRouter(include_in_schema=False)

ADDRESS = "/console/settings/commands"
MAX_LISTED = 200
Text = Annotated[str, Form(max_length=2000)]


@router.get(ADDRESS)
@requires(CONSOLE)
async def commands_page(
    visitor: CurrentVisitor, state: CurrentState, done: Annotated[str, Query(max_length=20)] = ""
) -> HTMLResponse:
    """Serve the commands with what became of each."""
    return await _page(visitor, state, notice=visitor.text("command_sent") if done == "sent" else "")


@router.post(f"{ADDRESS}/limits")
@requires(federation.LIMITS._replace(by_session=True))
async def send_limits(
    visitor: CurrentVisitor,
    state: CurrentState,
    site: Text = "",
    quantity: Text = "",
    limits: Text = "",
    note: Text = "",
) -> Response:
    """Let a town adopt limits for a series."""

    def send() -> None:
        values = {"site_id": site, "quantity": quantity, "limits": parse_limits(limits) or {}, "note": note}
        federation.command_limits(visitor.context, models.LimitsCommandRequest.model_validate(values))

    refusal = await refused(visitor, send)
    return await _page(visitor, state, refusal=refusal) if refusal else saved(ADDRESS, "sent")


@router.post(f"{ADDRESS}/incident")
@requires(federation.INCIDENTS._replace(by_session=True))
async def send_incident(
    visitor: CurrentVisitor,
    state: CurrentState,
    site: Text = "",
    kind: Text = "",
    severity: Annotated[str, Form(max_length=1)] = "2",
    summary: Text = "",
    note: Text = "",
) -> Response:
    """Dispatch an incident to a town."""

    def send() -> None:
        values = {"site_id": site, "kind": kind, "severity": severity, "summary": summary, "note": note}
        federation.command_incident(visitor.context, models.IncidentCommandRequest.model_validate(values))

    refusal = await refused(visitor, send)
    return await _page(visitor, state, refusal=refusal) if refusal else saved(ADDRESS, "sent")


@router.post(f"{ADDRESS}/dashboard")
@requires(federation.DASHBOARDS._replace(by_session=True))
async def send_dashboard(
    visitor: CurrentVisitor,
    state: CurrentState,
    area: Text = "",
    dashboard: Annotated[str, Form(max_length=1 << 20)] = "",
    note: Text = "",
) -> Response:
    """Send a dashboard to the towns of an area."""

    def send() -> None:
        try:
            decoded = msgspec.json.decode(dashboard, type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ProblemError(422, f"dashboard: it is no JSON object: {error}", where="dashboard") from error
        values = {"area_id": area, "dashboard": decoded, "note": note}
        federation.command_dashboard(visitor.context, models.DashboardsCommandRequest.model_validate(values))

    refusal = await refused(visitor, send)
    return await _page(visitor, state, refusal=refusal) if refusal else saved(ADDRESS, "sent")


def _row(visitor: Visitor, state: PlatformState, one: models.FederationCommandResponse) -> dict[str, Any]:
    """Return a command as the table shows it."""
    index = state.directory_index
    site = index.sites.get(target_of(one.content))
    area = index.areas.get(one.area_id)
    dashboard = one.content.get("dashboard")
    is_passed_on = one.from_above and one.device_id is not None and one.state == "waiting"
    return {
        "one": one,
        "who": one.who.removeprefix("above: ").partition(" (")[0],
        "town": one.area_id if area is None else visitor.name(area),
        "kind": visitor.text(f"command_kind_{one.kind}"),
        "subject": visitor.name(site) if site else target_of(one.content) or "–",
        "title": str(dashboard.get("title")) if isinstance(dashboard, dict) else "",
        "quantity": visitor.quantity(one.content["quantity"])
        if one.content.get("quantity") in QUANTITIES
        else "",
        "state": visitor.text(f"command_state_{'passed_on' if is_passed_on else one.state}"),
    }


async def _page(
    visitor: Visitor, state: PlatformState, *, notice: str = "", refusal: Refusal | None = None
) -> HTMLResponse:
    require(visitor, federation.COMMANDS)
    index = state.directory_index
    origins = index.directory.origins
    found = await run_in_threadpool(federation.federation_commands, visitor.context, MAX_LISTED)
    rows = [_row(visitor, state, one) for one in found]
    quantities = {one.quantity for one in index.directory.series if one.site_id in origins}
    return page_response(
        visitor,
        "settings_commands.html",
        http_status=422 if refusal else 200,
        parts=PageParts(visitor, state),
        sent=[row for row in rows if not row["one"].from_above],
        received=[row for row in rows if row["one"].from_above],
        sites=[(one.site_id, visitor.name(one)) for one in index.directory.sites if one.site_id in origins],
        quantities=sorted(((name, visitor.quantity(name)) for name in quantities), key=lambda one: one[1]),
        kinds=[(one, visitor.text(f"incident_kind_{one}")) for one in get_args(IncidentKind)],
        severities=[(str(one), visitor.text(f"severity_{one}")) for one in (1, 2, 3)],
        areas=area_options(visitor, state),
        may_limit=visitor.may(federation.LIMITS),
        may_dispatch=visitor.may(federation.INCIDENTS),
        may_send_dashboards=visitor.may(federation.DASHBOARDS),
        notice=notice,
        refusal=refusal,
    )
