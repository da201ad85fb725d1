"""In-memory store with the same results as `PostgresStore`, for tests and trials; passes the same tests."""

from __future__ import annotations

import bisect
import threading
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from ingest_service.storage import memory_rows, migrate
from ingest_service.storage.batch import Committed
from ingest_service.storage.memory_anomalies import MemoryAnomalies, Revised
from ingest_service.storage.memory_directory import MemoryDirectory, activity
from ingest_service.storage.memory_late import MemoryLate
from ingest_service.storage.memory_letters import MemoryLetters
from ingest_service.storage.memory_opinions import MemoryOpinions
from ingest_service.storage.memory_processes import MemoryPlatform
from ingest_service.storage.memory_shards import MemoryShards
from ingest_service.storage.model import (
    READING,
    Anomaly,
    AnomalyQuery,
    Bucket,
    DeadLetter,
    DeviceActivity,
    DeviceStatus,
    Directory,
    Feedback,
    Health,
    Late,
    Latest,
    LetterQuery,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from ingest_service.storage.batch import Batch, Checkpoint
    from ingest_service.storage.memory_shards import MemoryLease

LATE = 64
NOT_JUDGED = 64 | 512  # analytics.core.flags.Rule.LATE | Rule.CLOCK
HOUR_US = 3_600_000_000


class MemoryStore(MemoryPlatform, Revised):
    """`ingest_service.storage.store.Store` on dictionaries."""

    def __init__(self, *, time_zone: str = "Asia/Shanghai") -> None:
        super().__init__()
        self.zone = ZoneInfo(time_zone)
        self._lock = threading.RLock()
        self._enrolled = MemoryDirectory()
        self._rows: dict[int, dict[int, tuple[object, ...]]] = {}  # series -> time [us] -> READING as a tuple
        self._revisions: dict[tuple[int, int], tuple[int, int]] = {}
        self._latest: dict[int, NDArray[np.void]] = {}
        self._anomalies = MemoryAnomalies()
        self._letters = MemoryLetters()
        self._statuses: dict[str, DeviceStatus] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self._due: set[tuple[int, int]] = set()
        self._shards = MemoryShards()
        self._late = MemoryLate()
        self._opinions = MemoryOpinions()

    # -- enrolment -----------------------------------------------------------------------------

    def enrol(self, directory: Directory) -> Directory:
        """Insert or update everything in a directory; return the full directory, with ids."""
        with self._lock:
            self._enrolled.enrol(directory)
            return self._enrolled.copy()

    def directory(self) -> Directory:
        """Return the directory: everything enrolled, with ids."""
        return self._enrolled.copy()

    def directory_version(self) -> int:
        """Return the directory's version, which grows with every enrolment."""
        return self._enrolled.version

    # -- the pipeline --------------------------------------------------------------------------

    def shard(self, name: str) -> AbstractContextManager[MemoryLease | None]:
        """Own a shard within the context; None if it is owned already."""
        return self._shards.own(name)

    def commit(self, batch: Batch) -> Committed:
        """Commit a batch, as `PostgresStore` does."""
        with self._lock:
            self._shards.check(batch.epoch)
            fresh = late = repeated = 0
            conflicts = []
            for row in np.concatenate([batch.fresh, batch.doubtful]):
                series_id, time_us = int(row["series_id"]), int(row["time_us"])
                kept = (of_series := self._rows.setdefault(series_id, {})).get(time_us)
                if kept is not None:
                    same = memory_rows.field(kept, "value") == float(row["value"])
                    repeated += same
                    conflicts += [] if same else [row]
                    continue
                of_series[time_us] = row.item()
                if int(row["rules"]) & LATE:
                    late += 1
                    self._late.add(series_id, time_us)
                else:
                    fresh += 1
                self._due.add((series_id, time_us // HOUR_US))
                if series_id not in self._latest or time_us > self._latest[series_id]["time_us"]:
                    self._latest[series_id] = row.copy()
            self._revise(batch.revisions)
            self.record(batch.anomalies)
            self._letters.keep(batch.letters, [] if conflicts else batch.replayed)
            for one in batch.statuses:
                self._statuses[one.device_id] = memory_rows.said(self._statuses.get(one.device_id), one)
            if batch.checkpoint is not None:
                self._checkpoints[batch.checkpoint.shard] = batch.checkpoint
            return Committed(fresh=fresh, late=late, repeated=repeated, conflicts=memory_rows.of(conflicts))

    def _revise(self, revisions: NDArray[np.void]) -> None:
        for series_id, time_us, quality, rules in revisions.tolist():
            self._revisions[series_id, time_us] = (quality, rules)
            self._due.add((series_id, time_us // HOUR_US))

    def checkpoint(self, shard: str) -> Checkpoint | None:
        """Return the shard's last committed checkpoint."""
        return self._checkpoints.get(shard)

    def committed_after(self, since_us: Mapping[int, int]) -> Iterator[NDArray[np.void]]:
        """Yield READING blocks of the given series after the given times."""
        with self._lock:
            rows = [
                row
                for series_id in sorted(since_us)
                for time_us, row in sorted(self._rows.get(series_id, {}).items())
                if time_us > since_us[series_id] and not memory_rows.field(row, "rules") & NOT_JUDGED
            ]
        if rows:
            yield np.array(rows, READING)

    # -- dead letters --------------------------------------------------------------------------

    def dead_letters(self, query: LetterQuery) -> list[DeadLetter]:
        """Return dead letters by filter, newest first."""
        return self._letters.find(query)[: query.limit]

    def ask_replay(self, query: LetterQuery) -> int:
        """Mark dead letters for replay; returns their number."""
        with self._lock:
            return self._letters.ask_replay(query)

    def letters_to_replay(self, areas: Sequence[str], *, limit: int, limit_bytes: int) -> list[DeadLetter]:
        """Return dead letters of some areas that are marked for replay, oldest first; at least one if any."""
        return self._letters.to_replay(areas, limit, limit_bytes)

    def purge_letters(self, query: LetterQuery) -> int:
        """Delete dead letters; returns their number."""
        with self._lock:
            return self._letters.purge(query)

    # -- feedback ------------------------------------------------------------------------------

    def give_feedback(self, anomaly_id: int, verdict: Verdict, *, who: str, note: str) -> bool:
        """Store a verdict on an anomaly, replacing the previous one; False if there is no such anomaly."""
        with self._lock:
            of = self._anomalies.one(anomaly_id)
            if of is not None:
                self._opinions.give(of, verdict, who, note)
                self._enrolled.move(self._opinions.shifts(self._anomalies.one))
            return of is not None

    def withdraw_feedback(self, anomaly_id: int, *, who: str, note: str) -> bool:
        """Withdraw the current verdict on an anomaly; False if there is none."""
        with self._lock:
            did = self._opinions.withdraw(anomaly_id, who, note)
            if did:
                self._enrolled.move(self._opinions.shifts(self._anomalies.one))
            return did

    def feedback(self, *, anomaly_id: int | None = None, series_id: int | None = None) -> list[Feedback]:
        """Return all feedback on an anomaly, or on the anomalies of a series, including withdrawn."""
        return self._opinions.find(anomaly_id, series_id)

    # -- readers -------------------------------------------------------------------------------

    def latest(
        self, series_ids: Sequence[int] | None = None, *, received_after_s: float | None = None
    ) -> list[Latest]:
        """Return the newest reading of each series."""
        wanted = None if series_ids is None else set(series_ids)
        with self._lock:
            return [
                memory_rows.latest(self._latest[one], self._revisions)
                for one in sorted(self._latest)
                if (wanted is None or one in wanted)
                and (received_after_s is None or self._latest[one]["received_us"] > received_after_s * 1e6)
            ]

    def readings(self, series_id: int, from_s: float, to_s: float, *, limit: int) -> NDArray[np.void]:
        """Return the READING rows in ``[from_s, to_s)`` by time, with revisions applied."""
        with self._lock:
            of_series = self._rows.get(series_id, {})
            times = sorted(of_series)
            low, high = (bisect.bisect_left(times, round(edge * 1e6)) for edge in (from_s, to_s))
            rows = np.array([of_series[time_us] for time_us in times[low:high][:limit]], READING)
            return memory_rows.revised(rows, self._revisions)

    def received(self, series_ids: Sequence[int], after_s: float, *, limit: int) -> NDArray[np.void]:
        """Return the READING rows received after a time, in the order of reception."""
        blocks = [self.readings(one, after_s - memory_rows.DAY_S, 1e11, limit=10**9) for one in series_ids]
        return memory_rows.received(blocks, after_s, limit)

    def buckets(self, series_id: int, from_s: float, to_s: float, width_s: int) -> list[Bucket]:
        """Return buckets aligned to the local day."""
        return memory_rows.buckets(self.readings(series_id, from_s, to_s, limit=10**9), width_s, self.zone)

    def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Return anomalies by filter, newest start first."""
        with self._lock:
            return self._anomalies.find(query)

    def anomaly(self, anomaly_id: int) -> Anomaly | None:
        """Return one anomaly; None if there is no such id."""
        with self._lock:
            return self._anomalies.one(anomaly_id)

    def statuses(self) -> list[DeviceStatus]:
        """Return the newest status of every device that ever sent one."""
        return [self._statuses[one] for one in sorted(self._statuses)]

    def health(self, series_ids: Sequence[int] | None = None) -> Health:
        """Count what the store holds."""
        of = set(self._rows if series_ids is None else series_ids)
        with self._lock:
            received_us = [int(self._latest[one]["received_us"]) for one in of & self._latest.keys()]
            return Health(
                edition="memory",
                schema_version=migrate.newest(),
                readings=sum(len(self._rows.get(one, ())) for one in of),
                open_anomalies=self._anomalies.open_count(),
                dead_letters=len(self._letters),
                rollups_due=sum(series_id in of for series_id, _ in self._due),
                rejudge_due=self._late.count(of),
                newest_received_s=max(received_us) / 1e6 if received_us else None,
            )

    # -- the service ---------------------------------------------------------------------------

    def refresh_rollups(self, *, limit: int, share: float = 1.0) -> int:  # noqa: ARG002 - nothing fails here
        """Count what is due; nothing is rolled up, for `buckets` reads the readings."""
        with self._lock:
            self._due -= set(done := sorted(self._due)[:limit])
            return len(done)

    def late_due(self, *, limit: int) -> list[Late]:
        """Return the series with late readings that are due to be judged again."""
        return self._late.due()[:limit]

    def correct(
        self,
        late: Late,
        revisions: NDArray[np.void],
        anomalies: Sequence[Anomaly],
        *,
        again_s: float | None = None,
        rest_from_s: float | None = None,
    ) -> bool:
        """Store the changes from judging a series again, all or nothing."""
        with self._lock:
            if not self._late.done(late, again_s, rest_from_s):
                return False
            self._revise(revisions)
            self.record(anomalies)
            return True

    def activity(self) -> list[DeviceActivity]:
        """Return when each device last sent a reading."""
        return activity(self.directory(), self.latest())

    def record(self, anomalies: Sequence[Anomaly]) -> None:
        """Insert or update anomalies by (subject, start time)."""
        with self._lock:
            self._anomalies.record(anomalies)
