"""Serves the pages of dead letters: read, learn what to mend, replay, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import structlog
from fastapi import APIRouter, Form, Path, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from edge.wire import topics
from edge.wire.errors import TopicError
from gateway.api.problems import ProblemError
from gateway.auth.authorization import (
    ADMINISTRATOR,
    CONSOLE,
    DEAD_LETTERS,
    ENGINEER,
    RequiredRight,
    requires,
)
from gateway.console.page_parts import PageParts
from gateway.console.translations import TRANSLATIONS
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response, require
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.dead_letter_reasons import REASONS

if TYPE_CHECKING:
    from gateway.console.visitor import Visitor
    from ingest_service.storage.contract.models import DeadLetter

router = APIRouter(include_in_schema=False)
log = structlog.get_logger()

MAX_SHOWN = 100
MAX_PAYLOAD_CHARS = 20_000
REPLAY = RequiredRight(ENGINEER, "letters", by_session=True)
PURGE = RequiredRight(ADMINISTRATOR, "letters", by_session=True)
LetterIds = Annotated[list[int], Form()]


@router.get("/console/dead-letters")
@requires(CONSOLE)
async def dead_letters_page(
    visitor: CurrentVisitor,
    state: CurrentState,
    reason: Annotated[str | None, Query(max_length=40)] = None,
    device: Annotated[str | None, Query(max_length=200)] = None,
    done: Annotated[str | None, Query(pattern="^(replay|purge)-[0-9]{1,9}$")] = None,
) -> HTMLResponse:
    """Serve the newest dead letters within the visitor's areas."""
    rows: list[dict[str, Any]] = []
    message = ""
    if not visitor.may(DEAD_LETTERS):
        message = "no_right"
    else:
        try:
            query = DeadLetterQuery(
                reason=reason or None, device=device or None, whole=False, limit=MAX_SHOWN
            )
            matched = await run_in_threadpool(visitor.context.store.dead_letters, query)
            rows = [letter_row(one, visitor) for one in matched]
        except StoreError:
            message = "unknown_now"
    action, _, number = (done or "").partition("-")
    return page_response(
        visitor,
        "dead_letters.html",
        parts=PageParts(visitor, state),
        rows=rows,
        message=message or ("" if rows else "no_letters"),
        notice=visitor.text(f"{action}_done", int(number)) if done else "",
        reasons=list(REASONS),
        chosen_reason=reason or "",
        chosen_device=device or "",
        may_replay=visitor.may(REPLAY),
        may_purge=visitor.may(PURGE),
    )


@router.get("/console/dead-letters/{letter_id}")
@requires(CONSOLE)
async def dead_letter_page(
    visitor: CurrentVisitor, state: CurrentState, letter_id: Annotated[int, Path(ge=1, lt=2**63)]
) -> HTMLResponse:
    """Serve one dead letter with its payload."""
    require(visitor, DEAD_LETTERS)
    matched = await run_in_threadpool(visitor.context.store.dead_letters, DeadLetterQuery(ids=[letter_id]))
    if not matched:
        raise ProblemError(404, visitor.text("no_such_letter"))
    return page_response(
        visitor,
        "dead_letter.html",
        parts=PageParts(visitor, state),
        row=letter_row(matched[0], visitor),
        letter=matched[0],
        payload=payload_text(matched[0].payload),
        may_replay=visitor.may(REPLAY),
    )


@router.post("/console/dead-letters/replay")
@requires(REPLAY)
async def replay(visitor: CurrentVisitor, letter_id: LetterIds) -> Response:
    """Process dead letters again, once the cause is mended."""
    n_requested = await run_in_threadpool(
        visitor.context.store.request_replay, DeadLetterQuery(ids=letter_id, limit=len(letter_id))
    )
    visitor.context.add_audit_detail(letters=n_requested)
    log.info("letters_replay_asked", letters=n_requested)
    return RedirectResponse(f"/console/dead-letters?done=replay-{n_requested}", 303)


@router.post("/console/dead-letters/purge")
@requires(PURGE)
async def purge(visitor: CurrentVisitor, letter_id: LetterIds) -> Response:
    """Delete dead letters for good."""
    n_deleted = await run_in_threadpool(
        visitor.context.store.purge_dead_letters, DeadLetterQuery(ids=letter_id, limit=len(letter_id))
    )
    visitor.context.add_audit_detail(letters=n_deleted)
    log.info("letters_purged", letters=n_deleted)
    return RedirectResponse(f"/console/dead-letters?done=purge-{n_deleted}", 303)


def letter_row(one: DeadLetter, visitor: Visitor) -> dict[str, Any]:
    """Return what the list shows of a dead letter; its detail is in English, the advice in both languages."""
    reason, advice = f"reason_{one.reason}", f"mend_{one.reason}"
    return {
        "id": one.letter_id,
        "received_s": one.received_s,
        "device": device_of(one.topic),
        "reason": visitor.text(reason) if reason in TRANSLATIONS else one.reason,
        "advice": visitor.text(advice) if advice in TRANSLATIONS else "",
        "detail": one.detail,
        "is_waiting": one.state == "replay",
    }


def device_of(topic: str) -> str:
    """Return the device of a topic; the topic itself if it has none.

    >>> device_of("towntwin/v1/330483-d1/wz-01/data"), device_of("elsewhere")
    ('wz-01', 'elsewhere')
    """
    try:
        return topics.parse_topic(topic).device
    except TopicError:
        return topic


def payload_text(payload: bytes) -> str:
    r"""Return a payload as text, or its bytes as hexadecimal numbers if it is none.

    >>> payload_text(b'[{"n": "ph"}]'), payload_text(b"\xff\x00")
    ('[{"n": "ph"}]', 'ff 00')
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = payload[:MAX_PAYLOAD_CHARS].hex(" ")
    return text[:MAX_PAYLOAD_CHARS] + ("…" if len(text) > MAX_PAYLOAD_CHARS else "")
