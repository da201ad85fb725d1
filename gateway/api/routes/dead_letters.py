"""Routes that list, show, replay and purge dead letters (messages that ingest could not store)."""

from __future__ import annotations

import base64
from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Query, Request

from gateway.api import query_params
from gateway.api.models import dead_letter_models, resource_models
from gateway.api.problems import ProblemError, problem_responses
from gateway.api.request_context import CurrentContext
from gateway.auth.authorization import ADMINISTRATOR, DEAD_LETTERS, ENGINEER, RequiredRight, requires
from ingest_service.storage.contract.models import DeadLetter, DeadLetterQuery

router = APIRouter(tags=["dead letters"])
log = structlog.get_logger()

ReasonParam = Annotated[str | None, Query(description="One reason", examples=["channel"])]
DeviceParam = Annotated[str | None, Query(description="One device", examples=["330402-d1-r01"])]
DeadLetterIdParam = Annotated[int, Path(ge=1, lt=2**63)]


@router.get("/v1/dead-letters", responses=problem_responses())
@requires(DEAD_LETTERS)
def dead_letters(
    context: CurrentContext,
    request: Request,
    reason: ReasonParam = None,
    device: DeviceParam = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Letters in the page")] = 100,
    cursor: query_params.CursorParam = None,
) -> resource_models.PageResponse[dead_letter_models.DeadLetterResponse]:
    """Messages that could not be stored, newest first, with what was wrong and what to do."""
    cursor_signer = context.cursor_signer(request)
    (before,) = cursor_signer.decode(cursor, 1) if cursor else (None,)
    query = DeadLetterQuery(reason=reason, device=device, before_id=before, whole=False, limit=limit + 1)
    matched = context.store.dead_letters(query)
    page = [_dead_letter_response(one) for one in matched[:limit]]
    return resource_models.PageResponse(
        items=page, next=cursor_signer.encode(page[-1].letter_id) if len(matched) > limit else None
    )


@router.get("/v1/dead-letters/{letter_id}", responses=problem_responses(404))
@requires(DEAD_LETTERS)
def dead_letter(
    context: CurrentContext, letter_id: DeadLetterIdParam
) -> dead_letter_models.DeadLetterDetailResponse:
    """One dead letter, with its payload."""
    for one in context.store.dead_letters(DeadLetterQuery(ids=[letter_id])):
        return dead_letter_models.DeadLetterDetailResponse(
            **_dead_letter_response(one).model_dump(),
            properties=one.properties,
            payload_base64=base64.b64encode(one.payload).decode(),
        )
    raise ProblemError(404, f"there is no dead letter {letter_id}: it was purged, or stored after a replay")


@router.post("/v1/dead-letters/replay", responses=problem_responses())
@requires(RequiredRight(ENGINEER, "letters"))
def replay(
    context: CurrentContext, dead_letter_filter: dead_letter_models.DeadLetterFilterRequest
) -> dead_letter_models.DeadLetterCountResponse:
    """Process dead letters again, once the cause is fixed; valid ones are stored and removed."""
    n_requested = context.store.request_replay(_store_query(dead_letter_filter))
    context.add_audit_detail(letters=n_requested)
    log.info("letters_replay_asked", letters=n_requested)
    return dead_letter_models.DeadLetterCountResponse(letters=n_requested)


@router.post("/v1/dead-letters/purge", responses=problem_responses())
@requires(RequiredRight(ADMINISTRATOR, "letters"))
def purge(
    context: CurrentContext, dead_letter_filter: dead_letter_models.DeadLetterFilterRequest
) -> dead_letter_models.DeadLetterCountResponse:
    """Delete dead letters for good."""
    n_deleted = context.store.purge_dead_letters(_store_query(dead_letter_filter))
    context.add_audit_detail(letters=n_deleted)
    log.info("letters_purged", letters=n_deleted)
    return dead_letter_models.DeadLetterCountResponse(letters=n_deleted)


def _store_query(dead_letter_filter: dead_letter_models.DeadLetterFilterRequest) -> DeadLetterQuery:
    """Return the store's filter; reject an empty one, which would match all dead letters."""
    before = dead_letter_filter.received_before
    if dead_letter_filter == dead_letter_models.DeadLetterFilterRequest():
        raise ProblemError(422, "the filter is empty: name ids, a reason, a device or a time", where="body")
    return DeadLetterQuery(
        ids=dead_letter_filter.ids,
        reason=dead_letter_filter.reason,
        device=dead_letter_filter.device,
        received_before_s=None if before is None else before.timestamp(),
    )


def _dead_letter_response(one: DeadLetter) -> dead_letter_models.DeadLetterResponse:
    return dead_letter_models.DeadLetterResponse(
        letter_id=one.letter_id,
        received=resource_models.utc_datetime(one.received_s),
        topic=one.topic,
        bytes=one.size_bytes,
        content_type=one.content_type,
        reason=one.reason,
        detail=one.detail,
        state=one.state,
        replays=one.replays,
    )
