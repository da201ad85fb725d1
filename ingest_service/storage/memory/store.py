"""In-memory store with the same results as `PostgresStore`, for tests and trials; passes the same tests."""

from __future__ import annotations

import bisect
import threading
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

import numpy as np

from ingest_service.storage.contract.batch import Committed
from ingest_service.storage.contract.models import (
    READING,
    Anomaly,
    AnomalyQuery,
    Bucket,
    DeadLetter,
    DeadLetterQuery,
    DeviceActivity,
    DeviceStatus,
    Directory,
    Feedback,
    LateReadings,
    NewestReading,
    StoreHealth,
    Verdict,
)
from ingest_service.storage.memory import row_values
from ingest_service.storage.memory.anomalies import AnomalyChanges, MemoryAnomalies
from ingest_service.storage.memory.dead_letters import MemoryDeadLetters
from ingest_service.storage.memory.directory import MemoryDirectory, device_activity
from ingest_service.storage.memory.feedback import MemoryFeedback
from ingest_service.storage.memory.late_readings import MemoryLateReadings
from ingest_service.storage.memory.platform_health import MemoryPlatformHealth
from ingest_service.storage.memory.shards import MemoryShards
from ingest_service.storage.postgres import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from ingest_service.storage.contract.batch import Batch, Checkpoint
    from ingest_service.storage.contract.explanations import Explanation
    from ingest_service.storage.contract.network_changes import NetworkChange
    from ingest_service.storage.memory.shards import MemoryLease

LATE_RULE = 64
UNJUDGED_RULES = 64 | 512 | 16384  # analytics.core.flags.Rule.LATE | Rule.CLOCK | Rule.DEVICE
HOUR_US = 3_600_000_000


