"""Restricts a store to rows of the principal's areas, in the gateway and by row-level security."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from gateway.api.directory_cache import DirectoryIndex, restricted_to_areas
from gateway.auth import evidence_redaction
from ingest_service.storage.contract.models import READING, AnomalyQuery, DeadLetterQuery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from numpy.typing import NDArray

    from gateway.api.directory_cache import DirectoryCache
    from gateway.auth.principal import Principal
    from ingest_service.storage.contract.anomaly_changes import OmittedChanges
    from ingest_service.storage.contract.models import (
        Anomaly,
        Bucket,
        DeadLetter,
        DeviceActivity,
        DeviceStatus,
        Directory,
        Feedback,
        NewestReading,
        StoreHealth,
        Verdict,
    )
    from ingest_service.storage.contract.store import Reader, Store
    from ingest_service.storage.health.processes import ProcessInfo


def scoped_to(store: Store, principal: Principal | None, directories: DirectoryCache) -> Reader:
    """Return the store restricted to a principal's areas; unrestricted without a principal."""
    database_scoped = store.for_area("*" if principal is None else principal.area_scope)
    if principal is None or principal.areas is None:
        return database_scoped
    return AreaScopedStore(database_scoped, principal.areas, directories)


class AreaScopedStore:
    """`ingest_service.storage.contract.store.Reader` of some areas and all areas below them.

    It filters in the gateway; the store that it wraps has row-level security as a second safeguard.
    """

    def __init__(self, store: Reader, areas: tuple[str, ...], directories: DirectoryCache) -> None:
        self._store = store
        self._areas = areas
        self._directories = directories

    @property
    def zone(self) -> ZoneInfo:
        """Local time of the towns."""
        return self._store.zone

    @property
    def _directory_index(self) -> DirectoryIndex:
        return self._directories.directory_index(self._areas)

    def directory(self) -> Directory:
        """Areas, sites, devices, series and networks enrolled in the areas."""
        return restricted_to_areas(self._directories.full_directory(), self._areas).directory

    def directory_version(self) -> int:
        """Version of the directory, which grows with every enrolment in any area."""
        return self._store.directory_version()

    def latest(
        self, series_ids: Sequence[int] | None = None, *, received_after_s: float | None = None
    ) -> list[NewestReading]:
        """Newest reading of each series of the areas."""
        visible = self._directory_index.series
        selected = [one for one in (visible if series_ids is None else series_ids) if one in visible]
        return self._store.latest(selected, received_after_s=received_after_s)

    def readings(self, series_id: int, from_s: float, to_s: float, *, limit: int) -> NDArray[np.void]:
        """READING rows; empty for a series outside the areas."""
        if series_id not in self._directory_index.series:
            return np.empty(0, READING)
        return self._store.readings(series_id, from_s, to_s, limit=limit)

    def received(self, series_ids: Sequence[int], after_s: float, *, limit: int) -> NDArray[np.void]:
        """READING rows received after a time, in order of receipt, of series within the areas."""
        visible = self._directory_index.series
        return self._store.received([one for one in series_ids if one in visible], after_s, limit=limit)

    def buckets(self, series_id: int, from_s: float, to_s: float, width_s: int) -> list[Bucket]:
        """Buckets of a series; none for a series outside the areas."""
        if series_id not in self._directory_index.series:
            return []
        return self._store.buckets(series_id, from_s, to_s, width_s)

    def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Anomalies of the areas by filter, with redacted evidence."""
        rows = self._store.anomalies(self._restrict_to_sites(query))
        return [evidence_redaction.redact_anomaly(one, self._directory_index) for one in rows]

    def count_anomalies(self, query: AnomalyQuery) -> int:
        """Count the anomalies of the areas that match a filter."""
        return self._store.count_anomalies(self._restrict_to_sites(query))

    def anomaly(self, anomaly_id: int) -> Anomaly | None:
        """One anomaly, with redacted evidence; None where it is outside the areas."""
        rows = self._store.anomaly(anomaly_id)
        directory_index = self._directory_index
        return (
            evidence_redaction.redact_anomaly(rows, directory_index)
            if rows is not None and rows.site_id in directory_index.sites
            else None
        )

    def anomalies_changed(self, revision: int, *, limit: int, settled: int = 0) -> list[Anomaly]:
        """Return the anomalies of the areas among the next ``limit`` changed ones."""
        directory_index = self._directory_index
        changed = self._store.anomalies_changed(revision, limit=limit, settled=settled)
        return [
            evidence_redaction.redact_anomaly(one, directory_index)
            for one in changed
            if one.site_id in directory_index.sites
        ]

    def omitted_changes_after(
        self, revision: int, site_ids: Sequence[str], *, newest: int, counted: int
    ) -> OmittedChanges | None:
        """Changes after a revision that are not among the newest ones, for sites of the areas."""
        visible = self._directory_index.sites
        sites = [one for one in site_ids if one in visible]
        return self._store.omitted_changes_after(revision, sites, newest=newest, counted=counted)

    def newest_revision(self) -> int:
        """Newest settled revision of any anomaly, in any area."""
        return self._store.newest_revision()

    def last_assigned_revision(self) -> int:
        """Newest revision that the database has assigned, in any area."""
        return self._store.last_assigned_revision()

    def statuses(self) -> list[DeviceStatus]:
        """Last status message of each device of the areas."""
        visible = self._directory_index.devices
        return [one for one in self._store.statuses() if one.device_id in visible]

    def activity(self) -> list[DeviceActivity]:
        """Times of the newest reading of each device of the areas."""
        visible = self._directory_index.devices
        return [one for one in self._store.activity() if one.device_id in visible]

    def health(self, areas: Sequence[str] | None = None) -> StoreHealth:
        """Edition and schema version of the database, and its counts of rows of the areas."""
        visible = self._directory_index.visible_area_ids
        return self._store.health(sorted(visible if areas is None else visible.intersection(areas)))

    def dead_letters(self, query: DeadLetterQuery) -> list[DeadLetter]:
        """Dead letters of the areas; only unrestricted principals see those without a known area."""
        return self._store.dead_letters(self._restrict_to_areas(query))

    def count_dead_letters(self, query: DeadLetterQuery) -> int:
        """Count the dead letters of the areas that match a filter."""
        return self._store.count_dead_letters(self._restrict_to_areas(query))

    def processes(self) -> list[ProcessInfo]:
        """Every process of the platform, without host, process id, areas and detail."""
        return [
            msgspec.structs.replace(one, host="", pid=0, areas=[], detail="")
            for one in self._store.processes()
        ]

    def request_replay(self, query: DeadLetterQuery) -> int:
        """Mark the dead letters that match a filter for replay; return how many."""
        return self._store.request_replay(self._restrict_to_areas(query))

    def purge_dead_letters(self, query: DeadLetterQuery) -> int:
        """Delete the dead letters that match a filter for good; return how many."""
        return self._store.purge_dead_letters(self._restrict_to_areas(query))

    def give_feedback(self, anomaly_id: int, verdict: Verdict, *, who: str, note: str) -> bool:
        """Record a verdict on an anomaly; False where it is outside the areas."""
        return self.anomaly(anomaly_id) is not None and self._store.give_feedback(
            anomaly_id, verdict, who=who, note=note
        )

    def withdraw_feedback(self, anomaly_id: int, *, who: str, note: str) -> bool:
        """Withdraw the verdict in force on an anomaly; False where it is outside the areas."""
        return self.anomaly(anomaly_id) is not None and self._store.withdraw_feedback(
            anomaly_id, who=who, note=note
        )

    def feedback(self, *, anomaly_id: int | None = None, series_id: int | None = None) -> list[Feedback]:
        """Feedback on an anomaly or on the anomalies of a series; none where they are outside the areas."""
        rows = self._store.feedback(anomaly_id=anomaly_id, series_id=series_id)
        visible_by_id = {one: self.anomaly(one) is not None for one in {entry.anomaly_id for entry in rows}}
        return [one for one in rows if visible_by_id[one.anomaly_id]]

    def _restrict_to_sites(self, query: AnomalyQuery) -> AnomalyQuery:
        visible = self._directory_index.sites
        selected = visible if query.site_ids is None else query.site_ids
        return msgspec.structs.replace(query, site_ids=[one for one in selected if one in visible])

    def _restrict_to_areas(self, query: DeadLetterQuery) -> DeadLetterQuery:
        return msgspec.structs.replace(query, areas=sorted(self._directory_index.visible_area_ids))
