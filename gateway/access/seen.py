"""A store that returns only rows of the principal's areas; row-level security is the second line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from gateway import redaction
from gateway.known import Known, within
from ingest_service.storage.model import READING, AnomalyQuery, LetterQuery
from ingest_service.storage.postgres import PostgresStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from numpy.typing import NDArray

    from gateway.access.principal import Principal
    from gateway.known import Directories
    from ingest_service.storage.model import (
        Anomaly,
        Bucket,
        DeadLetter,
        DeviceActivity,
        DeviceStatus,
        Directory,
        Feedback,
        Health,
        Latest,
        Verdict,
    )
    from ingest_service.storage.processes import Process
    from ingest_service.storage.revisions import LeftOut
    from ingest_service.storage.store import Reader, Store


def seen_by(store: Store, principal: Principal | None, directories: Directories) -> Reader:
    """The store as somebody sees it; nobody in particular sees all of it."""
    behind = behind_wall(store, "*" if principal is None else principal.seen_from)
    if principal is None or principal.areas is None:
        return behind
    return Seen(behind, principal.areas, directories)


def behind_wall(store: Store, area: str) -> Reader:
    """The store behind the wall of the database, where there is one."""
    return store.seen_from(area) if isinstance(store, PostgresStore) else store


class Seen:
    """`ingest_service.storage.store.Reader` that shows some areas, with all below them."""

    def __init__(self, store: Reader, areas: tuple[str, ...], directories: Directories) -> None:
        self._store = store
        self._areas = areas
        self._directories = directories

    @property
    def zone(self) -> ZoneInfo:
        """Local time of the towns."""
        return self._store.zone

    @property
    def _known(self) -> Known:
        return self._directories.known(self._areas)

    def directory(self) -> Directory:
        """What is enrolled in the areas."""
        return within(self._directories.whole(), self._areas).directory

    def directory_version(self) -> int:
        """Grows with every enrolment, anywhere."""
        return self._store.directory_version()

    def latest(
        self, series_ids: Sequence[int] | None = None, *, received_after_s: float | None = None
    ) -> list[Latest]:
        """The newest reading of each series."""
        own = self._known.series
        wanted = [one for one in (own if series_ids is None else series_ids) if one in own]
        return self._store.latest(wanted, received_after_s=received_after_s)

    def readings(self, series_id: int, from_s: float, to_s: float, *, limit: int) -> NDArray[np.void]:
        """READING rows; none of a series elsewhere."""
        if series_id not in self._known.series:
            return np.empty(0, READING)
        return self._store.readings(series_id, from_s, to_s, limit=limit)

    def received(self, series_ids: Sequence[int], after_s: float, *, limit: int) -> NDArray[np.void]:
        """READING rows received after a time, in that order; none of series elsewhere."""
        own = self._known.series
        return self._store.received([one for one in series_ids if one in own], after_s, limit=limit)

    def buckets(self, series_id: int, from_s: float, to_s: float, width_s: int) -> list[Bucket]:
        """Buckets; none of a series elsewhere."""
        if series_id not in self._known.series:
            return []
        return self._store.buckets(series_id, from_s, to_s, width_s)

    def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Anomalies by filter."""
        found = self._store.anomalies(self._here(query))
        return [redaction.of_anomaly(one, self._known) for one in found]

    def count_anomalies(self, query: AnomalyQuery) -> int:
        """How many anomalies of the areas a filter finds."""
        return self._store.count_anomalies(self._here(query))

    def anomaly(self, anomaly_id: int) -> Anomaly | None:
        """One anomaly; None where it is elsewhere."""
        found = self._store.anomaly(anomaly_id)
        known = self._known
        return (
            redaction.of_anomaly(found, known) if found is not None and found.site_id in known.sites else None
        )

    def anomalies_changed(self, revision: int, *, limit: int, settled: int = 0) -> list[Anomaly]:
        """Those of the areas among the next anomalies that changed."""
        known = self._known
        changed = self._store.anomalies_changed(revision, limit=limit, settled=settled)
        return [redaction.of_anomaly(one, known) for one in changed if one.site_id in known.sites]

    def anomalies_left_out(
        self, revision: int, site_ids: Sequence[str], *, newest: int, counted: int
    ) -> LeftOut | None:
        """The changes after a revision that are not among the newest ones, for sites of the areas."""
        own = self._known.sites
        sites = [one for one in site_ids if one in own]
        return self._store.anomalies_left_out(revision, sites, newest=newest, counted=counted)

    def newest_revision(self) -> int:
        """The newest settled change of any anomaly, anywhere."""
        return self._store.newest_revision()

    def drawn_revision(self) -> int:
        """The newest revision that was ever drawn, anywhere."""
        return self._store.drawn_revision()

    def statuses(self) -> list[DeviceStatus]:
        """What devices last said of themselves."""
        own = self._known.devices
        return [one for one in self._store.statuses() if one.device_id in own]

    def activity(self) -> list[DeviceActivity]:
        """When each device was last heard."""
        own = self._known.devices
        return [one for one in self._store.activity() if one.device_id in own]

    def health(self, series_ids: Sequence[int] | None = None) -> Health:
        """What the database is, and holds of the areas."""
        own = self._known.series
        found = self._store.health([one for one in (own if series_ids is None else series_ids) if one in own])
        is_open = self.count_anomalies(AnomalyQuery(states=["open"]))
        return msgspec.structs.replace(
            found, open_anomalies=is_open, dead_letters=self.count_letters(LetterQuery())
        )

    def dead_letters(self, query: LetterQuery) -> list[DeadLetter]:
        """Dead letters of the areas; those that name no area of ours belong to nobody here."""
        return self._store.dead_letters(self._own(query))

    def count_letters(self, query: LetterQuery) -> int:
        """How many dead letters of the areas a filter finds."""
        return self._store.count_letters(self._own(query))

    def processes(self) -> list[Process]:
        """Every process of the platform, but not on which machine it runs."""
        return [
            msgspec.structs.replace(one, host="", pid=0, areas=[], detail="")
            for one in self._store.processes()
        ]

    def ask_replay(self, query: LetterQuery) -> int:
        """Ask for some letters to be replayed."""
        return self._store.ask_replay(self._own(query))

    def purge_letters(self, query: LetterQuery) -> int:
        """Delete some letters for good."""
        return self._store.purge_letters(self._own(query))

    def give_feedback(self, anomaly_id: int, verdict: Verdict, *, who: str, note: str) -> bool:
        """Say what an anomaly is; False where it is elsewhere."""
        return self.anomaly(anomaly_id) is not None and self._store.give_feedback(
            anomaly_id, verdict, who=who, note=note
        )

    def withdraw_feedback(self, anomaly_id: int, *, who: str, note: str) -> bool:
        """Take back what stands of an anomaly; False where it is elsewhere."""
        return self.anomaly(anomaly_id) is not None and self._store.withdraw_feedback(
            anomaly_id, who=who, note=note
        )

    def feedback(self, *, anomaly_id: int | None = None, series_id: int | None = None) -> list[Feedback]:
        """What was said of an anomaly, or of a series' anomalies; nothing where they are elsewhere."""
        found = self._store.feedback(anomaly_id=anomaly_id, series_id=series_id)
        seen = {one: self.anomaly(one) is not None for one in {said.anomaly_id for said in found}}
        return [one for one in found if seen[one.anomaly_id]]

    def _here(self, query: AnomalyQuery) -> AnomalyQuery:
        own = self._known.sites
        wanted = own if query.site_ids is None else query.site_ids
        return msgspec.structs.replace(query, site_ids=[one for one in wanted if one in own])

    def _own(self, query: LetterQuery) -> LetterQuery:
        return msgspec.structs.replace(query, areas=sorted(self._known.own))
