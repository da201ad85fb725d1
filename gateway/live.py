"""Live streams: one task asks the store for all of them; a slow reader hurts nobody."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog
from starlette.concurrency import run_in_threadpool

from gateway import news
from gateway.background import Tasks
from gateway.news import News, Place
from ingest_service.storage.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.known import Directories
    from gateway.settings import Settings
    from gateway.wanted import Wanted
    from ingest_service.storage.store import Reader

log = structlog.get_logger()

MANY = 10_000
OVERLAP_S = 2.0  # what was received so recently may have been committed out of order
WHOLE_EVERY_S = 5.0  # what was committed long after it was received is found by looking at all series
MISSED_S = 3600.0  # readings that were received before that are not told again
ONE_US = 1e6


class Hub:
    """Asks the store while anybody listens, and hands what is new to every stream that wants it."""

    def __init__(
        self, store: Reader, directories: Directories, settings: Settings, tasks: Tasks | None = None
    ) -> None:
        self._tasks = tasks or Tasks()
        self._store = store
        self._directories = directories
        self._settings = settings
        self._queues: dict[asyncio.Queue[News], Wanted] = {}
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._seen: dict[
            object, float
        ] = {}  # series -> measured time, device -> receiving time last told [s]
        self._place = Place(0, 0)
        self._knows_its_place = False

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return len(self._queues)

    async def listen(self, wanted: Wanted, after: Place | None = None) -> AsyncIterator[News | Place]:
        """News from now on, after those that were missed since a place; a place alone is a heartbeat."""
        queue: asyncio.Queue[News] = asyncio.Queue(self._settings.live_waiting)
        await self._start()
        self._queues[queue] = wanted  # first, so that nothing falls between what was missed and what comes
        try:
            yield after or self._place
            missed = [] if after is None else await run_in_threadpool(self._missed, wanted, after)
            for one in missed:
                yield one
            told = {one.key for one in missed}
            while True:
                try:
                    one = await asyncio.wait_for(queue.get(), self._settings.heartbeat_s)
                except TimeoutError:
                    if queue.empty():
                        yield self._place
                    continue
                if one.key not in told:
                    yield one
                if one.kind == "end":
                    return
        finally:
            self._queues.pop(queue, None)

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()

    async def _start(self) -> None:
        """Ask from now on, if nobody asked until now."""
        async with self._starting:
            if self._task is None or self._task.done():
                self._knows_its_place = False
                try:
                    await run_in_threadpool(self._catch_up)
                except StoreError as error:
                    log.warning("live_poll_failed", error=str(error))
                self._task = asyncio.create_task(self._tasks.keep("live", self._poll))

    async def _poll(self) -> None:
        since_s = whole_s = time.time()
        while True:
            await asyncio.sleep(self._settings.live_poll_s)
            if not self._queues:
                return
            began_s = time.time()
            try:
                if not self._knows_its_place:  # the database was away when the first stream came
                    await run_in_threadpool(self._catch_up)
                is_whole = began_s - whole_s > WHOLE_EVERY_S
                found = await run_in_threadpool(self._ask, None if is_whole else since_s - OVERLAP_S)
            except StoreError as error:
                log.warning("live_poll_failed", error=str(error))
                continue
            since_s, whole_s = began_s, began_s if is_whole else whole_s
            if found:
                await self._tell(found)

    async def _tell(self, found: list[News]) -> None:
        for queue, wanted in list(self._queues.items()):
            for one in wanted.among(found):
                try:
                    queue.put_nowait(one)
                except asyncio.QueueFull:  # too slow: its last word is to come again
                    queue.get_nowait()
                    queue.put_nowait(news.end(one.place))
                    self._queues.pop(queue, None)
                    break
            await asyncio.sleep(0)

    # -- in a thread ---------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Where things stand: streams begin with what comes after."""
        now_s = time.time()
        self._place = Place(self._store.newest_revision(), round(now_s * ONE_US))
        before = [one for one in self._store.latest() if one.received_s < now_s - OVERLAP_S]
        self._seen |= {one.series_id: one.time_s for one in before}
        self._seen |= {one.device_id: one.received_s for one in self._store.statuses()}
        self._knows_its_place = True

    def _ask(self, since_s: float | None) -> list[News]:
        known, now_s = self._directories.known(), time.time()
        found = []
        for one in sorted(self._store.latest(received_after_s=since_s), key=lambda one: one.received_s):
            if self._seen.get(one.series_id) != one.time_s and one.series_id in known.series:
                self._seen[one.series_id] = one.time_s
                found.append(self._at(news.reading(one, known, self._place, now_s)))
        changed = self._store.anomalies_changed(self._place.revision, limit=MANY)
        found += [self._at(news.anomaly(one, known, self._place)) for one in changed]
        said = [one for one in self._store.statuses() if self._seen.get(one.device_id) != one.received_s]
        active = {one.device_id: one for one in self._store.activity()} if said else {}
        for status in said:
            if status.device_id in known.devices:
                self._seen[status.device_id] = status.received_s
                found.append(news.health(status, active.get(status.device_id), known, self._place))
        return found

    def _at(self, one: News) -> News:
        self._place = one.place
        return one

    def _missed(self, wanted: Wanted, after: Place) -> list[News]:
        """What is told again: readings within bounds, and else a gap; every anomaly; how devices are."""
        known, now_s = self._directories.known(), time.time()
        bound_us = round((now_s - MISSED_S) * ONE_US)
        place, found = after, []
        if after.received_us < bound_us:
            found.append(news.gap(after.received_us, bound_us, place))
        from_us = max(bound_us, after.received_us - round(OVERLAP_S * ONE_US))
        rows = self._store.received(wanted.series_ids(), from_us / ONE_US, limit=MANY)
        for row in rows:
            found.append(news.reading(news.stored(row), known, place, now_s))
            place = found[-1].place
        if len(rows) == MANY:
            found.append(news.gap(place.received_us, round(now_s * ONE_US), place))
        while changed := self._store.anomalies_changed(place.revision, limit=MANY):
            for one in changed:
                found.append(news.anomaly(one, known, place))
                place = found[-1].place
        active = {one.device_id: one for one in self._store.activity()}
        found += [
            news.health(one, active.get(one.device_id), known, place)
            for one in self._store.statuses()
            if one.received_s * ONE_US > after.received_us and one.device_id in known.devices
        ]
        return list(wanted.among(found))
