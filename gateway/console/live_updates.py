"""Pushes the changed parts of pages as server-sent events; each is rendered once for all pages of a kind.

Pages of visitors who see the same, in the same language, share one task, which reads the state, renders its
parts and hands the changed ones to each stream. A stream keeps only the newest of each part, so that a slow
client costs no memory.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import Field

from gateway.api.problems import ProblemError
from gateway.auth.authorization import CONSOLE_LIVE, requires
from gateway.console.page_parts import PART_NAMES, PagePart, PageParts, PartName
from gateway.console.visitor import CurrentVisitor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from contextlib import AbstractContextManager

    from gateway.console.platform_state import PlatformStateCache
    from gateway.console.visitor import StateCaches, Visitor

router = APIRouter(include_in_schema=False)

REFRESH_INTERVAL_S = 1.0
TICK_INTERVAL_S = 4.0
"""Of the server's clock; a page without one for `data-lost-after` shows that it is cut off."""
MAX_STREAMS = 40  # of one principal
RECONNECT_MS = 2000

ShownPart = Annotated[str, Field(pattern=r"^[a-z-]{1,20}:[0-9a-f]{12}$")]


class PageStream:
    """Parts that wait to be sent to one page, the newest of each.

    Parameters
    ----------
    shown : digest of each part that the page has, as it shows it

    """

    def __init__(self, shown: dict[PartName, str]) -> None:
        self._shown = shown
        self._waiting: dict[PartName, PagePart] = {}
        self._arrived = asyncio.Event()

    def offer(self, parts: PageParts) -> None:
        """Keep the parts that the page has and shows in another form."""
        for name, digest in self._shown.items():
            if parts[name].digest == digest:
                self._waiting.pop(name, None)
            else:
                self._waiting[name] = parts[name]
        if self._waiting:
            self._arrived.set()

    async def events(self) -> AsyncGenerator[str]:
        """Yield the events of the page: changed parts, and the server's clock at times."""
        yield f"retry: {RECONNECT_MS}\n\n{_tick()}"
        while True:
            try:
                await asyncio.wait_for(self._arrived.wait(), TICK_INTERVAL_S)
            except TimeoutError:
                yield _tick()
                continue
            self._arrived.clear()
            parts, self._waiting = self._waiting, {}
            self._shown |= {name: part.digest for name, part in parts.items()}
            yield "".join(part.event for part in parts.values()) + _tick()


class PartsFeed:
    """Renders the parts for the streams of visitors who see the same while there is a stream."""

    def __init__(self, visitor: Visitor, state_cache: PlatformStateCache) -> None:
        self._visitor = visitor
        self._state_cache = state_cache
        self._streams: set[PageStream] = set()
        self._task: asyncio.Task[None] | None = None
        self._parts: PageParts | None = None

    @contextmanager
    def subscribed(self, stream: PageStream) -> Iterator[None]:
        """Offer new parts to a stream within the context."""
        self._streams.add(stream)
        if self._parts is not None:
            stream.offer(self._parts)
        if self._task is None or self._task.done():
            tasks = self._visitor.context.platform_health.tasks
            self._task = asyncio.create_task(tasks.run_restarting("console", self._refresh_forever))
        try:
            yield
        finally:
            self._streams.discard(stream)
            if not self._streams:
                self._task.cancel()
                self._task = self._parts = None

    async def _refresh_forever(self) -> None:
        while True:
            state = await self._state_cache.newest()
            if state is not None:
                self._parts = PageParts(self._visitor, state)
                for stream in self._streams:
                    stream.offer(self._parts)
            await asyncio.sleep(REFRESH_INTERVAL_S)


class PartsFeeds:
    """Feeds of this gateway by language and view, and the number of streams of each principal."""

    def __init__(self) -> None:
        self._feeds: dict[object, PartsFeed] = {}
        self._streams_by_principal: Counter[str] = Counter()

    def feed_of(self, visitor: Visitor, states: StateCaches) -> PartsFeed:
        """Return the feed for a visitor's language and what he may see."""
        key = (visitor.language, *visitor.view_key)
        if key not in self._feeds:
            self._feeds[key] = PartsFeed(visitor, states.cache_of(visitor))
        return self._feeds[key]

    def check_room(self, principal_id: str) -> None:
        """Raise `ProblemError` 429 where a principal has `MAX_STREAMS` streams."""
        if self._streams_by_principal[principal_id] >= MAX_STREAMS:
            raise ProblemError(
                429, f"{MAX_STREAMS} pages are open with this key: close some", headers={"Retry-After": "5"}
            )

    @contextmanager
    def counted(self, principal_id: str) -> Iterator[None]:
        """Count a stream of a principal within the context."""
        self._streams_by_principal[principal_id] += 1
        try:
            yield
        finally:
            self._streams_by_principal[principal_id] -= 1
            if not self._streams_by_principal[principal_id]:
                del self._streams_by_principal[principal_id]


@router.get("/console/live")
@requires(CONSOLE_LIVE)
async def live(
    request: Request,
    visitor: CurrentVisitor,
    part: Annotated[list[ShownPart], Query(max_length=10)],
) -> StreamingResponse:
    """Stream the changes of a page's parts, each named with the digest that it shows (``now:0f3a…``)."""
    shown: dict[PartName, str] = {}
    for one in part:
        name, _, digest = one.partition(":")
        if name not in PART_NAMES:
            raise ProblemError(422, f"part: there is no {name!r}; there are {', '.join(PART_NAMES)}")
        shown[name] = digest
    feeds: PartsFeeds = request.app.state.console_feeds
    principal_id = visitor.context.principal.principal_id
    feeds.check_room(principal_id)
    feed = feeds.feed_of(visitor, request.app.state.console_states)
    return StreamingResponse(
        _event_stream(feed, PageStream(shown), feeds.counted(principal_id)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _event_stream(
    feed: PartsFeed, stream: PageStream, counted: AbstractContextManager[None]
) -> AsyncGenerator[str]:
    with counted, feed.subscribed(stream):
        async with aclosing(stream.events()) as events:
            async for event in events:
                yield event


def _tick() -> str:
    return f"event: tick\ndata: {time.time():.3f}\n\n"