class MemoryStore(MemoryPlatformHealth, AnomalyChanges):
    """`ingest_service.storage.contract.store.Store` on dictionaries."""

    def __init__(self, *, time_zone: str = "Asia/Shanghai") -> None:
        super().__init__()
        self.zone = ZoneInfo(time_zone)
        self._lock = threading.RLock()
        self._directory = MemoryDirectory()
        self._rows: dict[int, dict[int, tuple[object, ...]]] = {}  # series -> time [us] -> READING as a tuple
        self._revisions: dict[tuple[int, int], tuple[int, int]] = {}
        self._latest: dict[int, NDArray[np.void]] = {}
        self._anomalies = MemoryAnomalies()
        self._dead_letters = MemoryDeadLetters()
        self._statuses: dict[str, DeviceStatus] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self._due: set[tuple[int, int]] = set()
        self._shards = MemoryShards()
        self._late = MemoryLateReadings()
        self._feedback = MemoryFeedback()

    @property
    def database(self) -> None:
        """There is none."""
        return

    def for_area(self, _area: str) -> Self:
        """Return this store: it has no row-level security."""
        return self

    # -- enrolment -----------------------------------------------------------------------------

    def enrol(self, directory: Directory) -> Directory:
        """Insert or update everything in a directory; return the full directory, with ids."""
        with self._lock:
            self._directory.enrol(directory)
            return self._directory.copy()

    def change_network(self, change: NetworkChange) -> Directory:
        """Change the networks from a time on, or correct them; return the full directory."""
        with self._lock:
            self._directory.change_network(change)
            return self._directory.copy()

    def directory(self) -> Directory:
        """Return the directory: everything enrolled, with ids."""
        return self._directory.copy()

    def directory_version(self) -> int:
        """Return the directory's version, which grows with every enrolment."""
        return self._directory.version

    # -- the pipeline --------------------------------------------------------------------------

    def shard(self, name: str, *, wait_s: float = 0.0) -> AbstractContextManager[MemoryLease | None]:
        """Own a shard within the context; None if it is still owned after ``wait_s`` [s]."""
        return self._shards.acquire(name, wait_s=wait_s)

    def encode(self, batch: Batch) -> Batch:
        """Return the batch: there is nothing to encode."""
        return batch

    def commit(self, batch: Batch) -> Committed:
        """Commit a batch, as `PostgresStore` does."""
        with self._lock:
            self._shards.check(batch.epoch)
            fresh = late = repeated = 0
            conflicts = []
            rows = np.concatenate([batch.fresh, batch.doubtful])
            series_ids, times_us, values, rules = (
                rows[name].tolist() for name in ("series_id", "time_us", "value", "rules")
            )
            newest_us = {one: int(row["time_us"]) for one, row in self._latest.items()}
            newest_index: dict[int, int] = {}
            for index, row in enumerate(rows.tolist()):
                series_id, time_us = series_ids[index], times_us[index]
                stored_row = (rows_of_series := self._rows.setdefault(series_id, {})).get(time_us)
                if stored_row is not None:
                    same = row_values.row_field(stored_row, "value") == values[index]
                    repeated += same
                    conflicts += [] if same else [rows[index]]
                    was_judged = not row_values.row_field(stored_row, "rules") & UNJUDGED_RULES
                    if same and not was_judged and not rules[index] & UNJUDGED_RULES:
                        self._judge_repeat(rows[index : index + 1])
                    continue
                rows_of_series[time_us] = row
                if rules[index] & LATE_RULE:
                    late += 1
                    self._late.add(series_id, time_us)
                else:
                    fresh += 1
                self._due.add((series_id, time_us // HOUR_US))
                if time_us > newest_us.get(series_id, time_us - 1):
                    newest_us[series_id], newest_index[series_id] = time_us, index
            self._latest |= {one: rows[index].copy() for one, index in newest_index.items()}
            self._revise(batch.revisions)
            self.record_anomalies(batch.anomalies)
            self._dead_letters.store_dead_letters(batch.dead_letters, [] if conflicts else batch.replayed)
            for one in batch.statuses:
                self._statuses[one.device_id] = row_values.merged_status(
                    self._statuses.get(one.device_id), one
                )
            if batch.checkpoint is not None:
                self._checkpoints[batch.checkpoint.shard] = batch.checkpoint
            return Committed(
                fresh=fresh, late=late, repeated=repeated, conflicts=row_values.to_array(conflicts)
            )

    def _judge_repeat(self, judged: NDArray[np.void]) -> None:
        """Replace a stored reading that was not judged by its repeat, which is."""
        series_id, time_us = int(judged["series_id"][0]), int(judged["time_us"][0])
        (self._rows[series_id][time_us],) = judged.tolist()
        self._due.add((series_id, time_us // HOUR_US))
        if series_id in self._latest and self._latest[series_id]["time_us"] == time_us:
            self._latest[series_id] = judged[0].copy()

    def _revise(self, revisions: NDArray[np.void]) -> None:
        for series_id, time_us, quality, rules in revisions.tolist():
            self._revisions[series_id, time_us] = (quality, rules)
            self._due.add((series_id, time_us // HOUR_US))

    def checkpoint(self, shard: str) -> Checkpoint | None:
        """Return the shard's last committed checkpoint."""
        return self._checkpoints.get(shard)

    def readings_committed_after(self, since_us: Mapping[int, int]) -> Iterator[NDArray[np.void]]:
        """Yield READING blocks of the given series after the given times."""
        with self._lock:
            rows = [
                row
                for series_id in sorted(since_us)
                for time_us, row in sorted(self._rows.get(series_id, {}).items())
                if time_us > since_us[series_id] and not row_values.row_field(row, "rules") & UNJUDGED_RULES
            ]
        if rows:
            yield np.array(rows, READING)

    # -- dead letters --------------------------------------------------------------------------

    def dead_letters(self, query: DeadLetterQuery) -> list[DeadLetter]:
        """Return dead letters by filter, newest first."""
        return self._dead_letters.find(query)[: query.limit]

    def request_replay(self, query: DeadLetterQuery) -> int:
        """Mark dead letters for replay; returns their number."""
        with self._lock:
            return self._dead_letters.request_replay(query)

    def dead_letters_to_replay(
        self, areas: Sequence[str], *, limit: int, limit_bytes: int, forwarded: bool = False
    ) -> list[DeadLetter]:
        """Return dead letters of some areas that are marked for replay, oldest first; at least one if any."""
        return self._dead_letters.to_replay(areas, limit, limit_bytes, forwarded=forwarded)

    def purge_dead_letters(self, query: DeadLetterQuery) -> int:
        """Delete dead letters; returns their number."""
        with self._lock:
            return self._dead_letters.purge(query)

    # -- feedback ------------------------------------------------------------------------------

    def give_feedback(self, anomaly_id: int, verdict: Verdict, *, who: str, note: str) -> bool:
        """Store a verdict on an anomaly, replacing the previous one; False if there is no such anomaly."""
        with self._lock:
            selected_ids = self._anomalies.one(anomaly_id)
            if selected_ids is not None:
                self._feedback.give(selected_ids, verdict, who, note)
                self._directory.set_score_shifts(self._feedback.shifts(self._anomalies.one))
            return selected_ids is not None

    def withdraw_feedback(self, anomaly_id: int, *, who: str, note: str) -> bool:
        """Withdraw the current verdict on an anomaly; False if there is none."""
        with self._lock:
            was_withdrawn = self._feedback.withdraw(anomaly_id, who, note)
            if was_withdrawn:
                self._directory.set_score_shifts(self._feedback.shifts(self._anomalies.one))
            return was_withdrawn

    def feedback(self, *, anomaly_id: int | None = None, series_id: int | None = None) -> list[Feedback]:
        """Return all feedback on an anomaly, or on the anomalies of a series, including withdrawn."""
        return self._feedback.find(anomaly_id, series_id)

    # -- readers -------------------------------------------------------------------------------

    def latest(
        self, series_ids: Sequence[int] | None = None, *, received_after_s: float | None = None
    ) -> list[NewestReading]:
        """Return the newest reading of each series."""
        wanted_ids = None if series_ids is None else set(series_ids)
        with self._lock:
            return [
                row_values.to_latest_reading(self._latest[one], self._revisions)
                for one in sorted(self._latest)
                if (wanted_ids is None or one in wanted_ids)
                and (received_after_s is None or self._latest[one]["received_us"] > received_after_s * 1e6)
            ]

    def readings(self, series_id: int, from_s: float, to_s: float, *, limit: int) -> NDArray[np.void]:
        """Return the READING rows in ``[from_s, to_s)`` by time, with revisions applied."""
        with self._lock:
            rows_of_series = self._rows.get(series_id, {})
            times = sorted(rows_of_series)
            low, high = (bisect.bisect_left(times, round(edge * 1e6)) for edge in (from_s, to_s))
            rows = np.array([rows_of_series[time_us] for time_us in times[low:high][:limit]], READING)
            return row_values.with_revisions(rows, self._revisions)

    def received(self, series_ids: Sequence[int], after_s: float, *, limit: int) -> NDArray[np.void]:
        """Return the READING rows received after a time, in the order of reception."""
        blocks = [self.readings(one, after_s - row_values.DAY_S, 1e11, limit=10**9) for one in series_ids]
        return row_values.received_after(blocks, after_s, limit)

    def buckets(self, series_id: int, from_s: float, to_s: float, width_s: int) -> list[Bucket]:
        """Return buckets aligned to the local day."""
        return row_values.to_buckets(self.readings(series_id, from_s, to_s, limit=10**9), width_s, self.zone)

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

    def health(self, areas: Sequence[str] | None = None) -> StoreHealth:
        """Count what the store holds."""
        selected_ids, site_ids, letter_areas = set(self._rows), None, None
        if areas is not None:
            directory, letter_areas = self.directory(), list(areas)
            site_ids = [one.site_id for one in directory.sites if one.area_id in areas]
            selected_ids = {one.series_id for one in directory.series if one.site_id in site_ids}
        open_query = AnomalyQuery(states=["open"], site_ids=site_ids)
        with self._lock:
            received_us = [
                int(self._latest[one]["received_us"]) for one in selected_ids & self._latest.keys()
            ]
            return StoreHealth(
                edition="memory",
                schema_version=migrate.newest_migration(),
                readings=sum(len(self._rows.get(one, ())) for one in selected_ids),
                open_anomalies=self.count_anomalies(open_query),
                dead_letters=self.count_dead_letters(DeadLetterQuery(areas=letter_areas)),
                rollups_due=sum(series_id in selected_ids for series_id, _ in self._due),
                rejudge_due=self._late.count(selected_ids),
                newest_received_s=max(received_us) / 1e6 if received_us else None,
            )

    # -- the service ---------------------------------------------------------------------------

    def refresh_rollups(self, *, limit: int, share: float = 1.0) -> int:  # noqa: ARG002 - nothing fails here
        """Count what is due; nothing is rolled up, for `buckets` reads the readings."""
        with self._lock:
            self._due -= set(done := sorted(self._due)[:limit])
            return len(done)

    def late_readings_due(self, *, limit: int) -> list[LateReadings]:
        """Return the series with late readings that are due to be judged again."""
        return self._late.due()[:limit]

    def store_corrections(
        self,
        late: LateReadings,
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
            self.record_anomalies(anomalies)
            return True

    def activity(self) -> list[DeviceActivity]:
        """Return when each device last sent a reading."""
        return device_activity(self.directory(), self.latest())

    def record_anomalies(self, anomalies: Sequence[Anomaly]) -> None:
        """Insert or update anomalies by (subject, start time)."""
        with self._lock:
            self._anomalies.record_anomalies(anomalies)

    def explain_anomalies(self, explanations: Mapping[int, Explanation | None]) -> None:
        """Replace the explanations of anomalies by id; None removes one."""
        with self._lock:
            self._anomalies.explain(explanations)
