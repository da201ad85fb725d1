"""Routes to command the platforms of towns below, and to follow what became of the commands."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter, Query

from analytics.incidents import manual_incident
from analytics.incidents.priority_matrix import read_matrix
from edge.wire.federation_commands import dashboard_problem
from gateway.api.directory_cache import check_quantity
from gateway.api.incident_access import IncidentAccess
from gateway.api.models import federation_models as models
from gateway.api.models.resource_models import utc_datetime
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import ENGINEER, OPERATOR, RequiredRight, requires
from ingest_service.storage.contract.federation_commands import IssuedCommand, content_summary
from ingest_service.storage.contract.models import Site
from ingest_service.storage.postgres.federation_commands import FederationCommands

LIMITS = RequiredRight(ENGINEER, "judging")
INCIDENTS = RequiredRight(OPERATOR, "incidents")
COMMANDS = RequiredRight(OPERATOR, "platform")
DASHBOARDS = RequiredRight(ENGINEER, "platform", body_bytes=1 << 20)
router = APIRouter(prefix="/v1/federation", tags=["federation"])
log = structlog.get_logger()

SENT_FIELDS = (
    "kind",
    "cause",
    "priority",
    "consequence",
    "urgency",
    "severity",
    "alarm_state",
    "started_s",
    "last_s",
    "annunciations",
    "summary",
)


@router.post("/limits", responses=problem_responses(404, 409))
@requires(LIMITS)
def command_limits(
    context: CurrentContext, requested: models.LimitsCommandRequest
) -> models.FederationCommandResponse:
    """Let a town adopt limits for a series that it forwards; its own platform checks and applies them."""
    site = context.directory_index.sites.get(requested.site_id)
    if site is None:
        raise not_found("site", requested.site_id)
    check_quantity(requested.quantity)
    content = {"site_id": site.site_id, "quantity": requested.quantity, "limits": requested.limits}
    return _issued(context, site, "limits", content, requested.note)


@router.post("/incidents", responses=problem_responses(403, 404, 409))
@requires(INCIDENTS)
def command_incident(
    context: CurrentContext, requested: models.IncidentCommandRequest
) -> models.FederationCommandResponse:
    """Dispatch an incident to a town: it is opened there, and forwarded from there like any other."""
    site = context.directory_index.sites.get(requested.site_id)
    if site is None:
        raise not_found("site", requested.site_id)
    access = IncidentAccess.of(context)
    described: Any = requested
    if requested.incident_id is not None:
        described = access.changeable(requested.incident_id)
    update = manual_incident.report(
        site,
        kind=described.kind,
        cause=described.cause,
        summary=requested.summary,
        severity=described.severity,
        who=access.who,
        at_s=access.now_s,
        matrix=read_matrix(context.settings.priority_matrix),
    )
    incident = {name: getattr(update.incident, name) for name in SENT_FIELDS}
    if requested.incident_id is not None:
        incident |= {name: getattr(described, name) for name in ("priority", "consequence", "urgency")}
    content = {
        "site_id": site.site_id,
        "incident": incident,
        "entries": [msgspec.to_builtins(one) for one in update.entries],
    }
    return _issued(context, site, "incident", content, requested.note, requested.incident_id)


@router.post("/dashboards", responses=problem_responses(404, 409, 413))
@requires(DASHBOARDS)
def command_dashboard(
    context: CurrentContext, requested: models.DashboardsCommandRequest
) -> list[models.FederationCommandResponse]:
    """Send a dashboard to each town of an area; the town's platform puts it into its Grafana."""
    area = requested.area_id
    if area not in context.directory_index.visible_area_ids:
        raise not_found("area", area)
    if problem := dashboard_problem(requested.dashboard):
        raise ProblemError(422, problem, where="dashboard")
    commands = FederationCommands(context.scoped_database)
    forwarders = commands.forwarders(area)
    if not forwarders:
        raise ProblemError(
            409, f"no town forwards for area {area!r}: push the dashboard here (towntwin dashboards push)"
        )
    below = context.directory_index.areas_below(area)
    return [
        _send(
            context,
            IssuedCommand(
                area_id=town if town in below else area,
                device_id=device,
                kind="dashboards",
                content={"area_id": town if town in below else area, "dashboard": requested.dashboard},
                who=context.caller_name,
                note=requested.note,
            ),
        )
        for device, town in forwarders
    ]


@router.get("/commands", responses=problem_responses())
@requires(COMMANDS)
def federation_commands(
    context: CurrentContext, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[models.FederationCommandResponse]:
    """Commands to towns, and of the platform above, newest first."""
    return [_response(one) for one in FederationCommands(context.scoped_database).found(limit=limit)]


def _issued(
    context: RequestContext,
    site: Site,
    kind: str,
    content: dict[str, Any],
    note: str,
    own_incident: int | None = None,
) -> models.FederationCommandResponse:
    """Issue a command. Raises `ProblemError` if the site is of this platform itself."""
    device = context.directory_index.directory.origins.get(site.site_id)
    if device is None:
        raise ProblemError(
            409, f"site {site.site_id!r} is of this platform, and no town forwards it: change it here"
        )
    command = IssuedCommand(
        area_id=site.area_id,
        device_id=device,
        kind=kind,
        content=content,
        who=context.caller_name,
        note=note,
        own_incident=own_incident,
    )
    return _send(context, command)


def _send(context: RequestContext, command: IssuedCommand) -> models.FederationCommandResponse:
    issued = FederationCommands(context.scoped_database).issue(command)
    content, device = content_summary(command.content), command.device_id
    context.add_audit_detail(command_id=issued.command_id, device=device, content=content)
    log.info("federation_command", command=issued.command_id, device=device, who=context.caller_name)
    return _response(issued)


def _response(one: IssuedCommand) -> models.FederationCommandResponse:
    row = msgspec.structs.asdict(one) | {"content": content_summary(one.content)}
    issued_s, finished_s = row.pop("issued_s"), row.pop("finished_s")
    return models.FederationCommandResponse(
        **row,
        issued=utc_datetime(issued_s),
        finished=None if finished_s is None else utc_datetime(finished_s),
    )
