"""Routes of the twin: networks, and the state of their nodes and links."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastapi import APIRouter

from analytics.service import geojson, twin
from gateway import convert, models
from gateway.context import Context, Here
from gateway.problems import responses
from ingest_service.storage.model import AnomalyQuery

if TYPE_CHECKING:
    from analytics.service.twin import TwinState

router = APIRouter(prefix="/v1/twin", tags=["twin"])

MANY = 10_000


def current(here: Context) -> TwinState:
    """The twin as it stands now."""
    is_open = here.store.anomalies(AnomalyQuery(states=["open"], limit=MANY))
    return twin.state(here.known.directory, here.store.latest(), is_open, now_s=time.time())


@router.get("/state", responses=responses())
def state(here: Here) -> models.TwinState:
    """Every node and link now: measured, expected, age, quality, open anomalies."""
    return convert.state(current(here))


@router.get("/network", responses=responses())
def network(here: Here) -> models.Network:
    """Links, nodes and sites as GeoJSON, links and nodes with their state."""
    return models.Network(**geojson.network(here.known.directory, current(here)))
