"""Routes of server-sent events: readings, anomalies and device health."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from gateway import params
from gateway.context import Context, Here
from gateway.news import Kind, News, Place
from gateway.problems import responses
from gateway.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

router = APIRouter(prefix="/v1", tags=["live"])

EXAMPLE = 'id: 7-1790000000000000\nevent: anomaly\ndata: {"anomaly_id": 42, "state": "open", …}\n\n'


@router.get(
    "/live",
    response_class=StreamingResponse,
    responses=responses(404) | {200: {"content": {"text/event-stream": {"example": EXAMPLE}}}},
)
async def live(
    here: Here,
    area: params.Area = None,
    site: params.Site = None,
    quantity: params.Quantity = None,
    kinds: Annotated[list[Kind] | None, Query(description="Some kinds of events; all without it")] = None,
    last_event_id: Annotated[
        str | None, Header(pattern=r"^\d{1,18}-\d{1,18}$", description="Go on after this event")
    ] = None,
) -> StreamingResponse:
    """Readings, anomalies and what devices say of themselves, as they come, by area, site and quantity.

    Events are `reading` (as in /v1/latest), `anomaly` (as in /v1/anomalies) and `health` (as in /v1/devices).
    With `Last-Event-ID` a stream goes on where it was cut: readings of the last hour come again, in the order
    in which they were received, and some of them perhaps twice; then the newest changes of anomalies. A `gap`
    has the `kind` of events that are left out, and `from` and `to` for querying /v1/readings (receiving
    times) or /v1/anomalies instead. `end` is the last event to a reader that is too slow. While the database
    is away a stream stays open, with comments to keep it alive, and goes on afterwards.
    """
    held = partial(here.directories.held, here.principal.areas)
    # in a thread: the first look may have to read the directory
    wanted = await run_in_threadpool(Wanted, held, area=area, site=site, quantity=quantity, kinds=kinds)
    after = Place.read(last_event_id) if last_event_id else None
    return StreamingResponse(
        _events(here, wanted, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(here: Context, wanted: Wanted, after: Place | None) -> AsyncIterator[str]:
    async with aclosing(here.hub.batches(wanted, after, here.principal.who)) as batches:
        async for batch in batches:
            if after is not None and here.visit is not None and any(isinstance(one, News) for one in batch):
                here.visit.is_export = True  # what comes again comes in bulk
            yield "".join(map(_written, batch))


def _written(news: News | Place) -> str:
    # an id without data is remembered by the reader, and is no event
    return f": nothing new\nid: {news}\n\n" if isinstance(news, Place) else news.event()
