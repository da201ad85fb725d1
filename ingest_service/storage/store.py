"""The store, as every room sees it; `PostgresStore` and `MemoryStore` are held to the same tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from ingest_service.storage.model import (
        Anomaly,
        AnomalyQuery,
        Batch,
        Bucket,
        Checkpoint,
        Committed,
        DeadLetter,
        DeviceActivity,
        DeviceStatus,
        Directory,
        Health,
        Latest,
    )


class Store(Protocol):
    """Every method raises `StoreUnavailable` when waiting may help and `StoreRefused` when it can't.

    All methods may be called from several threads; each call is one transaction.
    """

    def enrol(self, directory: Directory) -> Directory:
        """Insert or update everything named, remove nothing; return the whole, with ids."""
        ...

    def directory(self) -> Directory:
        """Everything enrolled, with ids."""
        ...

    def directory_version(self) -> int:
        """Grows with every enrolment; cheap to ask."""
        ...

    # -- the pipeline ------------------------------------------------------------------------

    def shard(self, name: str) -> AbstractContextManager[bool]:
        """Own a shard while the context lasts (advisory lock on a connection of its own).

        Enters at once; the value says whether the lock was free.
        """
        ...

    def commit(self, batch: Batch) -> Committed:
        """All of the batch or nothing of it. Repeats change nothing; `latest` never goes back."""
        ...

    def checkpoint(self, shard: str) -> Checkpoint | None:
        """The shard's last committed checkpoint."""
        ...

    def committed_after(self, since_us: Mapping[int, int]) -> Iterator[NDArray[np.void]]:
        """READING blocks of the named series after the given times, by (series, time), late ones left out.

        ``since_us`` maps series id -> measured time [us]. A reading is late if `Rule.LATE` is set in it.
        """
        ...

    # -- readers -----------------------------------------------------------------------------

    def latest(
        self, series_ids: Sequence[int] | None = None, *, received_after_s: float | None = None
    ) -> list[Latest]:
        """The newest reading of each series (that was received after a time)."""
        ...

    def readings(self, series_id: int, from_s: float, to_s: float, *, limit: int) -> NDArray[np.void]:
        """READING rows of ``[from_s, to_s)`` by time, revisions applied, at most ``limit``."""
        ...

    def buckets(self, series_id: int, from_s: float, to_s: float, width_s: int) -> list[Bucket]:
        """Buckets aligned to the local day (the store's time zone); empty ones are left out."""
        ...

    def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Anomalies by filter, newest start first, then highest id."""
        ...

    def anomaly(self, anomaly_id: int) -> Anomaly | None:
        """One anomaly."""
        ...

    def anomalies_changed(self, revision: int, *, limit: int) -> list[Anomaly]:
        """Anomalies changed after a revision, oldest change first."""
        ...

    def dead_letters(self, *, before_id: int | None = None, limit: int = 100) -> list[DeadLetter]:
        """Dead letters, newest first."""
        ...

    def statuses(self) -> list[DeviceStatus]:
        """The newest status of every device that ever sent one."""
        ...

    def health(self) -> Health:
        """What the database is and holds; readings are counted exactly."""
        ...

    # -- the service -------------------------------------------------------------------------

    def refresh_rollups(self, *, limit: int) -> int:
        """Recompute the rollups of at most ``limit`` due (series, hour) pairs; return how many it did."""
        ...

    def activity(self) -> list[DeviceActivity]:
        """When each device was last heard."""
        ...

    def record(self, anomalies: Sequence[Anomaly]) -> None:
        """Insert or update anomalies by (subject, start)."""
        ...

    def close(self) -> None:
        """Let go of every connection."""
        ...
