"""Computes where further sensors make most outfalls traceable, on the part of the river that one may read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from fastapi import Depends, Query
from pydantic import BaseModel

from analytics.errors import TwinModelError
from analytics.service import reports
from analytics.service.placement_report import MAX_READINGS, placement_report
from analytics.service.reports.errors import MissingExtraError
from gateway.api import query_params
from gateway.api.problems import ProblemError

if TYPE_CHECKING:
    from analytics.service.placement_report import PlacementReport
    from analytics.service.reports import Format
    from analytics.service.reports.translations import Language
    from gateway.api.request_context import RequestContext

MAX_SENSORS = 50


Sensors = Annotated[int, Query(ge=1, le=MAX_SENSORS, description="The budget: how many at most")]
Amount = Annotated[float, Query(ge=1e-3, le=1e6, description="Released at each outfall [kg]")]
Limit = Annotated[
    float, Query(ge=1e-6, le=1e6, description="Concentration above the usual that a sensor detects [mg/L]")
]
Existing = Annotated[
    Literal["compete", "keep"],
    Query(
        description="keep: sensors that exist count in advance; compete: their places are listed like others"
    ),
]


class PlacementOptions(BaseModel):
    """What a placement is for."""

    area: query_params.AreaParam = None
    sensors: Sensors = 5
    amount_kg: Amount = 50
    limit_mg_l: Limit = 0.1
    existing: Existing = "compete"


async def placement_options(
    area: query_params.AreaParam = None,
    sensors: Sensors = 5,
    amount_kg: Amount = 50,
    limit_mg_l: Limit = 0.1,
    existing: Existing = "compete",
) -> PlacementOptions:
    """Return the options of a query, each a parameter of its own, so that an unknown one is refused."""
    return PlacementOptions(
        area=area, sensors=sensors, amount_kg=amount_kg, limit_mg_l=limit_mg_l, existing=existing
    )


CurrentPlacementOptions = Annotated[PlacementOptions, Depends(placement_options)]


class PlacementAnswer(NamedTuple):
    """A placement, and the time of the flow that it is for [Unix s]."""

    report: PlacementReport
    now_s: float


def compute_placement(context: RequestContext, options: PlacementOptions) -> PlacementAnswer:
    """Return the placement in an area, or in all that the principal may read.

    Raises `ProblemError` 404 for an unknown area, and 422 without outfalls or where there are too many.
    """
    now_s = time.time()
    try:
        report = placement_report(
            context.directory_index.directory,
            lambda series, from_s, to_s: context.store.readings(series, from_s, to_s, limit=MAX_READINGS),
            n_sensors=options.sensors,
            amount_kg=options.amount_kg,
            limit_mg_l=options.limit_mg_l,
            now_s=now_s,
            area_ids=_area_ids(context, options),
            keeps_existing=options.existing == "keep",
        )
    except TwinModelError as error:
        raise ProblemError(422, f"area: {error}", where="area") from error
    return PlacementAnswer(report, now_s)


def render_placement(
    context: RequestContext, options: PlacementOptions, *, language: Language, form: Format
) -> bytes:
    """Return the report of a placement as a file. Raises `ProblemError` 501 without the extra ``reports``."""
    answer = compute_placement(context, options)
    try:
        return reports.render_placement(
            context.directory_index.directory,
            answer.report,
            zone=context.unscoped_store.zone,
            now_s=answer.now_s,
            language=language,
            form=form,
            area_ids=_area_ids(context, options),
        )
    except MissingExtraError as error:
        raise ProblemError(501, str(error)) from error


def _area_ids(context: RequestContext, options: PlacementOptions) -> set[str] | None:
    return context.directory_index.areas_below(options.area) if options.area else None
