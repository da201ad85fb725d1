"""Routes of the twin: river and road networks as GeoJSON, and the state of their nodes and links."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from analytics.service import estimated_state, geojson, network_state
from edge.wire.quantities import QUANTITIES
from gateway.api import query_params
from gateway.api.models import conversion, resource_models, state_models
from gateway.api.problems import not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import TWIN, VIEWER, RequiredRight, requires
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies

if TYPE_CHECKING:
    from analytics.service.network_state import TwinState

router = APIRouter(prefix="/v1/twin", tags=["twin"])


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


@router.get("/estimates", responses=problem_responses(404))
@requires(RequiredRight(VIEWER, "twin", heavy=True))
def estimates(
    context: CurrentContext,
    quantity: Annotated[str, Query(description="One quantity", examples=["dissolved_oxygen"])],
    at: Annotated[
        query_params.QueryTime | None, Query(description="Time of the state; now by default (RFC 3339)")
    ] = None,
) -> state_models.EstimatedStateResponse:
    """One quantity at every node and link, now or at a past time, also where there is no sensor.

    Estimates are made from the readings of the sensors that the principal may read, until that time, along
    the network: for water with its travel time. Each has a standard deviation.
    """
    if quantity not in QUANTITIES:
        raise not_found("quantity", quantity)
    at_s = time.time() if at is None else at.timestamp()
    return state_models.estimated_state_response(
        estimated_state.estimate_quantity(context.directory_index.directory, context.store, quantity, at_s)
    )


@router.get("/network", responses=problem_responses())
@requires(TWIN)
def network(context: CurrentContext) -> resource_models.NetworkResponse:
    """Links, nodes and sites as GeoJSON, links and nodes with their state."""
    return resource_models.NetworkResponse(
        **geojson.network_geojson(context.directory_index.directory, current_twin_state(context))
    )
