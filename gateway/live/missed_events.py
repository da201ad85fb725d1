"""Reads the events that a live stream missed since its last event id, in bounded pages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.live import events
from gateway.live.events import StreamPosition

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from gateway.api.directory_cache import DirectoryCache
    from gateway.live.event_filter import EventFilter
    from gateway.live.events import LiveEvent
    from ingest_service.storage.contract.store import Reader
    from ingest_service.storage.postgres.incidents import Incidents

US_PER_S = 1e6
MAX_REPLAYED_READINGS = 10_000  # readings that are delivered again, at most
MAX_REPLAYED_AGE_S = 3600.0  # readings that were received longer ago are not delivered again
MAX_REPLAYED_ANOMALIES = 2_000  # changes of anomalies that are delivered again, at most: the newest ones
MAX_REPLAYED_INCIDENTS = 2_000  # incidents that are delivered again, at most
MAX_COUNTED_CHANGES = 20_000  # omitted changes whose times are read; with more, a gap starts in 1970
EVENTS_PER_PAGE = 500  # events serialised in one slot of the queue, so that streams share it
COMMIT_OVERLAP_S = 2.0  # readings received this long before a position may have been committed after it


class MissedEvents:
    """Pages of the events after a position; a page that failed can be read again.

    Parameters
    ----------
    store : unrestricted by area; ``event_filter`` restricts
    directories : cache of the directory
    event_filter : events that the stream receives
    resume_after : position of the last event that the client received
    settled : revision up to which every anomaly is known to be committed
    incidents : incidents, unrestricted by area; None where the store has none

    """

    def __init__(
        self,
        store: Reader,
        directories: DirectoryCache,
        event_filter: EventFilter,
        resume_after: StreamPosition,
        settled: int,
        incidents: Incidents | None = None,
    ) -> None:
        self._store = store
        self._incidents = incidents
        self._incident_revision = resume_after.revision
        self._replayed_incidents = 0
        self._directories = directories
        self._event_filter = event_filter
        self._resume_after = self._position = resume_after
        self._settled_revision = settled
        self._now_s = time.time()
        self._rows: NDArray[np.void] | None = None
        self._exceeds_limit = False
        self._next_row = 0
        self._has_start_revision = False
        self._pending_sources: list[Callable[[], tuple[list[LiveEvent], bool]]] = [
            self._incident_events,
            self._reading_events,
            self._anomaly_events,
            self._status_events,
        ]

    def next_page(self) -> list[LiveEvent] | None:
        """Return the next events, possibly none; None after the last ones. Raises as the store does."""
        if not self._pending_sources:
            return None
        events_found, is_exhausted = self._pending_sources[0]()
        if is_exhausted:
            self._pending_sources.pop(0)
        return list(self._event_filter.matching(events_found))

    def _incident_events(self) -> tuple[list[LiveEvent], bool]:
        """Return the incidents changed since, before all else, at the position of the client.

        A stream that is cut meanwhile gets them again; a position after them could pass other events.
        """
        if self._incidents is None or not self._event_filter.accepts_kind("incident"):
            return [], True
        changed = self._incidents.changed(self._incident_revision, limit=EVENTS_PER_PAGE)
        directory_index = self._directories.directory_index()
        found = [events.incident_event(one, directory_index, self._resume_after) for one in changed]
        self._replayed_incidents += len(changed)
        if changed:
            self._incident_revision = changed[-1].revision
        if self._replayed_incidents >= MAX_REPLAYED_INCIDENTS:
            gap = events.gap_event("incident", 0, round(self._now_s * US_PER_S), self._resume_after)
            return [*found, gap], True
        return found, len(changed) < EVENTS_PER_PAGE

    def _reading_events(self) -> tuple[list[LiveEvent], bool]:
        """Return readings in order of receipt, with gap events before and after those within the bounds."""
        events_found: list[LiveEvent] = []
        if self._rows is None:
            bound_us = round((self._now_s - MAX_REPLAYED_AGE_S) * US_PER_S)
            from_us = max(bound_us, self._resume_after.received_us - round(COMMIT_OVERLAP_S * US_PER_S))
            rows = self._store.received(
                self._event_filter.series_ids(), from_us / US_PER_S, limit=MAX_REPLAYED_READINGS
            )
            if self._resume_after.received_us < bound_us and self._event_filter.accepts_kind("reading"):
                events_found.append(
                    events.gap_event("reading", self._resume_after.received_us, bound_us, self._position)
                )
            self._rows, self._exceeds_limit = rows, len(rows) == MAX_REPLAYED_READINGS
        directory_index, position = self._directories.directory_index(), self._position
        rows = self._rows[self._next_row : self._next_row + EVENTS_PER_PAGE]
        for row in rows:
            events_found.append(
                events.reading_event(events.newest_from_row(row), directory_index, position, self._now_s)
            )
            position = events_found[-1].position
        self._position, self._next_row = position, self._next_row + len(rows)
        is_exhausted = self._next_row >= len(self._rows)
        if is_exhausted and self._exceeds_limit:
            events_found.append(
                events.gap_event("reading", position.received_us, round(self._now_s * US_PER_S), position)
            )
        return events_found, is_exhausted

    def _anomaly_events(self) -> tuple[list[LiveEvent], bool]:
        """Return the newest changes of anomalies, oldest first, after a gap event for older ones."""
        if not self._event_filter.accepts_kind("anomaly"):
            return [], True
        if not self._has_start_revision:
            events_found = self._skip_to_replayed_range()
            self._has_start_revision = True
            return events_found, False
        directory_index = self._directories.directory_index()
        changed = self._store.anomalies_changed(
            self._position.revision, limit=EVENTS_PER_PAGE, settled=self._settled_revision
        )
        events_found, self._position = events.anomaly_events(changed, directory_index, self._position)
        return events_found, not changed

    def _skip_to_replayed_range(self) -> list[LiveEvent]:
        """Advance to the first change to deliver; return the gap event for those before it, if any."""
        resume_after, now_us = self._resume_after.revision, round(self._now_s * US_PER_S)
        last_assigned = self._store.last_assigned_revision()
        self._settled_revision = min(self._settled_revision, last_assigned)
        # The database was restored: its next revisions are smaller than those received.
        if resume_after > last_assigned:
            self._position = StreamPosition(self._store.newest_revision(), self._position.received_us)
            return [events.gap_event("anomaly", 0, now_us, self._position)]
        omitted = self._store.omitted_changes_after(
            resume_after,
            self._event_filter.site_ids(),
            newest=MAX_REPLAYED_ANOMALIES,
            counted=MAX_COUNTED_CHANGES,
        )
        if omitted is None:
            return []
        self._position = self._position.advanced_to(revision=omitted.revision)
        if not omitted.times_are_known:
            return [events.gap_event("anomaly", 0, now_us, self._position)]
        if omitted.first_s is None or omitted.last_s is None:
            return []
        # 1 s more on both sides: /v1/anomalies returns those that end after `from` and start before `to`.
        first_us, last_us = ((int(omitted.first_s) - 1) * US_PER_S, (int(omitted.last_s) + 2) * US_PER_S)
        return [events.gap_event("anomaly", round(first_us), round(last_us), self._position)]

    def _status_events(self) -> tuple[list[LiveEvent], bool]:
        """Return the statuses of devices that were received since."""
        directory_index = self._directories.directory_index()
        activity = {one.device_id: one for one in self._store.activity()}
        events_found = [
            events.health_event(one, activity.get(one.device_id), directory_index, self._position)
            for one in self._store.statuses()
            if one.received_s > self._resume_after.received_us / US_PER_S - COMMIT_OVERLAP_S
            and one.device_id in directory_index.devices
        ]
        return events_found, True
