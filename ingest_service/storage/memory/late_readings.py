"""Stores in memory which series have late readings that are due to be judged again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.contract.models import LateReadings

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


class MemoryLateReadings:
    """Late readings by series, and when each series is due to be judged again."""

    def __init__(self) -> None:
        self._late: dict[int, LateReadings] = {}
        self._due_s: dict[int, float] = {}

    def count(self, series_ids: AbstractSet[int]) -> int:
        """Count the given series that have late readings."""
        return len(self._late.keys() & series_ids)

    def add(self, series_id: int, time_us: int) -> None:
        """Add a late reading."""
        time_s = time_us / 1e6
        old = self._late.get(
            series_id, LateReadings(series_id=series_id, since_s=time_s, until_s=time_s, readings=0)
        )
        self._late[series_id] = LateReadings(
            series_id=series_id,
            since_s=min(old.since_s, time_s),
            until_s=max(old.until_s, time_s),
            readings=old.readings + 1,
        )
        self._due_s[series_id] = min(self._due_s.get(series_id, time.time()), time.time())

    def due(self) -> list[LateReadings]:
        """Return the series that are due now, longest wait first."""
        now_s = time.time()
        waiting = sorted((due_s, series_id) for series_id, due_s in self._due_s.items() if due_s <= now_s)
        return [self._late[series_id] for _, series_id in waiting]

    def done(self, late: LateReadings, again_s: float | None, rest_from_s: float | None = None) -> bool:
        """Mark a series as judged; False if more late readings arrived or it was judged meanwhile.

        It is due again after ``again_s`` [s], or at once for the readings from ``rest_from_s`` on, if given.
        """
        if late not in self.due():
            return False
        if rest_from_s is not None:
            self._late[late.series_id] = msgspec.structs.replace(late, since_s=rest_from_s)
        elif again_s is None:
            del self._late[late.series_id], self._due_s[late.series_id]
        else:
            self._due_s[late.series_id] = time.time() + again_s
        return True
