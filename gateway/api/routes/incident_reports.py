"""Routes about many incidents: alarm performance, export, suppressed anomalies, planned maintenance."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from analytics.incidents.performance import AlarmPerformance, alarm_performance
from gateway.api import query_params
from gateway.api.incident_access import IncidentAccess, anomaly_response
from gateway.api.models import incident_models as models
from gateway.api.models.resource_models import utc_datetime
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext
from gateway.api.routes.incidents import IncidentQueryParam
from gateway.auth.authorization import INCIDENTS, OPERATOR, VIEWER, RequiredRight, requires
from ingest_service.storage.contract.incidents import IncidentQuery, PlannedMaintenance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.incidents import Incident

router = APIRouter(prefix="/v1/incidents", tags=["incidents"])

MAX_HISTORY_ROWS = 200_000
MAX_PERFORMANCE_DAYS = 92
EXPORT_BLOCK_ROWS = 1000
CSV_COLUMNS = [name for name in models.IncidentResponse.model_fields if not name.startswith("legal_")]
SUPPRESSED = RequiredRight(OPERATOR, "incidents")
INCIDENT_EXPORT = RequiredRight(VIEWER, "incidents", audits_export=True)


@router.get("/performance", responses=problem_responses(404))
@requires(INCIDENTS)
def performance(
    context: CurrentContext,
    from_: Annotated[
        query_params.QueryTime, Query(alias="from", description="From this moment on (RFC 3339)")
    ],
    to: Annotated[query_params.QueryTime, Query(description="Before this moment (RFC 3339)")],
    area: query_params.AreaParam = None,
    operators: Annotated[int, Query(ge=1, le=1000, description="People on duty at a time")] = 1,
) -> models.PerformanceResponse:
    """Alarm performance as EEMUA 191 and ISA-18.2 measure it, of the incidents at home in the area."""
    access = IncidentAccess.of(context)
    from_s, to_s = from_.timestamp(), to.timestamp()
    if not 0 < to_s - from_s <= MAX_PERFORMANCE_DAYS * 86_400:
        raise ProblemError(
            422, f"from: must be before to, by {MAX_PERFORMANCE_DAYS} days at most", where="from"
        )
    visible = context.directory_index.visible_area_ids
    areas = sorted(visible if area is None else context.directory_index.areas_below(area))
    history = access.store.history_between(from_s, to_s, area_ids=areas, limit=MAX_HISTORY_ROWS)
    query = IncidentQuery(area_ids=areas, to_s=to_s, limit=MAX_HISTORY_ROWS)
    incidents = [
        one
        for one in access.store.found(access.restricted(query))
        if one.area_id in areas and (one.closed_s is None or one.closed_s >= from_s)
    ]
    return models.PerformanceResponse.model_validate(
        _with_times(alarm_performance(incidents, history, from_s=from_s, to_s=to_s, operators=operators))
    )


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses=problem_responses(404)
    | {
        200: {
            "content": {"text/csv": {}, "application/geo+json": {"schema": {"type": "object"}}},
            "description": "The whole list",
        }
    },
)
@requires(INCIDENT_EXPORT)
def export(
    context: CurrentContext,
    query: IncidentQueryParam,
    form: Annotated[Literal["csv", "geojson"], Query(alias="format")] = "geojson",
) -> StreamingResponse:
    """All incidents of a filter as CSV or as GeoJSON (RFC 7946), points at the main site; newest first."""
    access = IncidentAccess.of(context)
    blocks = _blocks(access, access.restricted(query))
    media_type, encode = {
        "csv": ("text/csv", _csv_chunks),
        "geojson": ("application/geo+json", _geojson_chunks),
    }[form]
    return StreamingResponse(
        encode(access, blocks),
        media_type=media_type,
        headers={
            "Content-Disposition": f'attachment; filename="towntwin-incidents.{form}"',
            "Cache-Control": "no-store",
        },
    )


@router.get("/suppressed", responses=problem_responses(403, 404))
@requires(SUPPRESSED)
def suppressed(
    context: CurrentContext,
    from_: Annotated[
        query_params.QueryTime, Query(alias="from", description="From this moment on (RFC 3339)")
    ],
    to: Annotated[query_params.QueryTime, Query(description="Before this moment (RFC 3339)")],
    area: query_params.AreaParam = None,
    site: query_params.SiteParam = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> list[models.IncidentAnomalyResponse]:
    """Anomalies that sound no alarm, each with its reason, by their start, newest first."""
    access = IncidentAccess.of(context)
    sites = [one.site_id for one in context.directory_index.sites_of(area=area, site=site)]
    found = access.store.suppressed(from_.timestamp(), to.timestamp(), site_ids=sites, limit=limit)
    return [anomaly_response(one) for one in found]


@router.get("/maintenance", responses=problem_responses())
@requires(INCIDENTS)
def maintenance(context: CurrentContext) -> list[models.PlannedMaintenanceResponse]:
    """Planned work that has not ended, by its begin."""
    access = IncidentAccess.of(context)
    found = access.store.maintenance(access.now_s)
    visible = context.directory_index.sites
    return [_maintenance_response(one) for one in found if one.site_id in visible]


@router.post("/maintenance", responses=problem_responses(403, 404))
@requires(RequiredRight(OPERATOR, "incidents"))
def plan_maintenance(
    context: CurrentContext, planned: models.PlannedMaintenanceRequest
) -> models.PlannedMaintenanceResponse:
    """Plan work at a site: its alarms are suppressed by design meanwhile, and listed."""
    access = IncidentAccess.of(context)
    if planned.site_id not in context.directory_index.sites:
        raise not_found("site", planned.site_id)
    if planned.from_ >= planned.to:
        raise ProblemError(422, "from: must be before to", where="from")
    work = PlannedMaintenance(
        site_id=planned.site_id,
        from_s=planned.from_.timestamp(),
        to_s=planned.to.timestamp(),
        who=access.who,
        why=planned.why,
    )
    return _maintenance_response(access.store.add_maintenance(work))


@router.delete("/maintenance/{maintenance_id}", responses=problem_responses(403, 404))
@requires(RequiredRight(OPERATOR, "incidents"))
def cancel_maintenance(
    context: CurrentContext, maintenance_id: Annotated[int, query_params.ID_PATH]
) -> models.PlannedMaintenanceResponse:
    """Cancel planned work; the anomalies that it kept out open incidents if their conditions last."""
    access = IncidentAccess.of(context)
    planned = {one.maintenance_id: one for one in access.store.maintenance(0.0)}
    work = planned.get(maintenance_id)
    if work is None or work.site_id not in context.directory_index.sites:
        raise not_found("maintenance", maintenance_id)
    access.store.delete_maintenance(maintenance_id)
    return _maintenance_response(work)


def _with_times(measured: AlarmPerformance) -> dict[str, Any]:
    """Convert the times of a performance, ``from_s`` and ``to_s``, to datetimes without the suffix."""

    def convert(value: Any) -> Any:
        if isinstance(value, list):
            return [convert(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {
            name.removesuffix("_s") if name in {"from_s", "to_s"} else name: (
                utc_datetime(one) if name in {"from_s", "to_s"} else convert(one)
            )
            for name, one in value.items()
        }

    converted: dict[str, Any] = convert(msgspec.to_builtins(measured))
    return converted


def _blocks(access: IncidentAccess, query: IncidentQuery) -> Iterator[list[Incident]]:
    """Yield all incidents of a query, page by page."""
    while True:
        page = access.store.found(msgspec.structs.replace(query, limit=EXPORT_BLOCK_ROWS))
        yield page
        if len(page) < EXPORT_BLOCK_ROWS:
            return
        query = msgspec.structs.replace(query, after=page[-1].position)


def _csv_chunks(access: IncidentAccess, blocks: Iterator[list[Incident]]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for block in blocks:
        for one in block:
            row = access.response(one).model_dump(mode="json")
            writer.writerow([_cell(row[name]) for name in CSV_COLUMNS])
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _cell(value: object) -> object:
    """Return a value as CSV has it: lists joined by blanks; a text that a spreadsheet would run is quoted.

    >>> _cell(["a", "b"]), _cell("=1+1"), _cell(None), _cell(-3)
    ('a b', "'=1+1", '', -3)
    """
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return "" if value is None else value


def _geojson_chunks(access: IncidentAccess, blocks: Iterator[list[Incident]]) -> Iterator[bytes]:
    yield b'{"type":"FeatureCollection","features":['
    separator = b""
    for block in blocks:
        for one in block:
            properties = access.response(one).model_dump(mode="json")
            lon, lat = properties.pop("lon"), properties.pop("lat")
            feature = {
                "type": "Feature",
                "id": one.incident_id,
                "geometry": None if lon is None else {"type": "Point", "coordinates": [lon, lat]},
                "properties": properties,
            }
            yield separator + msgspec.json.encode(feature)
            separator = b","
    yield b"]}"


def _maintenance_response(one: PlannedMaintenance) -> models.PlannedMaintenanceResponse:
    return models.PlannedMaintenanceResponse(
        maintenance_id=one.maintenance_id,
        site_id=one.site_id,
        from_=utc_datetime(one.from_s),
        to=utc_datetime(one.to_s),
        who=one.who,
        why=one.why,
    )
