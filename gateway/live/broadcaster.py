"""Broadcasts live events to all open streams from one task that polls the store.

Each stream has a bounded queue, so that a slow client delays no other. While the database is unavailable, the
task retries and the streams stay open, with heartbeats; afterwards each resumes at its position. Anomalies
are delivered in the order of their revisions, each once all before it are committed.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from starlette.concurrency import run_in_threadpool

from gateway.api.problems import ProblemError
from gateway.background_tasks import BackgroundTasks
from gateway.live import events
from gateway.live.events import LiveEvent, StreamPosition
from gateway.live.missed_events import MissedEvents
from ingest_service.storage.contract.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from gateway.api.directory_cache import DirectoryCache, DirectoryIndex
    from gateway.auth.fair_queue import FairQueue
    from gateway.live.event_filter import EventFilter
    from gateway.settings import Settings
    from ingest_service.storage.contract.store import Reader
    from ingest_service.storage.postgres.incidents import Incidents
    from ingest_service.storage.postgres.notifications import NotificationStore

log = structlog.get_logger()

MAX_CHANGES_PER_POLL = 10_000
COMMIT_OVERLAP_S = 2.0  # polls overlap by this, for readings may be committed out of the order of receipt
FULL_READ_INTERVAL_S = 5.0  # a poll of all series finds readings that were committed long after receipt
RETRY_INTERVAL_S = 1.0  # pause before missed events are read again after a failure of the database
US_PER_S = 1e6


@dataclass(slots=True)
class _Subscriber:
    """One stream: its event filter, and the position of the last event queued for it."""

    event_filter: EventFilter
    position: StreamPosition


class EventBroadcaster:
    """Polls the store while streams are open, and queues new events for every stream whose filter matches.

    Parameters
    ----------
    store : unrestricted by area; the filters of the streams restrict
    directories : cache of the directory
    settings : settings of the gateway (poll and heartbeat intervals, length of the queues)
    tasks : registry that restarts the polling task after failures
    heavy_queue : queue in which missed events are read, per principal; None reads them at once
    incidents : incidents, unrestricted by area; None where the store has none
    notifications : outbox, likewise

    """

    def __init__(
        self,
        store: Reader,
        directories: DirectoryCache,
        settings: Settings,
        tasks: BackgroundTasks | None = None,
        heavy_queue: FairQueue | None = None,
        incidents: Incidents | None = None,
        notifications: NotificationStore | None = None,
    ) -> None:
        self._tasks = tasks or BackgroundTasks()
        self._store = store
        self._directories = directories
        self._settings = settings
        self._heavy_queue = heavy_queue
        self._incidents = incidents
        self._notifications = notifications
        self._last_delivery_id = 0  # of the notifications for consoles
        self._subscribers: dict[asyncio.Queue[LiveEvent], _Subscriber] = {}
        self._task: asyncio.Task[None] | None = None
        self._start_lock = asyncio.Lock()
        # series id -> measured time of the last reading, device id -> received time of the last status [s]
        self._last_delivered: dict[object, float] = {}
        self._position = StreamPosition(0, 0)  # of the last event read from the store
        # Of the last event that all streams have in their queues; no heartbeat may be ahead of it.
        self._delivered_position = StreamPosition(0, 0)
        self._has_position = False

    @property
    def streams(self) -> int:
        """Number of open streams."""
        return len(self._subscribers)

    async def subscribe(
        self, event_filter: EventFilter, resume_after: StreamPosition | None = None, principal_id: str = ""
    ) -> AsyncIterator[LiveEvent | StreamPosition]:
        """Yield the items of `subscribe_batches` one by one."""
        async with aclosing(
            self.subscribe_batches(event_filter, resume_after, principal_id)
        ) as subscribe_batches:
            async for batch in subscribe_batches:
                for one in batch:
                    yield one

    async def subscribe_batches(
        self, event_filter: EventFilter, resume_after: StreamPosition | None = None, principal_id: str = ""
    ) -> AsyncGenerator[list[LiveEvent | StreamPosition]]:
        """Yield batches of missed events after a position, then of new ones; a position alone is a heartbeat.

        Events that are available at once come as one batch, for each send costs time of the event loop.

        Parameters
        ----------
        event_filter : events that the stream receives
        resume_after : position of the last event that the client received; None starts with new events
        principal_id : principal in whose slots of the queue the missed events are read

        """
        event_queue: asyncio.Queue[LiveEvent] = asyncio.Queue(self._settings.live_waiting)
        await self._start()
        start_position = resume_after or self._delivered_position
        # subscribed before missed events are read, so that no event is lost between the two
        self._subscribers[event_queue] = _Subscriber(event_filter, start_position)
        delivered_keys: set[tuple[object, ...]] = set()
        try:
            yield [start_position]
            if resume_after is not None:
                async for missed_events in self._read_missed(event_filter, resume_after, principal_id):
                    delivered_keys |= {one.key for one in missed_events if isinstance(one, LiveEvent)}
                    yield missed_events
            while True:
                try:
                    batch = [await asyncio.wait_for(event_queue.get(), self._settings.heartbeat_s)]
                except TimeoutError:
                    if event_queue.empty():
                        yield [self._delivered_position]
                    continue
                while not event_queue.empty():
                    batch.append(event_queue.get_nowait())
                if undelivered := [one for one in batch if one.key not in delivered_keys]:
                    yield list(undelivered)
                if batch[-1].kind == "end":
                    return
        finally:
            self._subscribers.pop(event_queue, None)

    async def close(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()

    async def _read_missed(
        self, event_filter: EventFilter, resume_after: StreamPosition, principal_id: str
    ) -> AsyncIterator[list[LiveEvent | StreamPosition]]:
        """Yield missed events page by page, each in a slot of the queue; on failures yield heartbeats."""
        missed_events = MissedEvents(
            self._store,
            self._directories,
            event_filter,
            resume_after,
            self._position.revision,
            self._incidents,
        )
        position, retry_in_s = resume_after, RETRY_INTERVAL_S
        while True:
            try:
                next_page = await self._read_page_in_turn(missed_events, principal_id)
            except StoreUnavailableError as error:
                log.warning("live_missed_failed", error=str(error))
                retry_in_s = RETRY_INTERVAL_S
            except ProblemError as error:  # a 429 of the queue: the response has started, so wait
                retry_in_s = float((error.headers or {}).get("Retry-After", RETRY_INTERVAL_S))
            else:
                if next_page is None:
                    return
                if next_page:
                    position = next_page[-1].position
                    yield list(next_page)
                continue
            await asyncio.sleep(min(retry_in_s, self._settings.heartbeat_s))
            yield [position]

    async def _read_page_in_turn(
        self, missed_events: MissedEvents, principal_id: str
    ) -> list[LiveEvent] | None:
        """Read the next page of missed events in a slot. Raises as the store and the queue do."""
        if self._heavy_queue is None:
            return await run_in_threadpool(missed_events.next_page)
        async with self._heavy_queue.work_slot(principal_id) as work_slot:
            page = await run_in_threadpool(missed_events.next_page)
            await work_slot.rest()
            return page

    async def _start(self) -> None:
        """Start the polling task, unless it runs."""
        async with self._start_lock:
            if self._task is None or self._task.done():
                self._has_position = False
                try:
                    await run_in_threadpool(self._set_start_position)
                except StoreError as error:
                    log.warning("live_poll_failed", error=str(error))
                self._task = asyncio.create_task(self._tasks.run_restarting("live", self._poll_store))

    async def _poll_store(self) -> None:
        last_poll_s = last_full_read_s = time.time()
        was_unavailable = False
        while True:
            await asyncio.sleep(self._settings.live_poll_s)
            if not self._subscribers:
                return
            began_s = time.time()
            try:
                if not self._has_position:  # the database was unavailable when the first stream started
                    await run_in_threadpool(self._set_start_position)
                if was_unavailable:
                    await self._deliver(await run_in_threadpool(self._gap_after_restore))
                is_full_read = began_s - last_full_read_s > FULL_READ_INTERVAL_S
                new_events = await run_in_threadpool(
                    self._read_new_events, None if is_full_read else last_poll_s - COMMIT_OVERLAP_S
                )
            except StoreError as error:
                was_unavailable = True
                log.warning("live_poll_failed", error=str(error))
                continue
            except Exception as error:  # noqa: BLE001 - a defect with one event must not end every stream
                self._tasks.note_failure("live", error)
                continue
            was_unavailable = False
            last_poll_s, last_full_read_s = began_s, began_s if is_full_read else last_full_read_s
            await self._deliver(new_events)

    async def _deliver(self, new_events: list[LiveEvent]) -> None:
        """Queue events for all streams, including those that start meanwhile."""
        position, done = self._position, set()
        while new_events and (remaining_queues := [one for one in self._subscribers if one not in done]):
            for event_queue in remaining_queues:
                done.add(event_queue)
                subscriber = self._subscribers.get(event_queue)
                if subscriber is not None:
                    self._enqueue(event_queue, subscriber, new_events)
                await asyncio.sleep(0)
        self._delivered_position = position

    def _enqueue(
        self, event_queue: asyncio.Queue[LiveEvent], subscriber: _Subscriber, new_events: list[LiveEvent]
    ) -> None:
        for one in subscriber.event_filter.matching(new_events):
            if event_queue.qsize() >= event_queue.maxsize - 1:
                # Too slow: the last slot of the queue is reserved for the end event. Its id is that of the
                # event before it, so that a client that resumes with it misses nothing.
                event_queue.put_nowait(events.end_event(subscriber.position))
                self._subscribers.pop(event_queue, None)
                return
            event_queue.put_nowait(one)
            subscriber.position = one.position

    # -- run in a thread ---------------------------------------------------------------------------

    def _set_start_position(self) -> None:
        """Set the position to the newest events in the store; streams start after it."""
        now_s = time.time()
        self._position = self._delivered_position = StreamPosition(
            self._store.newest_revision(), round(now_s * US_PER_S)
        )
        before = [one for one in self._store.latest() if one.received_s < now_s - COMMIT_OVERLAP_S]
        self._last_delivered |= {one.series_id: one.time_s for one in before}
        self._last_delivered |= {one.device_id: one.received_s for one in self._store.statuses()}
        if self._notifications is not None:
            self._last_delivery_id = self._notifications.newest_delivery_id()
        self._has_position = True

    def _read_new_events(self, last_poll_s: float | None) -> list[LiveEvent]:
        directory_index, now_s = self._directories.directory_index(), time.time()
        new_events = []
        for one in sorted(self._store.latest(received_after_s=last_poll_s), key=lambda one: one.received_s):
            if (
                self._last_delivered.get(one.series_id) != one.time_s
                and one.series_id in directory_index.series
            ):
                self._last_delivered[one.series_id] = one.time_s
                new_events.append(
                    self._advance_position(events.reading_event(one, directory_index, self._position, now_s))
                )
        new_events += self._read_changes(directory_index)
        new_events += self._read_notifications()
        new_statuses = [
            one for one in self._store.statuses() if self._last_delivered.get(one.device_id) != one.received_s
        ]
        activity = {one.device_id: one for one in self._store.activity()} if new_statuses else {}
        for status in new_statuses:
            if status.device_id in directory_index.devices:
                self._last_delivered[status.device_id] = status.received_s
                new_events.append(
                    events.health_event(
                        status, activity.get(status.device_id), directory_index, self._position
                    )
                )
        return new_events

    def _read_changes(self, directory_index: DirectoryIndex) -> list[LiveEvent]:
        """Read the changes of anomalies and incidents, which draw revisions from one sequence.

        Both are read up to one revision, so that the position never passes a change of the other kind.
        """
        after = self._position.revision
        if self._incidents is None:
            changed = self._store.anomalies_changed(after, limit=MAX_CHANGES_PER_POLL, settled=after)
            new_events, self._position = events.anomaly_events(changed, directory_index, self._position)
            return new_events
        until = self._incidents.settled_revision()
        if until <= after:
            return []
        changed = self._store.anomalies_changed(after, limit=MAX_CHANGES_PER_POLL, settled=until)
        if len(changed) == MAX_CHANGES_PER_POLL:
            until = min(until, changed[-1].revision)
        incidents = self._incidents.changed(after, limit=MAX_CHANGES_PER_POLL, settled=until)
        if len(incidents) == MAX_CHANGES_PER_POLL:
            until = incidents[-1].revision
        start_position = self._position
        new_events, self._position = events.anomaly_events(
            [one for one in changed if one.revision <= until], directory_index, start_position
        )
        new_events += [
            events.incident_event(one, directory_index, start_position.advanced_to(revision=one.revision))
            for one in incidents
        ]
        self._position = self._position.advanced_to(revision=until)
        return sorted(new_events, key=lambda one: one.position.revision)

    def _read_notifications(self) -> list[LiveEvent]:
        """Read the notifications for consoles; those of the past are in the outbox (/v1/notifications)."""
        if self._notifications is None:
            return []
        found = self._notifications.for_consoles(self._last_delivery_id, limit=MAX_CHANGES_PER_POLL)
        for one in found:
            self._last_delivery_id = max(self._last_delivery_id, one.delivery_id or 0)
        return [events.notification_event(one, self._position) for one in found]

    def _advance_position(self, one: LiveEvent) -> LiveEvent:
        self._position = one.position
        return one

    def _gap_after_restore(self) -> list[LiveEvent]:
        """Return a gap event, and reset the position, where a restored database has smaller revisions."""
        if self._store.last_assigned_revision() >= self._position.revision:
            return []
        self._position = StreamPosition(self._store.newest_revision(), self._position.received_us)
        return [events.gap_event("anomaly", 0, round(time.time() * US_PER_S), self._position)]
