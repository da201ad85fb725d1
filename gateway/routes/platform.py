"""Is the platform well: for balancers, for Prometheus, for people."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway import cursors, metrics, models, params
from gateway.context import Here
from gateway.problems import responses

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
        newest_received=None if newest_s is None else models.at(newest_s),
        now=models.at(time.time()),
    )


@router.get("/v1/dead-letters", responses=responses())
def dead_letters(
    here: Here,
    limit: Annotated[int, Query(ge=1, le=1000, description="Letters in the page")] = 100,
    cursor: params.Cursor = None,
) -> models.Page[models.DeadLetter]:
    """Messages that could not be taken, newest first, with what was wrong and what to do."""
    before = int(cursors.decode(cursor, 1)[0]) if cursor else None
    found = here.store.dead_letters(before_id=before, limit=limit + 1)
    page = [
        models.DeadLetter(
            letter_id=one.letter_id,
            received=models.at(one.received_s),
            topic=one.topic,
            bytes=len(one.payload),
            content_type=one.content_type,
            reason=one.reason,
            detail=one.detail,
        )
        for one in found[:limit]
    ]
    return models.Page(items=page, next=cursors.encode(page[-1].letter_id) if len(found) > limit else None)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def prometheus(here: Here) -> Response:
    """Counters and gauges for Prometheus."""
    metrics.STREAMS.set(here.hub.streams)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
