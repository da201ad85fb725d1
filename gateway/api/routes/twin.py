"""Routes of the twin: river and road networks as GeoJSON, and the state of their nodes and links."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastapi import APIRouter

from analytics.service import geojson, network_state
from gateway.api.models import conversion, resource_models
from gateway.api.problems import problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import TWIN, requires
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


@router.get("/network", responses=problem_responses())
@requires(TWIN)
def network(context: CurrentContext) -> resource_models.NetworkResponse:
    """Links, nodes and sites as GeoJSON, links and nodes with their state."""
    return resource_models.NetworkResponse(
        **geojson.network_geojson(context.directory_index.directory, current_twin_state(context))
    )
