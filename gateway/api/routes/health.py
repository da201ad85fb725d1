"""Routes of liveness, readiness, the platform's health, and Prometheus metrics."""

from __future__ import annotations

import time
from contextlib import suppress

from anyio import fail_after, to_thread
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway import metrics
from gateway.api.models import health_models, resource_models
from gateway.api.problems import RETRY_AFTER_S, ProblemError, problem_responses
from gateway.api.request_context import CurrentContext
from gateway.auth.authorization import PUBLIC, VIEWER, RequiredRight, requires
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.health.process_messages import DATABASE_AWAY_TEXT

COUNT_TIMEOUT_S = 5.0  # for counting rows, beyond the time limit of the readiness

router = APIRouter(tags=["platform"])


@router.get("/healthz")
@requires(PUBLIC)
async def healthz() -> health_models.LivenessResponse:
    """Liveness: the process is running."""
    return health_models.LivenessResponse(status="ok")


@router.get("/readyz", responses=problem_responses())
@requires(PUBLIC)
async def readyz(context: CurrentContext) -> health_models.LivenessResponse:
    """Readiness: a reading published now would be stored and judged; otherwise 503 with the reason.

    The answer is given within about two seconds, also while the database is frozen.
    """
    store_health = await context.platform_health.readiness_in_time(may_name_areas=False)
    if not store_health.ok:
        sentences = "; ".join(one.en for one in store_health.problems)
        raise ProblemError(503, sentences, headers={"Retry-After": RETRY_AFTER_S})
    return health_models.LivenessResponse(status="ok")


@router.get("/v1/health", responses=problem_responses())
@requires(RequiredRight(VIEWER, "platform"))
async def health(context: CurrentContext) -> health_models.HealthResponse:
    """State and contents of the platform, and the state of each of its processes.

    `ok` means that a reading published now, of any area visible to the key, would be stored and judged.
    While the database does not answer, the response is 503 within a few seconds.
    """
    areas = context.principal.areas
    readiness_of_areas = await context.platform_health.readiness_in_time(areas)
    if readiness_of_areas.database == "away":
        raise ProblemError(503, DATABASE_AWAY_TEXT.en, headers={"Retry-After": RETRY_AFTER_S})
    try:
        with fail_after(COUNT_TIMEOUT_S):
            store_health = await to_thread.run_sync(context.store.health, abandon_on_cancel=True)
            processes = await to_thread.run_sync(context.platform_health.processes, abandon_on_cancel=True)
    except TimeoutError as error:
        sentence = (
            f"the database did not count its rows within {COUNT_TIMEOUT_S:g} s: try again, or use /readyz"
        )
        raise ProblemError(503, sentence, headers={"Retry-After": RETRY_AFTER_S}) from error
    newest_received_s = store_health.newest_received_s
    return health_models.HealthResponse(
        status="ok" if readiness_of_areas.ok else "failing",
        problems=health_models.bilingual_responses(readiness_of_areas.problems),
        processes=[
            health_models.process_health_response(one, shows_hosts=areas is None) for one in processes
        ],
        edition=store_health.edition,
        schema_version=store_health.schema_version,
        readings=store_health.readings,
        open_anomalies=store_health.open_anomalies,
        dead_letters=store_health.dead_letters,
        rollups_due=store_health.rollups_due,
        rejudge_due=store_health.rejudge_due,
        newest_received=None
        if newest_received_s is None
        else resource_models.utc_datetime(newest_received_s),
        replica=health_models.replica_health_response(context.replica),
        now=resource_models.utc_datetime(time.time()),
    )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
@requires(RequiredRight(VIEWER, "platform", requires_all_areas=True))
def prometheus(context: CurrentContext) -> Response:
    """Counters and gauges for Prometheus."""
    metrics.OPEN_STREAMS.set(context.broadcaster.streams)
    if context.unscoped_store.database is not None:
        with suppress(StoreError):  # while the database is unavailable, the gauge keeps its last value
            metrics.DEAD_LETTERS_OVER_QUOTA.set(context.scoped_database.dead_letters_over_quota())
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
