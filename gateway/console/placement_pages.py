"""Serves the page of the placement of sensors: where further ones make most outfalls traceable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from analytics.service.reports.placement_content import recommendation
from gateway.api import sensor_placements
from gateway.api.problems import ProblemError
from gateway.api.sensor_placements import MAX_SENSORS, PlacementOptions
from gateway.auth.authorization import TWIN_MODEL, requires
from gateway.console.form_refusals import Refusal, refusal_of
from gateway.console.placement_view import placement_curve, placement_map
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response

if TYPE_CHECKING:
    from gateway.console.visitor import Visitor

router = APIRouter(include_in_schema=False)

ADDRESS = "/console/placement"
REPORT = "/v1/twin/placement/report"
Typed = Annotated[str, Query(max_length=40)]


class PlacementForm(BaseModel):
    """The fields of the form as they were typed."""

    area: str
    sensors: str
    amount_kg: str
    limit_mg_l: str
    existing: str

    def options(self) -> PlacementOptions:
        """Return the options as the API has them. Raises `pydantic.ValidationError`."""
        return PlacementOptions.model_validate(self.model_dump() | {"area": self.area or None})


@router.get(ADDRESS)
@requires(TWIN_MODEL)
async def placement_page(
    visitor: CurrentVisitor,
    state: CurrentState,
    area: Annotated[str, Query(max_length=200)] = "",
    sensors: Typed = "",
    amount_kg: Typed = "50",
    limit_mg_l: Typed = "0.1",
    existing: Typed = "keep",
) -> HTMLResponse:
    """Serve the form; with a number of sensors the places, what each adds, and the report to download."""
    form = PlacementForm(
        area=area, sensors=sensors or "5", amount_kg=amount_kg, limit_mg_l=limit_mg_l, existing=existing
    )
    values: dict[str, Any] = {"found": None, "refusal": None}
    status = 200
    if sensors:
        try:
            values["found"] = await run_in_threadpool(_placement, visitor, form.options())
        except ValidationError as error:
            values["refusal"], status = refusal_of(error, visitor), 422
        except ProblemError as error:
            values["refusal"], status = _refusal(error, visitor), error.status
    index = state.directory_index
    return page_response(
        visitor,
        "placement.html",
        http_status=status,
        form=form,
        max_sensors=MAX_SENSORS,
        areas=[
            (one.area_id, visitor.name(one))
            for one in index.directory.areas
            if one.area_id in index.visible_area_ids
        ],
        choices_of_existing=[(one, visitor.text(f"placement_{one}")) for one in ("keep", "compete")],
        **values,
    )


def _refusal(error: ProblemError, visitor: Visitor) -> Refusal:
    if error.status == 422:
        return Refusal(visitor.text("placement_refused"), str(error))
    return refusal_of(error, visitor)


def _placement(visitor: Visitor, options: PlacementOptions) -> dict[str, Any]:
    """Return what the template shows of a placement. Raises `ProblemError` as `compute_placement`."""
    index = visitor.context.directory_index
    report = sensor_placements.compute_placement(visitor.context, options).report
    query = options.model_dump(exclude_none=True) | {"format": "pdf", "language": visitor.language}
    return {
        "report": report,
        "advice": recommendation(report, visitor.language),
        "areas": {one.area_id: visitor.name(one) for one in index.directory.areas},
        "curve": placement_curve(report),
        "map": placement_map(
            report, index.directory, index.areas_below(options.area) if options.area else None
        ),
        "file": f"{REPORT}?{urlencode(query)}",
    }
