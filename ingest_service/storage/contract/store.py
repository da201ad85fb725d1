"""Interface of the store for all services; `PostgresStore` and `MemoryStore` pass the same tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from zoneinfo import ZoneInfo

    import numpy as np
    from numpy.typing import NDArray

    from ingest_service.storage.contract.anomaly_changes import OmittedChanges
    from ingest_service.storage.contract.batch import Batch, Checkpoint, Committed, Epoch
    from ingest_service.storage.contract.explanations import Explanation
    from ingest_service.storage.contract.models import (
        Anomaly,
        AnomalyQuery,
        Bucket,
        DeadLetter,
        DeadLetterQuery,
        DeviceActivity,
        DeviceStatus,
        Directory,
        ExceededQuota,
        Feedback,
        LateReadings,
        NewestReading,
        StoreHealth,
        Verdict,
    )
    from ingest_service.storage.contract.network_changes import NetworkChange
    from ingest_service.storage.health.processes import (
        HealthLimits,
        HeartbeatWriter,
        ProcessIdentity,
        ProcessInfo,
        ProcessReader,
    )
    from ingest_service.storage.settings import Settings


class Lease(Protocol):
    """A shard owned by the holder of this lease."""

    @property
    def epoch(self) -> Epoch:
        """Epoch that has to be set in batches."""
        ...

    def held(self) -> bool:
        """Query whether the shard is still owned; stays False once another process has acquired it.

        Raises `StoreUnavailableError`.
        """
        ...


class Reader(Protocol):
    """Operations of users and API clients: queries, replay of dead letters, feedback on anomalies."""

    @property
    def zone(self) -> ZoneInfo:
        """Time zone of the towns, which defines where a day begins."""
        ...

    def directory(self) -> Directory:
        """Return the directory: everything enrolled, with ids."""
        ...

    def directory_version(self) -> int:
        """Return the directory's version, which grows with every enrolment; a cheap query."""
        ...

    def latest(
        self, series_ids: Sequence[int] | None = None, *, received_after_s: float | None = None
    ) -> list[NewestReading]:
        """Return the newest reading of each series (if received after a time)."""
        ...

    def readings(self, series_id: int, from_s: float, to_s: float, *, limit: int) -> NDArray[np.void]:
        """Return at most ``limit`` READING rows in ``[from_s, to_s)`` by time, with revisions applied."""
        ...

    def received(self, series_ids: Sequence[int], after_s: float, *, limit: int) -> NDArray[np.void]:
        """Return READING rows received after a time, in that order, except those measured a day before it."""
        ...

    def buckets(self, series_id: int, from_s: float, to_s: float, width_s: int) -> list[Bucket]:
        """Return buckets aligned to the local day (the store's time zone); empty ones are left out."""
        ...

    def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Return anomalies by filter, newest start first, then highest id."""
        ...

    def anomaly(self, anomaly_id: int) -> Anomaly | None:
        """Return one anomaly; None if there is no such id."""
        ...

    def newest_revision(self) -> int:
        """Return the newest settled revision: no older one can still be committed; a cheap query."""
        ...

    def last_assigned_revision(self) -> int:
        """Return the newest revision ever assigned; it decreases only after a restore from a backup."""
        ...

    def anomalies_changed(self, revision: int, *, limit: int, settled: int = 0) -> list[Anomaly]:
        """Anomalies changed after a revision, oldest change first, up to the newest settled change.

        A reader that continues after the last one misses none. ``settled`` is a revision known to be settled.
        """
        ...

    def omitted_changes_after(
        self, revision: int, site_ids: Sequence[str], *, newest: int, counted: int
    ) -> OmittedChanges | None:
        """Summarise the changes after a revision, except the ``newest`` ones; None if there are no others.

        At most ``counted`` of them are examined for the start times of anomalies at the given sites.
        """
        ...

    def statuses(self) -> list[DeviceStatus]:
        """Return the newest status of every device that ever sent one."""
        ...

    def activity(self) -> list[DeviceActivity]:
        """Return when each device last sent a reading."""
        ...

    def health(self, areas: Sequence[str] | None = None) -> StoreHealth:
        """Return edition, schema version and row counts of some areas, those below them left out, or of all.

        Readings are counted exactly.
        """
        ...

    def count_anomalies(self, query: AnomalyQuery) -> int:
        """Count the anomalies that match a filter; its limit is ignored."""
        ...

    def count_dead_letters(self, query: DeadLetterQuery) -> int:
        """Count the dead letters that match a filter; its limit is ignored."""
        ...

    def processes(self) -> list[ProcessInfo]:
        """Return every process of the platform and its state, by the clock of the database."""
        ...

    def dead_letters(self, query: DeadLetterQuery) -> list[DeadLetter]:
        """Return dead letters by filter, newest first."""
        ...

    def request_replay(self, query: DeadLetterQuery) -> int:
        """Mark dead letters for replay (the filter's limit is ignored); returns their number."""
        ...

    def purge_dead_letters(self, query: DeadLetterQuery) -> int:
        """Delete dead letters (the filter's limit is ignored); returns their number."""
        ...

    def give_feedback(self, anomaly_id: int, verdict: Verdict, *, who: str, note: str) -> bool:
        """Store a verdict on an anomaly, replacing the previous one; False if there is no such anomaly.

        The directory's version grows, for the verdict shifts the limits of the anomaly's series.
        """
        ...

    def withdraw_feedback(self, anomaly_id: int, *, who: str, note: str) -> bool:
        """Withdraw the current verdict on an anomaly; False if there is none. The version grows likewise."""
        ...

    def feedback(self, *, anomaly_id: int | None = None, series_id: int | None = None) -> list[Feedback]:
        """Return all feedback on an anomaly, or on the anomalies of a series, oldest first."""
        ...


class Store(Reader, Protocol):
    """All operations of the store.

    They raise `StoreUnavailableError` if a retry may help, and else `StoreRefusedError`.
    All methods may be called from several threads; each call is one transaction.
    """

    @property
    def database(self) -> Database | None:
        """The PostgreSQL database, for queries beyond this protocol; None for a store in memory."""
        ...

    def for_area(self, area: str) -> Self:
        """Return the same store restricted by row-level security to an area scope, ``*`` being every area.

        A store in memory has no row-level security, and returns itself.
        """
        ...

    def enrol(self, directory: Directory) -> Directory:
        """Insert or update everything in a directory, delete nothing; return the full directory, with ids.

        Raises `StoreRefusedError` if the parents of an area lead back to it.
        """
        ...

    def change_network(self, change: NetworkChange) -> Directory:
        """Change the networks from a time on, or correct them; return the full directory.

        Raises `NetworkChangeError` if the change contradicts what is enrolled, or its own time.
        """
        ...

    def heartbeat(self, identity: ProcessIdentity, limits: HealthLimits) -> HeartbeatWriter:
        """Return the heartbeat writer of a process; it connects at the first heartbeat."""
        ...

    def process_reader(self) -> ProcessReader:
        """Return a reader of the processes with short time limits; it connects at the first read."""
        ...

    # -- the pipeline ------------------------------------------------------------------------------

    def shard(self, name: str, *, wait_s: float = 0.0) -> AbstractContextManager[Lease | None]:
        """Own a shard within the context (advisory lock on a connection of its own).

        Yields None if another process still owns it after ``wait_s`` [s].
        """
        ...

    def encode(self, batch: Batch) -> Batch:
        """Return the batch with its fresh readings encoded, so that `commit` on another thread need not.

        `commit` accepts a batch that is not encoded, too. It leaves the encoded readings as they are: a batch
        can be committed again after a lost connection.
        """
        ...

    def commit(self, batch: Batch) -> Committed:
        """Commit a batch, all or nothing. Repeats change nothing; `latest` never returns to an older reading.

        Raises `ShardLostError` if the batch's epoch is over.
        """
        ...

    def checkpoint(self, shard: str) -> Checkpoint | None:
        """Return the shard's last committed checkpoint."""
        ...

    def readings_committed_after(self, since_us: Mapping[int, int]) -> Iterator[NDArray[np.void]]:
        """Yield READING blocks of series after the given times, by (series, time), without late readings.

        ``since_us`` maps series id -> measured time [us]. A reading is late if `Rule.LATE` is set in it.
        """
        ...

    def dead_letters_to_replay(
        self, areas: Sequence[str], *, limit: int, limit_bytes: int, forwarded: bool = False
    ) -> list[DeadLetter]:
        """Return dead letters marked for replay in areas (``+``: all), oldest first; at least one if any.

        Those of devices, or with ``forwarded`` those of messages that a town's platform forwarded.
        """
        ...

    # -- the service -------------------------------------------------------------------------------

    def refresh_rollups(self, *, limit: int, share: float = 1.0) -> int:
        """Refresh the rollups of about ``limit`` readings, at least one time range or a part of it.

        With a ``share`` below 1, of a random share of the ranges that are out of date. Returns the number of
        series-hours refreshed; 0 if nothing is out of date, or nothing was chosen.
        """
        ...

    def late_readings_due(self, *, limit: int) -> list[LateReadings]:
        """Return the series with late readings that are due to be judged again, longest wait first."""
        ...

    def store_corrections(
        self,
        late: LateReadings,
        revisions: NDArray[np.void],
        anomalies: Sequence[Anomaly],
        *,
        again_s: float | None = None,
        rest_from_s: float | None = None,
    ) -> bool:
        """Store the changes from judging a series again, and mark it as done, or as due in ``again_s`` [s].

        With ``rest_from_s``, late readings from that time on are still due, at once.

        All or nothing; returns False, and stores nothing, if more late readings arrived or another process
        was faster.
        """
        ...

    def record_anomalies(self, anomalies: Sequence[Anomaly]) -> None:
        """Insert or update anomalies by (subject, start time).

        ``evidence["rejudged"]`` is kept, and so is an explanation (`explain_anomalies`).
        """
        ...

    def explain_anomalies(self, explanations: Mapping[int, Explanation | None]) -> None:
        """Replace the explanations of anomalies by id; None removes one. Nothing else of them changes.

        So it can't undo what ingest writes to the same anomaly at the same time.
        """
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class Database(Store, Protocol):
    """A store in PostgreSQL, with connections for queries that go beyond `Store`."""

    @property
    def opened_with(self) -> tuple[str, Settings]:
        """DSN and settings with which another process can open the same database."""
        ...

    def transaction(self, *, frozen: bool = False, in_order: bool = False) -> AbstractContextManager[Any]:
        """Open a connection in one transaction; with ``frozen`` all statements read one snapshot."""
        ...

    def run_query(
        self, query: Any, parameters: Any = None, *, in_order: bool = False, **options: Any
    ) -> AbstractContextManager[Any]:
        """Run a single statement in its own transaction; the context is its cursor."""
        ...

    def size(self) -> tuple[int, str | None]:
        """Return the size of the database [bytes], and its data directory if it is local and readable."""
        ...

    def disk_folders(self) -> list[str]:
        """Return the folders that the database writes to, as far as they are local and readable."""
        ...

    def clock_s(self) -> float:
        """Return the time of the database's clock, Unix time [s]."""
        ...

    def dead_letters_over_quota(self) -> int:
        """Return the number of today's dead letters beyond the quotas, which were counted and not stored."""
        ...

    def exceeded_quotas(self, *, since_s: float) -> list[ExceededQuota]:
        """Return the dead-letter quotas exceeded since a time [s], in enrolled areas."""
        ...

    def delete_old_quotas(self) -> None:
        """Delete dead-letter quotas of days more than a month ago."""
        ...
