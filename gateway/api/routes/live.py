"""Route of the live stream: readings, anomalies and device health as server-sent events."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from gateway.api import query_params
from gateway.api.incident_access import visible_teams
from gateway.api.problems import problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import LIVE, OPERATOR, requires
from gateway.live.event_filter import EventFilter
from gateway.live.events import EventKind, LiveEvent, StreamPosition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

router = APIRouter(prefix="/v1", tags=["live"])

EVENT_EXAMPLE = 'id: 7-1790000000000000\nevent: anomaly\ndata: {"anomaly_id": 42, "state": "open", …}\n\n'


@router.get(
    "/live",
    response_class=StreamingResponse,
    responses=problem_responses(404) | {200: {"content": {"text/event-stream": {"example": EVENT_EXAMPLE}}}},
)
@requires(LIVE)
async def live(
    context: CurrentContext,
    area: query_params.AreaParam = None,
    site: query_params.SiteParam = None,
    quantity: query_params.QuantityParam = None,
    kinds: Annotated[
        list[EventKind] | None, Query(description="Some kinds of events; all without it")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(pattern=r"^\d{1,18}-\d{1,18}$", description="Go on after this event")
    ] = None,
) -> StreamingResponse:
    """Live readings, anomalies and device statuses, by area, site and quantity.

    Events are `reading` (as in /v1/latest), `anomaly` (as in /v1/anomalies), `incident` (as in /v1/incidents,
    without what you may do with it) and `health` (as in /v1/devices); operators get a `notification` for each
    that the consoles of team members receive.
    With `Last-Event-ID` a stream resumes where it was cut: readings of the last hour come again, in the order
    in which they were received, and some of them perhaps twice; then the newest changes of anomalies. A `gap`
    has the `kind` of events that are left out, and `from` and `to` for querying /v1/readings (receiving
    times) or /v1/anomalies instead. `end` is the last event to a client that is too slow. While the
    database is unavailable, a stream stays open, with comments to keep it alive, and resumes afterwards.
    """
    cached_index = partial(context.directories.cached_index, context.principal.areas)
    # in a thread: the first access may have to read the directory from the database
    event_filter = await run_in_threadpool(
        EventFilter,
        cached_index,
        area=area,
        site=site,
        quantity=quantity,
        kinds=kinds,
        team_ids=visible_teams(context.principal),
        with_notifications=context.principal.role >= OPERATOR,
    )
    resume_after = StreamPosition.parse(last_event_id) if last_event_id else None
    return StreamingResponse(
        _event_stream(context, event_filter, resume_after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _event_stream(
    context: RequestContext, event_filter: EventFilter, resume_after: StreamPosition | None
) -> AsyncIterator[str]:
    async with aclosing(
        context.broadcaster.subscribe_batches(event_filter, resume_after, context.principal.principal_id)
    ) as subscribe_batches:
        async for batch in subscribe_batches:
            if (
                resume_after is not None
                and context.auth is not None
                and any(isinstance(one, LiveEvent) for one in batch)
            ):
                context.auth.is_export = True  # a resumed stream sends past events in bulk
            yield "".join(map(_sse_text, batch))


def _sse_text(item: LiveEvent | StreamPosition) -> str:
    # the client keeps an id without data as its last event id, without an event
    return f": nothing new\nid: {item}\n\n" if isinstance(item, StreamPosition) else item.to_sse()
