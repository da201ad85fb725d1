"""Reads the events that a live stream missed since its last id, in bounded pages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway import news
from gateway.news import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from gateway.known import Directories
    from gateway.news import News
    from gateway.wanted import Wanted
    from ingest_service.storage.store import Reader

ONE_US = 1e6
READINGS = 10_000  # readings that are delivered again, at most
READINGS_S = 3600.0  # readings that were received longer ago are not delivered again
ANOMALIES = 2_000  # changes of anomalies that are delivered again, at most: the newest ones
COUNTED = 20_000  # changes left out whose times are looked at; beyond them, a gap begins in 1970
PAGE = 500  # events that are rendered at once, so that many streams take turns
OVERLAP_S = 2.0  # what was received so recently before a place may have been committed after it


class Missed:
    """The events after a place, in pages; a page that failed can be asked for again.

    Parameters
    ----------
    store : where the events are read, without any wall
    wanted : which events the stream wants
    after : the place of the last event that was received
    settled : a revision up to which every anomaly is known to be committed

    """

    def __init__(
        self, store: Reader, directories: Directories, wanted: Wanted, after: Place, settled: int
    ) -> None:
        self._store = store
        self._directories = directories
        self._wanted = wanted
        self._after = self._place = after
        self._settled = settled
        self._now_s = time.time()
        self._rows: NDArray[np.void] | None = None
        self._are_too_many = False
        self._at = 0
        self._is_bounded = False
        self._steps: list[Callable[[], tuple[list[News], bool]]] = [
            self._readings,
            self._anomalies,
            self._health,
        ]

    def page(self) -> list[News] | None:
        """The next events, perhaps none; None after the last ones. Raises as the store does."""
        if not self._steps:
            return None
        found, is_over = self._steps[0]()
        if is_over:
            self._steps.pop(0)
        return list(self._wanted.among(found))

    def _readings(self) -> tuple[list[News], bool]:
        """Readings in the order of receiving, with a gap before and behind what is within the bounds."""
        found: list[News] = []
        if self._rows is None:
            bound_us = round((self._now_s - READINGS_S) * ONE_US)
            from_us = max(bound_us, self._after.received_us - round(OVERLAP_S * ONE_US))
            rows = self._store.received(self._wanted.series_ids(), from_us / ONE_US, limit=READINGS)
            if self._after.received_us < bound_us and self._wanted.takes("reading"):
                found.append(news.gap("reading", self._after.received_us, bound_us, self._place))
            self._rows, self._are_too_many = rows, len(rows) == READINGS
        known, place = self._directories.known(), self._place
        rows = self._rows[self._at : self._at + PAGE]
        for row in rows:
            found.append(news.reading(news.stored(row), known, place, self._now_s))
            place = found[-1].place
        self._place, self._at = place, self._at + len(rows)
        is_over = self._at >= len(self._rows)
        if is_over and self._are_too_many:
            found.append(news.gap("reading", place.received_us, round(self._now_s * ONE_US), place))
        return found, is_over

    def _anomalies(self) -> tuple[list[News], bool]:
        """The newest changes of anomalies, oldest first, after a gap for those that are too many."""
        if not self._wanted.takes("anomaly"):
            return [], True
        if not self._is_bounded:
            found = self._bounded()
            self._is_bounded = True
            return found, False
        known = self._directories.known()
        changed = self._store.anomalies_changed(self._place.revision, limit=PAGE, settled=self._settled)
        found, self._place = news.anomalies(changed, known, self._place)
        return found, not changed

    def _bounded(self) -> list[News]:
        """Go to where the changes begin that are delivered; the gap before it, if there is one."""
        after, now_us = self._after.revision, round(self._now_s * ONE_US)
        drawn = self._store.drawn_revision()
        self._settled = min(self._settled, drawn)
        if after > drawn:  # the database was restored: its next revisions are smaller than those received
            self._place = Place(self._store.newest_revision(), self._place.received_us)
            return [news.gap("anomaly", 0, now_us, self._place)]
        left = self._store.anomalies_left_out(
            after, self._wanted.site_ids(), newest=ANOMALIES, counted=COUNTED
        )
        if left is None:
            return []
        self._place = self._place.later(revision=left.revision)
        if not left.is_counted:
            return [news.gap("anomaly", 0, now_us, self._place)]
        if left.first_s is None or left.last_s is None:
            return []
        # one second more on both sides: /v1/anomalies takes what ends after `from` and starts before `to`
        first_us, last_us = ((int(left.first_s) - 1) * ONE_US, (int(left.last_s) + 2) * ONE_US)
        return [news.gap("anomaly", round(first_us), round(last_us), self._place)]

    def _health(self) -> tuple[list[News], bool]:
        """How the devices are that sent a status since."""
        known = self._directories.known()
        active = {one.device_id: one for one in self._store.activity()}
        found = [
            news.health(one, active.get(one.device_id), known, self._place)
            for one in self._store.statuses()
            if one.received_s > self._after.received_us / ONE_US - OVERLAP_S
            and one.device_id in known.devices
        ]
        return found, True
