"""Routes of health, readiness and metrics."""

from __future__ import annotations

import time
from contextlib import suppress

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway import health_models, metrics, models
from gateway.context import Here
from gateway.problems import RETRY_S, ProblemError, responses
from ingest_service.storage.errors import StoreError
from ingest_service.storage.postgres import PostgresStore

router = APIRouter(tags=["platform"])


@router.get("/healthz")
def healthz() -> health_models.Live:
    """The process answers."""
    return health_models.Live(status="ok")


@router.get("/readyz", responses=responses())
def readyz(here: Here) -> health_models.Live:
    """A reading that is published now would be stored and judged; otherwise 503 says why not."""
    found = here.vitals.verdict(names=False)
    if not found.ok:
        sentences = "; ".join(one.en for one in found.problems)
        raise ProblemError(503, sentences, headers={"Retry-After": RETRY_S})
    return health_models.Live(status="ok")


@router.get("/v1/health", responses=responses())
def health(here: Here) -> health_models.Health:
    """What the platform is and holds, and the state of each of its processes.

    `ok` means that a reading published now, of any area that the key sees, would be stored and judged.
    """
    areas = here.principal.areas
    told = here.vitals.verdict(areas)
    found = here.store.health()
    newest_s = found.newest_received_s
    return health_models.Health(
        status="ok" if told.ok else "failing",
        problems=health_models.said(told.problems),
        processes=[health_models.process_health(one, whole=areas is None) for one in here.vitals.processes()],
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
        with suppress(StoreError):  # while the database is away, the number before stands beside the others
            metrics.LETTERS_BEYOND.set(here.database.letters_beyond())
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
