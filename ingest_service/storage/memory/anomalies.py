"""Stores anomalies in memory, and lists their changes by revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.contract import explanations
from ingest_service.storage.contract.anomaly_changes import OmittedChanges
from ingest_service.storage.memory import row_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from threading import RLock

    from ingest_service.storage.contract.explanations import Explanation
    from ingest_service.storage.contract.models import Anomaly, AnomalyQuery


class MemoryAnomalies:
    """Anomalies by (subject, start time)."""

    def __init__(self) -> None:
        self._anomalies: dict[tuple[str, float], Anomaly] = {}
        self._revision = 0

    def find(self, query: AnomalyQuery) -> list[Anomaly]:
        """Return the anomalies that match a filter, newest start first."""
        found = [one for one in self._anomalies.values() if row_values.matches_filter(one, query)]
        found.sort(key=lambda one: (one.start_s, one.anomaly_id), reverse=True)
        return found[: query.limit]

    def one(self, anomaly_id: int) -> Anomaly | None:
        """Return an anomaly by id; None if there is no such id."""
        return next((one for one in self._anomalies.values() if one.anomaly_id == anomaly_id), None)

    def changed(self, revision: int) -> list[Anomaly]:
        """Return the anomalies changed after a revision, oldest change first."""
        found = [one for one in self._anomalies.values() if one.revision > revision]
        return sorted(found, key=lambda one: one.revision)

    def omitted(
        self, revision: int, site_ids: Sequence[str], newest: int, counted: int
    ) -> OmittedChanges | None:
        """Summarise the changes after a revision; None if there are no others than the newest ones.

        ``newest`` is the number of newest changes left out, ``counted`` that of changes whose times are read.
        """
        omitted_changes = self.changed(revision)
        omitted_changes = omitted_changes[: max(0, len(omitted_changes) - newest)]
        if not omitted_changes:
            return None
        starts = [one.start_s for one in omitted_changes[-counted - 1 :] if one.site_id in site_ids]
        times_are_known = len(omitted_changes) <= counted
        return OmittedChanges(
            omitted_changes[-1].revision,
            times_are_known,
            min(starts, default=None),
            max(starts, default=None),
        )

    def record_anomalies(self, anomalies: Sequence[Anomaly]) -> None:
        """Insert or update anomalies by (subject, start time)."""
        for one in anomalies:
            key = (one.subject, round(one.start_s, 6))
            previous = self._anomalies.get(key)
            if previous and "rejudged" in previous.evidence:
                one = msgspec.structs.replace(  # noqa: PLW2901 - the record of a re-judging is kept
                    one, evidence={"rejudged": previous.evidence["rejudged"]} | one.evidence
                )
            if previous and one.state != "withdrawn" and not explanations.is_explained(one):
                one = explanations.explained(one, explanations.explanation_of(previous))  # noqa: PLW2901 - likewise
            anomaly_id = previous.anomaly_id if previous else len(self._anomalies) + 1
            if (
                previous
                and msgspec.structs.replace(one, anomaly_id=anomaly_id, revision=previous.revision)
                == previous
            ):
                continue
            self._revision += 1
            self._anomalies[key] = msgspec.structs.replace(
                one, anomaly_id=anomaly_id, revision=self._revision
            )

    def explain(self, by_id: Mapping[int, Explanation | None]) -> None:
        """Replace the explanations of anomalies by id; None removes one."""
        for key, one in self._anomalies.items():
            if one.anomaly_id in by_id:
                changed = explanations.explained(one, by_id[one.anomaly_id])
                if changed != one:
                    self._revision += 1
                    self._anomalies[key] = msgspec.structs.replace(changed, revision=self._revision)


class AnomalyChanges:
    """Mixin of `MemoryStore`: anomaly changes by revision, for live streams."""

    _lock: RLock
    _anomalies: MemoryAnomalies

    def newest_revision(self) -> int:
        """Return the revision of the newest change to any anomaly."""
        return max((one.revision for one in self.anomalies_changed(0, limit=2**62)), default=0)

    last_assigned_revision = newest_revision

    def anomalies_changed(self, revision: int, *, limit: int, settled: int = 0) -> list[Anomaly]:  # noqa: ARG002
        """Return anomalies changed after a revision, oldest change first; in memory all are settled."""
        with self._lock:
            return self._anomalies.changed(revision)[:limit]

    def omitted_changes_after(
        self, revision: int, site_ids: Sequence[str], *, newest: int, counted: int
    ) -> OmittedChanges | None:
        """Summarise the changes after a revision, except the newest ones; None if there are no others."""
        with self._lock:
            return self._anomalies.omitted(revision, site_ids, newest, counted)
