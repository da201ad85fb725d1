"""Server-sent events: readings and anomalies as they come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from gateway import convert, params
from gateway.context import Context, Here
from gateway.problems import responses
from ingest_service.storage.model import Anomaly, Latest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.known import Known
    from gateway.live import News

router = APIRouter(prefix="/v1", tags=["live"])

EXAMPLE = 'id: 7\nevent: anomaly\ndata: {"anomaly_id": 42, "state": "open", …}\n\n'


@router.get(
    "/live",
    response_class=StreamingResponse,
    responses=responses(404) | {200: {"content": {"text/event-stream": {"example": EXAMPLE}}}},
)
async def live(
    here: Here,
    area: params.Area = None,
    site: params.Site = None,
    last_event_id: Annotated[
        str | None, Header(pattern=r"^\d{1,18}$", description="Go on after this event")
    ] = None,
) -> StreamingResponse:
    """Readings and anomalies as they come, by area or site.

    Events are `reading` (as in /v1/latest) and `anomaly` (as in /v1/anomalies). Anomalies carry an id: with
    `Last-Event-ID` a stream goes on where it was cut. `end` is the last event to a reader that is too slow.
    """
    sites = {one.site_id for one in here.known.sites_of(area=area, site=site)} if area or site else None
    after = int(last_event_id) if last_event_id else None
    return StreamingResponse(
        _events(here, sites, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(here: Context, sites: set[str] | None, after: int | None) -> AsyncIterator[str]:
    yield ": welcome\n\n"
    async for news in here.hub.listen(after):
        if news is None:
            yield ": nothing new\n\n"
        elif news.kind == "end" or (
            news.site_id in here.known.sites and (sites is None or news.site_id in sites)
        ):
            yield _event(news, here.known)


def _event(news: News, known: Known) -> str:
    body = "{}"
    if isinstance(news.body, Latest):
        body = convert.latest(news.body, known, time.time()).model_dump_json()
    elif isinstance(news.body, Anomaly):
        body = convert.anomaly(news.body, known).model_dump_json()
    head = f"id: {news.id_}\n" if news.id_ is not None else ""
    return f"{head}event: {news.kind}\ndata: {body}\n\n"
