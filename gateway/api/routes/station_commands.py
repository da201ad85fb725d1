"""Routes to command HJ 212 stations, and to follow what became of the commands."""

from __future__ import annotations

from typing import Annotated

import msgspec
import structlog
from fastapi import APIRouter, Query

from gateway.api import query_params
from gateway.api.models import station_command_models as models
from gateway.api.models.resource_models import utc_datetime
from gateway.api.problems import not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import ENGINEER, OPERATOR, RequiredRight, requires
from ingest_service.storage.postgres.station_commands import StationCommand

router = APIRouter(prefix="/v1/devices/{device_id}/commands", tags=["devices"])
log = structlog.get_logger()

CommandIdParam = Annotated[int, query_params.ID_PATH]


@router.post("", responses=problem_responses(404))
@requires(RequiredRight(ENGINEER, "devices"))
def command(
    context: CurrentContext, device_id: str, request: models.StationCommandRequest
) -> models.StationCommandResponse:
    """Command a station that reports by HJ 212; the server of the stations sends it within seconds.

    Commands to one station are sent one after the other.
    """
    _check_visible(context, device_id)
    stored = context.station_commands.insert(
        device_id,
        models.commands_of(request),
        request.parameters,
        who=context.caller_name,
        note=request.note,
        expires_s=request.expires_s,
        over_time_s=request.over_time_s,
        re_count=request.re_count,
    )
    if stored is None:
        raise not_found("device", device_id)
    context.add_audit_detail(command=stored.command, parameters=stored.parameters)
    log.info("station_command", device=device_id, command=stored.command, who=context.caller_name)
    return _response(stored)


@router.get("", responses=problem_responses(404))
@requires(RequiredRight(OPERATOR, "devices"))
def commands(
    context: CurrentContext, device_id: str, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[models.StationCommandResponse]:
    """Commands to a station, newest first."""
    _check_visible(context, device_id)
    return [_response(one) for one in context.station_commands.of(device_id, limit=limit)]


@router.get("/{command_id}", responses=problem_responses(404))
@requires(RequiredRight(OPERATOR, "devices"))
def one_command(
    context: CurrentContext, device_id: str, command_id: CommandIdParam
) -> models.StationCommandResponse:
    """One command and what became of it."""
    _check_visible(context, device_id)
    found = context.station_commands.of(device_id, command_id=command_id, limit=1)
    if not found:
        raise not_found("command", command_id)
    return _response(found[0])


def _check_visible(context: RequestContext, device_id: str) -> None:
    if all(one.device_id != device_id for one in context.directory_index.directory.devices):
        raise not_found("device", device_id)


def _response(one: StationCommand) -> models.StationCommandResponse:
    row = msgspec.structs.asdict(one)
    created_s, expires_s, finished_s = (row.pop(name) for name in ("created_s", "expires_s", "finished_s"))
    del row["over_time_s"], row["re_count"]
    return models.StationCommandResponse(
        **row,
        created=utc_datetime(created_s),
        expires=utc_datetime(expires_s),
        finished=None if finished_s is None else utc_datetime(finished_s),
    )
