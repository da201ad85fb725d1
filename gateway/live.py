"""Broadcasts live events: one task reads the store for all streams, and a slow client delays no other.

While the database is away, the task tries again and the streams stay open, with heartbeats; afterwards
each goes on where it was. Anomalies are delivered in the order of their revisions, each once all before it
are committed.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from starlette.concurrency import run_in_threadpool

from gateway import news
from gateway.background import Tasks
from gateway.missed import Missed
from gateway.news import News, Place
from gateway.problems import ProblemError
from ingest_service.storage.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from gateway.access.fair_queue import FairQueue
    from gateway.known import Directories
    from gateway.settings import Settings
    from gateway.wanted import Wanted
    from ingest_service.storage.store import Reader

log = structlog.get_logger()

MANY = 10_000
OVERLAP_S = 2.0  # what was received so recently may have been committed out of order
WHOLE_EVERY_S = 5.0  # what was committed long after it was received is found by looking at all series
AGAIN_S = 1.0  # until what a stream missed is read again, where the database was away
ONE_US = 1e6


@dataclass(slots=True)
class _Listener:
    """One stream: what it wants, and the place of the last event that waits for it or was delivered."""

    wanted: Wanted
    place: Place


class Hub:
    """Asks the store while anybody listens, and hands what is new to every stream that wants it."""

    def __init__(
        self,
        store: Reader,
        directories: Directories,
        settings: Settings,
        tasks: Tasks | None = None,
        turns: FairQueue | None = None,
    ) -> None:
        self._tasks = tasks or Tasks()
        self._store = store
        self._directories = directories
        self._settings = settings
        self._turns = turns
        self._queues: dict[asyncio.Queue[News], _Listener] = {}
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._seen: dict[
            object, float
        ] = {}  # series -> measured time, device -> receiving time last told [s]
        self._place = Place(0, 0)  # of what was read
        self._delivered = Place(
            0, 0
        )  # of what every stream has in its queue: no heartbeat may be ahead of it
        self._knows_its_place = False

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return len(self._queues)

    async def listen(
        self, wanted: Wanted, after: Place | None = None, who: str = ""
    ) -> AsyncIterator[News | Place]:
        """Each of `batches` by itself."""
        async with aclosing(self.batches(wanted, after, who)) as batches:
            async for batch in batches:
                for one in batch:
                    yield one

    async def batches(
        self, wanted: Wanted, after: Place | None = None, who: str = ""
    ) -> AsyncGenerator[list[News | Place]]:
        """News from now on, after those that were missed since a place; a place alone is a heartbeat.

        What is there at once comes as one batch: sending it is the event loop's work, and costs each time.
        ``who`` is the principal, in whose turn the missed ones are read.
        """
        queue: asyncio.Queue[News] = asyncio.Queue(self._settings.live_waiting)
        await self._start()
        begins = after or self._delivered
        # first, so that nothing falls between what was missed and what comes
        self._queues[queue] = _Listener(wanted, begins)
        told: set[tuple[object, ...]] = set()
        try:
            yield [begins]
            if after is not None:
                async for missed in self._missed(wanted, after, who):
                    told |= {one.key for one in missed if isinstance(one, News)}
                    yield missed
            while True:
                try:
                    batch = [await asyncio.wait_for(queue.get(), self._settings.heartbeat_s)]
                except TimeoutError:
                    if queue.empty():
                        yield [self._delivered]
                    continue
                while not queue.empty():
                    batch.append(queue.get_nowait())
                if fresh := [one for one in batch if one.key not in told]:
                    yield list(fresh)
                if batch[-1].kind == "end":
                    return
        finally:
            self._queues.pop(queue, None)

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()

    async def _missed(self, wanted: Wanted, after: Place, who: str) -> AsyncIterator[list[News | Place]]:
        """What a stream missed, page by page in turns; while the database is away, heartbeats."""
        missed = Missed(self._store, self._directories, wanted, after, self._place.revision)
        place, again_s = after, AGAIN_S
        while True:
            try:
                page = await self._in_turn(missed, who)
            except StoreUnavailable as error:
                log.warning("live_missed_failed", error=str(error))
                again_s = AGAIN_S
            except ProblemError as error:  # too many, or too much: the answer has begun, so it is waited for
                again_s = float((error.headers or {}).get("Retry-After", AGAIN_S))
            else:
                if page is None:
                    return
                if page:
                    place = page[-1].place
                    yield list(page)
                continue
            await asyncio.sleep(min(again_s, self._settings.heartbeat_s))
            yield [place]

    async def _in_turn(self, missed: Missed, who: str) -> list[News] | None:
        """The next page of what was missed. Raises as the store and the queue do."""
        if self._turns is None:
            return await run_in_threadpool(missed.page)
        async with self._turns.turn(who):
            return await run_in_threadpool(missed.page)

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
        was_away = False
        while True:
            await asyncio.sleep(self._settings.live_poll_s)
            if not self._queues:
                return
            began_s = time.time()
            try:
                if not self._knows_its_place:  # the database was away when the first stream came
                    await run_in_threadpool(self._catch_up)
                if was_away:
                    await self._tell(await run_in_threadpool(self._gap_after_restore))
                is_whole = began_s - whole_s > WHOLE_EVERY_S
                found = await run_in_threadpool(self._ask, None if is_whole else since_s - OVERLAP_S)
            except StoreError as error:
                was_away = True
                log.warning("live_poll_failed", error=str(error))
                continue
            except Exception as error:  # noqa: BLE001 - a defect with one event must not end every stream
                self._tasks.note("live", error)
                continue
            was_away = False
            since_s, whole_s = began_s, began_s if is_whole else whole_s
            await self._tell(found)

    async def _tell(self, found: list[News]) -> None:
        """Queue events for all streams, also for those that begin meanwhile."""
        place, done = self._place, set()
        while found and (waiting := [one for one in self._queues if one not in done]):
            for queue in waiting:
                done.add(queue)
                listener = self._queues.get(queue)
                if listener is not None:
                    self._put(queue, listener, found)
                await asyncio.sleep(0)
        self._delivered = place

    def _put(self, queue: asyncio.Queue[News], listener: _Listener, found: list[News]) -> None:
        for one in listener.wanted.among(found):
            if queue.qsize() >= queue.maxsize - 1:
                # Too slow: the last place is kept for the event that ends it. Its id is that of the event
                # before it, so that who comes again with it misses nothing.
                queue.put_nowait(news.end(listener.place))
                self._queues.pop(queue, None)
                return
            queue.put_nowait(one)
            listener.place = one.place

    # -- in a thread ---------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Where things stand: streams begin with what comes after."""
        now_s = time.time()
        self._place = self._delivered = Place(self._store.newest_revision(), round(now_s * ONE_US))
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
        changed = self._store.anomalies_changed(
            self._place.revision, limit=MANY, settled=self._place.revision
        )
        events, self._place = news.anomalies(changed, known, self._place)
        found += events
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

    def _gap_after_restore(self) -> list[News]:
        """Where the database was restored meanwhile, its revisions begin anew: go on there, after a gap."""
        if self._store.drawn_revision() >= self._place.revision:
            return []
        self._place = Place(self._store.newest_revision(), self._place.received_us)
        return [news.gap("anomaly", 0, round(time.time() * ONE_US), self._place)]
