"""Is the platform well: for balancers, for Prometheus, for people."""

from __future__ import annotations

import time

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway import metrics, models
from gateway.context import Here
from gateway.problems import responses
from ingest_service.storage.postgres import PostgresStore

router = APIRouter(tags=["platform"])


@router.get("/healthz")
def healthz() -> models.Live:
    """The process answers."""
    return models.Live(status="ok")


@router.get("/readyz", responses=responses())
def readyz(here: Here) -> models.Live:
    """The database answers too."""
    here.store.directory_version()
    return models.Live(status="ok")


@router.get("/v1/health", responses=responses())
def health(here: Here) -> models.Health:
    """What the platform is and holds."""
    found = here.store.health()
    newest_s = found.newest_received_s
    return models.Health(
        status="ok",
        edition=found.edition,
        schema_version=found.schema_version,
        readings=found.readings,
        open_anomalies=found.open_anomalies,
        dead_letters=found.dead_letters,
        rollups_due=found.rollups_due,
        rejudge_due=found.rejudge_due,
        newest_received=None if newest_s is None else models.at(newest_s),
        now=models.at(time.time()),
    )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def prometheus(here: Here) -> Response:
    """Counters and gauges for Prometheus."""
    metrics.STREAMS.set(here.hub.streams)
    if isinstance(here.whole, PostgresStore):
        metrics.LETTERS_BEYOND.set(here.database.letters_beyond())
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
