"""Routes of the twin: networks as GeoJSON, the state of their nodes and links, places for sensors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Response

from analytics.errors import TwinModelError
from analytics.service import estimated_state, geojson, network_checks, network_state
from gateway.api import directory_cache, query_params, sensor_placements
from gateway.api.current_estimates import with_estimates_of_towns
from gateway.api.models import conversion, resource_models, state_models
from gateway.api.problems import ProblemError, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.api.sensor_placements import CurrentPlacementOptions
from gateway.auth.authorization import TWIN, TWIN_MODEL, requires
from gateway.transport.security_headers import REPORT_POLICY
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies

if TYPE_CHECKING:
    from analytics.service.network_state import TwinState

router = APIRouter(prefix="/v1/twin", tags=["twin"])

MEDIA_TYPES = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}


def current_twin_state(context: RequestContext) -> TwinState:
    """Return the current state of the principal's nodes and links."""
    open_anomalies = all_anomalies(context.store, AnomalyQuery(states=["open"]))
    return network_state.network_state(
        context.directory_index.directory, context.store.latest(), open_anomalies, now_s=time.time()
    )


@router.get("/state", responses=problem_responses())
@requires(TWIN)
def state(context: CurrentContext) -> resource_models.TwinStateResponse:
    """The current state of every node and link: measured, expected, age, quality, open anomalies."""
    return conversion.twin_state_response(current_twin_state(context))


@router.get("/estimates", responses=problem_responses())
@requires(TWIN_MODEL)
def estimates(
    context: CurrentContext,
    quantity: Annotated[str, Query(description="One quantity", examples=["dissolved_oxygen"])],
    at: Annotated[
        query_params.QueryTime | None, Query(description="Time of the state; now by default (RFC 3339)")
    ] = None,
) -> state_models.EstimatedStateResponse:
    """One quantity at every node and link, now or at a past time, also where there is no sensor.

    Estimates are made along the network, for water with its travel time, from the readings until that time
    of the sensors that the principal may read. Each has a standard deviation. Now, nodes of a town whose
    readings are not here have the estimates that it forwarded within the last day.
    """
    directory_cache.check_quantity(quantity)
    now_s = time.time()
    at_s = now_s if at is None else at.timestamp()
    if at_s > now_s:
        raise ProblemError(422, "at: is in the future: give a time until now, or leave it out", where="at")
    try:
        directory = context.directory_index.directory.valid_at(at_s)
        found = estimated_state.estimate_quantity(directory, context.store, quantity, at_s)
    except TwinModelError as error:
        raise ProblemError(422, f"quantity: {error}", where="quantity") from error
    if at is None:
        found = with_estimates_of_towns(context, found, directory)
    return state_models.estimated_state_response(found)


@router.get("/network", responses=problem_responses())
@requires(TWIN)
def network(
    context: CurrentContext,
    at: Annotated[
        query_params.QueryTime | None,
        Query(description="The networks that were valid then, without state; now by default (RFC 3339)"),
    ] = None,
) -> resource_models.NetworkResponse:
    """Links, nodes and sites as GeoJSON, which `towntwin network import` reads; those of now have a state."""
    directory = context.directory_index.directory
    if at is not None:
        directory = directory.valid_at(at.timestamp())
        return resource_models.NetworkResponse(**geojson.network_geojson(directory))
    return resource_models.NetworkResponse(**geojson.network_geojson(directory, current_twin_state(context)))


@router.get("/network/findings", responses=problem_responses())
@requires(TWIN)
def network_findings(
    context: CurrentContext,
    at: Annotated[
        query_params.QueryTime | None,
        Query(description="The networks that were valid then; now by default (RFC 3339)"),
    ] = None,
) -> list[state_models.NetworkFindingResponse]:
    """What can't be right in the networks: parts not connected, lengths, slopes, sensors off the network."""
    directory = context.directory_index.directory
    if at is not None:
        directory = directory.valid_at(at.timestamp())
    return [
        state_models.NetworkFindingResponse(**msgspec.structs.asdict(one))
        for one in network_checks.check_networks(directory)
    ]


@router.get("/placement", responses=problem_responses(404))
@requires(TWIN_MODEL)
def placement(context: CurrentContext, options: CurrentPlacementOptions) -> state_models.PlacementResponse:
    """Where water-quality sensors make most outfalls traceable, and what each further one adds.

    The same amount is released at every outfall and carried by the flow of the last two days. Outfalls and
    places are those of the area, the river is that connected with them, as far as the principal may read it.
    """
    return state_models.placement_response(sensor_placements.compute_placement(context, options).report)


@router.get(
    "/placement/report",
    response_class=Response,
    responses={
        200: {"content": {one: {} for one in ("text/html", "application/pdf")}},
        **problem_responses(404, 501),
    },
)
@requires(TWIN_MODEL._replace(audits_export=True))
def placement_file(
    context: CurrentContext,
    options: CurrentPlacementOptions,
    form: Annotated[Literal["html", "pdf"], Query(alias="format", description="Of the file")] = "pdf",
    language: Annotated[Literal["zh", "en"], Query(description="Of the words")] = "zh",
) -> Response:
    """The placement as a report with a recommendation, a map of the places, and what each adds."""
    content = sensor_placements.render_placement(context, options, language=language, form=form)
    headers = {
        "Content-Disposition": f'inline; filename="towntwin-placement.{form}"',
        "Content-Security-Policy": REPORT_POLICY,
    }
    return Response(content, media_type=MEDIA_TYPES[form], headers=headers)
