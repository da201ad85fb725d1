"""Stores anomalies in memory, and lists their changes by revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage import memory_rows
from ingest_service.storage.revisions import LeftOut

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import RLock

    from ingest_service.storage.model import Anomaly, AnomalyQuery


class MemoryAnomalies:
    """Anomalies by (subject, start time)."""

    def __init__(self) -> None:
        self._anomalies: dict[tuple[str, float], Anomaly] = {}
        self._revision = 0

    def find(self, query: AnomalyQuery) -> list[Anomaly]:
        """Return the anomalies that match a filter, newest start first."""
        found = [one for one in self._anomalies.values() if memory_rows.matches(one, query)]
        found.sort(key=lambda one: (one.start_s, one.anomaly_id), reverse=True)
        return found[: query.limit]

    def one(self, anomaly_id: int) -> Anomaly | None:
        """Return an anomaly by id; None if there is no such id."""
        return next((one for one in self._anomalies.values() if one.anomaly_id == anomaly_id), None)

    def changed(self, revision: int) -> list[Anomaly]:
        """Return the anomalies changed after a revision, oldest change first."""
        found = [one for one in self._anomalies.values() if one.revision > revision]
        return sorted(found, key=lambda one: one.revision)

    def left_out(self, revision: int, site_ids: Sequence[str], newest: int, counted: int) -> LeftOut | None:
        """Summarise the changes after a revision, except the newest ones; None if there are no others."""
        left = self.changed(revision)
        left = left[: max(0, len(left) - newest)]
        if not left:
            return None
        starts = [one.start_s for one in left[-counted - 1 :] if one.site_id in site_ids]
        is_counted = len(left) <= counted
        return LeftOut(left[-1].revision, is_counted, min(starts, default=None), max(starts, default=None))

    def open_count(self) -> int:
        """Count the open anomalies."""
        return sum(one.state == "open" for one in self._anomalies.values())

    def record(self, anomalies: Sequence[Anomaly]) -> None:
        """Insert or update anomalies by (subject, start time)."""
        for one in anomalies:
            key = (one.subject, round(one.start_s, 6))
            old = self._anomalies.get(key)
            if old and "rejudged" in old.evidence:
                one = msgspec.structs.replace(  # noqa: PLW2901 - the record of a re-judging is kept
                    one, evidence={"rejudged": old.evidence["rejudged"]} | one.evidence
                )
            anomaly_id = old.anomaly_id if old else len(self._anomalies) + 1
            if old and msgspec.structs.replace(one, anomaly_id=anomaly_id, revision=old.revision) == old:
                continue
            self._revision += 1
            self._anomalies[key] = msgspec.structs.replace(
                one, anomaly_id=anomaly_id, revision=self._revision
            )


class Revised:
    """Mixin of `MemoryStore`: anomaly changes by revision, for live streams."""

    _lock: RLock
    _anomalies: MemoryAnomalies

    def newest_revision(self) -> int:
        """Return the revision of the newest change to any anomaly."""
        return max((one.revision for one in self.anomalies_changed(0, limit=2**62)), default=0)

    drawn_revision = newest_revision

    def anomalies_changed(self, revision: int, *, limit: int, settled: int = 0) -> list[Anomaly]:  # noqa: ARG002
        """Return anomalies changed after a revision, oldest change first; in memory all are settled."""
        with self._lock:
            return self._anomalies.changed(revision)[:limit]

    def anomalies_left_out(
        self, revision: int, site_ids: Sequence[str], *, newest: int, counted: int
    ) -> LeftOut | None:
        """Summarise the changes after a revision, except the newest ones; None if there are no others."""
        with self._lock:
            return self._anomalies.left_out(revision, site_ids, newest, counted)
