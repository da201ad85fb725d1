"""Routes to put probes into maintenance, and to record calibrations and report drift."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import structlog
from fastapi import APIRouter, Query

from analytics.service.probe_reports import drift_of, tolerance_of
from edge.wire.quantities import QUANTITIES
from gateway.api import query_params
from gateway.api.models import maintenance_models as models
from gateway.api.models.resource_models import utc_datetime
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import OPERATOR, VIEWER, RequiredRight, requires
from ingest_service.storage.contract.models import Series

router = APIRouter(prefix="/v1", tags=["devices"])
log = structlog.get_logger()


@router.post("/devices/{device_id}/maintenance", responses=problem_responses(404))
@requires(RequiredRight(OPERATOR, "devices"))
def change_maintenance(
    context: CurrentContext, device_id: str, request: models.MaintenanceRequest
) -> list[models.MaintenanceResponse]:
    """Begin or end maintenance: readings go on, flagged, and raise nothing; ingest applies it in seconds.

    Channels that are in maintenance already keep their window; those that are not have none to end.
    """
    _check_device(context, device_id, request.channels)
    who = context.caller_name
    if request.action == "begin":
        count = context.maintenance.begin(
            device_id, minutes=request.minutes, who=who, note=request.note, channels=request.channels
        )
    else:
        count = context.maintenance.end(device_id, who=who, channels=request.channels)
    context.add_audit_detail(action=request.action, channels=request.channels, series=count)
    log.info("maintenance", device=device_id, action=request.action, series=count, who=who)
    return _maintenance(context, device_id, 100)


@router.get("/devices/{device_id}/maintenance", responses=problem_responses(404))
@requires(RequiredRight(VIEWER, "devices"))
def maintenance(
    context: CurrentContext, device_id: str, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[models.MaintenanceResponse]:
    """Maintenance of the series of a device, newest first."""
    _check_device(context, device_id, None)
    return _maintenance(context, device_id, limit)


@router.post("/series/{series_id}/calibrations", responses=problem_responses(404, 409))
@requires(RequiredRight(OPERATOR, "devices"))
def calibrate(
    context: CurrentContext, series_id: query_params.SeriesIdParam, request: models.CalibrationRequest
) -> models.ProbeDriftResponse:
    """Record a calibration of the probe of a series."""
    series = _visible_series(context, series_id)
    calibrated_s = time.time() if request.calibrated is None else request.calibrated.timestamp()
    if calibrated_s > time.time() + 60.0:
        raise ProblemError(422, "calibrated: it lies in the future", where="calibrated")
    if not context.maintenance.calibrate(
        series_id,
        calibrated_s=calibrated_s,
        reference=request.reference,
        before=request.before,
        after=request.after,
        tolerance=request.tolerance,
        who=context.caller_name,
        note=request.note,
    ):
        raise ProblemError(409, f"series {series_id} has a calibration of this time already")
    context.add_audit_detail(reference=request.reference, before=request.before, after=request.after)
    return _drift(context, series)


@router.get("/series/{series_id}/calibrations", responses=problem_responses(404))
@requires(RequiredRight(VIEWER, "devices"))
def calibrations(context: CurrentContext, series_id: query_params.SeriesIdParam) -> models.ProbeDriftResponse:
    """Calibrations of the probe of a series, its drift per week, and when it is due."""
    return _drift(context, _visible_series(context, series_id))


def _check_device(context: RequestContext, device_id: str, channels: list[str] | None) -> None:
    directory = context.directory_index.directory
    if all(one.device_id != device_id for one in directory.devices):
        raise not_found("device", device_id)
    known = {one.name for one in directory.channels if one.device_id == device_id}
    unknown = sorted(set(channels or ()) - known)
    if unknown:
        raise ProblemError(422, f"channels: device {device_id} has no {', '.join(unknown)}", where="channels")


def _visible_series(context: RequestContext, series_id: int) -> Series:
    series = context.directory_index.series.get(series_id)
    if series is None:
        raise not_found("series", series_id)
    return series


def _maintenance(context: RequestContext, device_id: str, limit: int) -> list[models.MaintenanceResponse]:
    return [
        models.MaintenanceResponse(
            maintenance_id=one.maintenance_id,
            series_id=one.series_id,
            begins=utc_datetime(one.begins_s),
            ends=utc_datetime(one.ends_s),
            who=one.who,
            note=one.note,
            ended_by=one.ended_by,
        )
        for one in context.maintenance.of(device_id, limit=limit)
    ]


def _drift(context: RequestContext, series: Series) -> models.ProbeDriftResponse:
    stored = context.maintenance.calibrations([series.series_id])
    drift = drift_of(stored, series.quantity)
    items = []
    for one in stored:
        row = msgspec.structs.asdict(one)
        del row["series_id"]
        items.append(models.CalibrationResponse(calibrated=utc_datetime(row.pop("calibrated_s")), **row))
    return models.ProbeDriftResponse(
        series_id=series.series_id,
        unit=QUANTITIES[series.quantity].unit,
        items=items,
        drift_per_week=drift.per_week if drift else None,
        tolerance=tolerance_of(stored, series.quantity),
        due=utc_datetime(drift.due_s) if drift else None,
        is_overdue=drift is not None and drift.due_s < time.time(),
    )
