"""The store, as every room sees it; `PostgresStore` and `MemoryStore` are held to the same tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from zoneinfo import ZoneInfo

    import numpy as np
    from numpy.typing import NDArray

    from ingest_service.storage.batch import Batch, Checkpoint, Committed, Epoch
    from ingest_service.storage.model import (
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
    from ingest_service.storage.processes import Heartbeat, Identity, Limits, Process
    from ingest_service.storage.revisions import LeftOut


class Lease(Protocol):
    """A shard that is owned."""

    @property
    def epoch(self) -> Epoch:
        """What batches are sent with."""
        ...

    def held(self) -> bool:
        """Whether it is still owned; False for good once another process took it.

        Raises `StoreUnavailable`; asks the database.
        """
        ...


class Reader(Protocol):
    """What people and programs do with the store: read, work dead letters, say what anomalies are."""

    @property
    def zone(self) -> ZoneInfo:
        """Local time of the towns: where a day begins."""
        ...

    def directory(self) -> Directory:
        """Everything enrolled, with ids."""
        ...

    def directory_version(self) -> int:
        """Grows with every enrolment; cheap to ask."""
        ...

    def latest(
        self, series_ids: Sequence[int] | None = None, *, received_after_s: float | None = None
    ) -> list[Latest]:
        """The newest reading of each series (that was received after a time)."""
        ...

    def readings(self, series_id: int, from_s: float, to_s: float, *, limit: int) -> NDArray[np.void]:
        """READING rows of ``[from_s, to_s)`` by time, revisions applied, at most ``limit``."""
        ...

    def received(self, series_ids: Sequence[int], after_s: float, *, limit: int) -> NDArray[np.void]:
        """READING rows received after a time, in that order; those measured a day before it are left out."""
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

    def newest_revision(self) -> int:
        """The newest settled change of any anomaly: no older one can still be committed; cheap to ask."""
        ...

    def drawn_revision(self) -> int:
        """The newest revision that was ever drawn; it is smaller only after a restore from a backup."""
        ...

    def anomalies_changed(self, revision: int, *, limit: int, settled: int = 0) -> list[Anomaly]:
        """Anomalies changed after a revision, oldest change first, up to the newest settled change.

        So whoever goes on after the last one misses none. ``settled`` is a revision that is known to be
        settled.
        """
        ...

    def anomalies_left_out(
        self, revision: int, site_ids: Sequence[str], *, newest: int, counted: int
    ) -> LeftOut | None:
        """The changes after a revision that are not among the ``newest`` ones; None where all are.

        At most ``counted`` of them are looked at for the times of the anomalies of some sites.
        """
        ...

    def statuses(self) -> list[DeviceStatus]:
        """The newest status of every device that ever sent one."""
        ...

    def activity(self) -> list[DeviceActivity]:
        """When each device was last heard."""
        ...

    def health(self, series_ids: Sequence[int] | None = None) -> Health:
        """What the database is and holds; readings are counted exactly, of some series or of all."""
        ...

    def count_anomalies(self, query: AnomalyQuery) -> int:
        """How many anomalies a filter finds; its limit is not used."""
        ...

    def count_letters(self, query: LetterQuery) -> int:
        """How many dead letters a filter finds; its limit is not used."""
        ...

    def processes(self) -> list[Process]:
        """Every process of the platform and its state, by the clock of the database."""
        ...

    def dead_letters(self, query: LetterQuery) -> list[DeadLetter]:
        """Dead letters by filter, newest first."""
        ...

    def ask_replay(self, query: LetterQuery) -> int:
        """Ask for some letters to be replayed (its limit is not used); how many are asked for now."""
        ...

    def purge_letters(self, query: LetterQuery) -> int:
        """Delete some letters for good (its limit is not used); how many there were."""
        ...

    def give_feedback(self, anomaly_id: int, verdict: Verdict, *, who: str, note: str) -> bool:
        """Say what an anomaly is, in place of what was said before; False where there is no such anomaly.

        The directory's version grows, for the limits of the anomaly's series move with it.
        """
        ...

    def withdraw_feedback(self, anomaly_id: int, *, who: str, note: str) -> bool:
        """Take back what stands of an anomaly; False where nothing does. The version grows likewise."""
        ...

    def feedback(self, *, anomaly_id: int | None = None, series_id: int | None = None) -> list[Feedback]:
        """All that was ever said of an anomaly, or of a series' anomalies, oldest first."""
        ...


class Store(Reader, Protocol):
    """Every method raises `StoreUnavailable` when waiting may help and `StoreRefused` when it can't.

    All methods may be called from several threads; each call is one transaction.
    """

    def enrol(self, directory: Directory) -> Directory:
        """Insert or update everything named, remove nothing; return the whole, with ids."""
        ...

    def heartbeat(self, identity: Identity, limits: Limits) -> Heartbeat:
        """What a process writes of itself; connects at the first beat."""
        ...

    # -- the pipeline ------------------------------------------------------------------------------

    def shard(self, name: str) -> AbstractContextManager[Lease | None]:
        """Own a shard while the context lasts (advisory lock on a connection of its own).

        Enters at once; the value is None where another process owns it.
        """
        ...

    def commit(self, batch: Batch) -> Committed:
        """All of the batch or nothing of it. Repeats change nothing; `latest` never goes back.

        Raises `ShardLost` where the batch's epoch is over.
        """
        ...

    def checkpoint(self, shard: str) -> Checkpoint | None:
        """The shard's last committed checkpoint."""
        ...

    def committed_after(self, since_us: Mapping[int, int]) -> Iterator[NDArray[np.void]]:
        """READING blocks of the named series after the given times, by (series, time), late ones left out.

        ``since_us`` maps series id -> measured time [us]. A reading is late if `Rule.LATE` is set in it.
        """
        ...

    def letters_to_replay(self, areas: Sequence[str], *, limit: int, limit_bytes: int) -> list[DeadLetter]:
        """Letters asked for, of some areas (``+`` is all of them), oldest first; one at least."""
        ...

    # -- the service -------------------------------------------------------------------------------

    def refresh_rollups(self, *, limit: int, share: float = 1.0) -> int:
        """Bring rollups of about ``limit`` readings up to date, of one stretch, or a part of it, at least.

        With a ``share`` below 1, of that share of what is out of date, chosen by chance. Returns how many
        hours of series that were; 0 where nothing is out of date, or nothing was chosen.
        """
        ...

    def late_due(self, *, limit: int) -> list[Late]:
        """Series with late readings that are to be judged again now, those that wait longest first."""
        ...

    def correct(
        self,
        late: Late,
        revisions: NDArray[np.void],
        anomalies: Sequence[Anomaly],
        *,
        again_s: float | None = None,
        rest_from_s: float | None = None,
    ) -> bool:
        """Keep what judging a series again changed, and let it wait no longer, or for so long.

        With ``rest_from_s``, what is late from then on is to be judged still, at once.

        All of it or nothing; False, and nothing, where more late readings came or another process was faster.
        """
        ...

    def record(self, anomalies: Sequence[Anomaly]) -> None:
        """Insert or update anomalies by (subject, start); ``evidence["rejudged"]`` stays."""
        ...

    def close(self) -> None:
        """Let go of every connection."""
        ...
