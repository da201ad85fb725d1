"""News for live streams: one task asks the store for all of them; a slow reader hurts nobody."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

import structlog
from starlette.concurrency import run_in_threadpool

from ingest_service.storage.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.settings import Settings
    from ingest_service.storage.model import Anomaly, Latest
    from ingest_service.storage.store import Reader

log = structlog.get_logger()

MANY = 10_000
OVERLAP_S = 2.0  # what was received so recently may have been committed out of order


class News(NamedTuple):
    """Something that happened; ``id_`` is the revision of an anomaly."""

    kind: Literal["reading", "anomaly", "end"]
    site_id: str
    body: Latest | Anomaly | None
    id_: int | None = None


class Hub:
    """Asks the store while anybody listens, and hands what is new to every stream."""

    def __init__(self, store: Reader, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._queues: set[asyncio.Queue[News]] = set()
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._site_of: dict[int, str] = {}
        self._seen: dict[int, float] = {}  # series -> measured time last told [s]
        self._revision = 0

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return len(self._queues)

    async def listen(self, after_revision: int | None) -> AsyncIterator[News | None]:
        """News from now on, after the anomalies that changed since a revision; None is a heartbeat."""
        queue: asyncio.Queue[News] = asyncio.Queue(self._settings.live_waiting)
        await self._start()
        self._queues.add(queue)  # first, so that nothing falls between what was missed and what comes
        try:
            missed = await self._missed(after_revision)
            for news in missed:
                yield news
            told = max((news.id_ or 0 for news in missed), default=0)
            while True:
                try:
                    news = await asyncio.wait_for(queue.get(), self._settings.heartbeat_s)
                except TimeoutError:
                    yield None
                    continue
                if news.kind == "anomaly" and (news.id_ or 0) <= told:
                    continue
                yield news
                if news.kind == "end":
                    return
        finally:
            self._queues.discard(queue)

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()

    async def _missed(self, after_revision: int | None) -> list[News]:
        if after_revision is None:
            return []
        found = await run_in_threadpool(self._store.anomalies_changed, after_revision, limit=MANY)
        return [_anomaly(one) for one in found]

    async def _start(self) -> None:
        """Ask from now on, if nobody asked until now."""
        async with self._starting:
            if self._task is None or self._task.done():
                await self._catch_up()
                self._task = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        since_s = time.time()
        while True:
            await asyncio.sleep(self._settings.live_poll_s)
            if not self._queues:
                return
            began_s = time.time()
            try:
                news = await run_in_threadpool(self._ask, since_s - OVERLAP_S)
            except StoreError as error:
                log.warning("live_poll_failed", error=str(error))
                continue
            since_s = began_s
            for one in news:
                self._tell(one)

    async def _catch_up(self) -> None:
        """Where the anomalies stand: streams begin with what comes after."""
        try:
            self._revision = await run_in_threadpool(self._store.newest_revision)
        except StoreError as error:
            log.warning("live_poll_failed", error=str(error))

    def _ask(self, since_s: float) -> list[News]:
        news = []
        for one in self._store.latest(received_after_s=since_s):
            if self._seen.get(one.series_id) != one.time_s:
                self._seen[one.series_id] = one.time_s
                news.append(News("reading", self._site(one.series_id), one))
        for anomaly in self._store.anomalies_changed(self._revision, limit=MANY):
            self._revision = anomaly.revision
            news.append(_anomaly(anomaly))
        return news

    def _site(self, series_id: int) -> str:
        if series_id not in self._site_of:
            self._site_of = {one.series_id: one.site_id for one in self._store.directory().series}
        return self._site_of[series_id]

    def _tell(self, news: News) -> None:
        for queue in list(self._queues):
            try:
                queue.put_nowait(news)
            except asyncio.QueueFull:  # too slow: its last word is to come again
                queue.get_nowait()
                queue.put_nowait(News("end", "", None))
                self._queues.discard(queue)


def _anomaly(one: Anomaly) -> News:
    return News("anomaly", one.site_id, one, one.revision)
