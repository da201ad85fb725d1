"""Routes of dead letters: list, show, replay, purge."""

from __future__ import annotations

import base64
from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Query, Request

from gateway import letter_models, models, params
from gateway.context import Here
from gateway.problems import ProblemError, responses
from ingest_service.storage.model import DeadLetter, LetterQuery

router = APIRouter(tags=["dead letters"])
log = structlog.get_logger()

Reason = Annotated[str | None, Query(description="One reason", examples=["channel"])]
Device = Annotated[str | None, Query(description="One device", examples=["330402-d1-r01"])]
LetterId = Annotated[int, Path(ge=1, lt=2**63)]


@router.get("/v1/dead-letters", responses=responses())
def dead_letters(
    here: Here,
    request: Request,
    reason: Reason = None,
    device: Device = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Letters in the page")] = 100,
    cursor: params.Cursor = None,
) -> models.Page[letter_models.DeadLetter]:
    """Messages that could not be taken, newest first, with what was wrong and what to do."""
    cursors = here.cursors(request)
    (before,) = cursors.decode(cursor, 1) if cursor else (None,)
    query = LetterQuery(reason=reason, device=device, before_id=before, whole=False, limit=limit + 1)
    found = here.store.dead_letters(query)
    page = [_shown(one) for one in found[:limit]]
    return models.Page(items=page, next=cursors.encode(page[-1].letter_id) if len(found) > limit else None)


@router.get("/v1/dead-letters/{letter_id}", responses=responses(404))
def dead_letter(here: Here, letter_id: LetterId) -> letter_models.WholeLetter:
    """One of them, whole."""
    for one in here.store.dead_letters(LetterQuery(ids=[letter_id])):
        return letter_models.WholeLetter(
            **_shown(one).model_dump(),
            properties=one.properties,
            payload_base64=base64.b64encode(one.payload).decode(),
        )
    raise ProblemError(404, f"there is no dead letter {letter_id}: it was purged, or stored after a replay")


@router.post("/v1/dead-letters/replay", responses=responses())
def replay(here: Here, wanted: letter_models.LetterFilter) -> letter_models.LettersDone:
    """Take letters once more, after the cause is mended; one that is good now is stored once and gone."""
    asked = here.store.ask_replay(_query(wanted))
    here.note(letters=asked)
    log.info("letters_replay_asked", letters=asked)
    return letter_models.LettersDone(letters=asked)


@router.post("/v1/dead-letters/purge", responses=responses())
def purge(here: Here, wanted: letter_models.LetterFilter) -> letter_models.LettersDone:
    """Delete letters for good."""
    gone = here.store.purge_letters(_query(wanted))
    here.note(letters=gone)
    log.info("letters_purged", letters=gone)
    return letter_models.LettersDone(letters=gone)


def _query(wanted: letter_models.LetterFilter) -> LetterQuery:
    """The store's filter; an empty one is refused, for it would mean all of them."""
    before = wanted.received_before
    if wanted == letter_models.LetterFilter():
        raise ProblemError(422, "the filter is empty: name ids, a reason, a device or a time", where="body")
    return LetterQuery(
        ids=wanted.ids,
        reason=wanted.reason,
        device=wanted.device,
        received_before_s=None if before is None else before.timestamp(),
    )


def _shown(one: DeadLetter) -> letter_models.DeadLetter:
    return letter_models.DeadLetter(
        letter_id=one.letter_id,
        received=models.at(one.received_s),
        topic=one.topic,
        bytes=one.size_bytes,
        content_type=one.content_type,
        reason=one.reason,
        detail=one.detail,
        state=one.state,
        replays=one.replays,
    )
