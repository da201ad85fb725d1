"""The store on PostgreSQL, with or without TimescaleDB."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from psycopg.rows import dict_row

from ingest_service.storage import connecting, edition, lease, migrate, opinions, reading, rollups, writing
from ingest_service.storage.batch import Checkpoint
from ingest_service.storage.classify import classified
from ingest_service.storage.heartbeat import PostgresHeartbeat
from ingest_service.storage.model import (
    Anomaly,
    AnomalyQuery,
    DeadLetter,
    DeviceActivity,
    DeviceStatus,
    ExceededQuota,
    Feedback,
    Health,
    Late,
    Latest,
)
from ingest_service.storage.processes import Process
from ingest_service.storage.revisions import LeftOut
from ingest_service.storage.settings import Settings
from ingest_service.storage.sql import QUERIES
from ingest_service.storage.wall import Wall, Walled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from psycopg_pool import ConnectionPool

    from ingest_service.storage.batch import Batch, Committed
    from ingest_service.storage.connecting import ImpatientConnection
    from ingest_service.storage.lease import PostgresLease
    from ingest_service.storage.model import Bucket, Directory, LetterQuery, Verdict
    from ingest_service.storage.processes import Identity, Limits

T = TypeVar("T")


class PostgresStore(Walled):
    """`ingest_service.storage.store.Store` on a pool of connections."""

    def __init__(
        self,
        dsn: str,
        pool: ConnectionPool[ImpatientConnection],
        settings: Settings,
        *,
        area: str | None = None,
        wall: Wall | None = None,
    ) -> None:
        super().__init__(pool, wall or Wall(), area)
        self._dsn = dsn
        self._settings = settings
        self.zone = ZoneInfo(settings.time_zone)

    @classmethod
    def open(
        cls,
        dsn: str,
        *,
        settings: Settings | None = None,
        stop: threading.Event | None = None,
        wait_s: float = float("inf"),
    ) -> Self:
        """Connect; while the database is away, wait and say so every few seconds.

        Raises
        ------
        StoreUnavailable
            After ``wait_s``, or when ``stop`` is set.
        StoreRefused
            Where the database refuses this user, or its schema is not of this version.

        """
        settings = settings or Settings()
        connecting.wait_for(dsn, settings, stop or threading.Event(), wait_s)
        return cls(dsn, connecting.pool(dsn, settings), settings)

    @property
    def opened_with(self) -> tuple[str, Settings]:
        """The address and the settings with which another process opens the same database."""
        return self._dsn, self._settings

    def close(self) -> None:
        """Let go of every connection."""
        self._pool.close()

    def seen_from(self, area: str) -> Self:
        """The same store, where nothing but an area's can be read or written; ``*`` is everywhere."""
        return type(self)(self._dsn, self._pool, self._settings, area=area, wall=self._wall)

    # -- enrolment -----------------------------------------------------------------------------

    def enrol(self, directory: Directory) -> Directory:
        """Insert or update everything named, remove nothing; return the whole, with ids."""
        with self.transaction() as connection:
            if writing.enrol(connection, directory):
                connection.execute(QUERIES["directory_changed"])
            return reading.directory(connection)

    def directory(self) -> Directory:
        """Everything enrolled, with ids."""
        with self.transaction() as connection:
            return reading.directory(connection)

    def directory_version(self) -> int:
        """Grows with every enrolment."""
        return self._number("directory_version")

    # -- the pipeline --------------------------------------------------------------------------

    @contextmanager
    def shard(self, name: str) -> Iterator[PostgresLease | None]:
        """Own a shard while the context lasts; None where another process owns it."""
        with lease.taken(self._dsn, self._settings, name) as taken:
            yield taken

    def commit(self, batch: Batch) -> Committed:
        """All of the batch or nothing of it."""
        with classified(), self._pool.connection() as connection, connection.transaction():
            return writing.commit(connection, batch)

    def checkpoint(self, shard: str) -> Checkpoint | None:
        """The shard's last committed checkpoint."""
        with self.transaction() as connection:
            found = connection.execute(QUERIES["checkpoint"], (shard,)).fetchone()
        return None if found is None else Checkpoint(shard, found[0], bytes(found[1]))

    def committed_after(self, since_us: Mapping[int, int]) -> Iterator[NDArray[np.void]]:
        """READING blocks of the named series after the given times."""
        with self.transaction() as connection:
            yield from reading.committed_after(connection, since_us)

    # -- dead letters --------------------------------------------------------------------------

    def forget_letter_quotas(self) -> None:
        """Drop the quotas of days that are over for a month."""
        with self.transaction() as connection:
            connection.execute(QUERIES["forget_letter_quotas"])

    def letters_beyond(self) -> int:
        """Dead letters of today that were beyond the quotas of their devices: only counted."""
        return self._number("letters_beyond")

    def exceeded_quotas(self, *, since_s: float) -> list[ExceededQuota]:
        """Quotas of dead letters that were exceeded on a day or later, in areas that are enrolled."""
        return self._rows("exceeded_quotas", {"since_s": since_s}, ExceededQuota)

    def dead_letters(self, query: LetterQuery) -> list[DeadLetter]:
        """Dead letters by filter, newest first."""
        return self._rows("dead_letters", msgspec.structs.asdict(query), DeadLetter)

    def ask_replay(self, query: LetterQuery) -> int:
        """Ask for some letters to be replayed."""
        with self.transaction() as connection:
            return connection.execute(QUERIES["ask_replay"], msgspec.structs.asdict(query)).rowcount

    def letters_to_replay(self, areas: Sequence[str], *, limit: int, limit_bytes: int) -> list[DeadLetter]:
        """Letters asked for, of some areas, oldest first; one at least."""
        parameters = {"areas": list(areas), "limit": limit, "limit_bytes": limit_bytes}
        return self._rows("letters_to_replay", parameters, DeadLetter)

    def purge_letters(self, query: LetterQuery) -> int:
        """Delete some letters for good."""
        with self.transaction() as connection:
            return connection.execute(QUERIES["purge_letters"], msgspec.structs.asdict(query)).rowcount

    # -- feedback ------------------------------------------------------------------------------

    def give_feedback(self, anomaly_id: int, verdict: Verdict, *, who: str, note: str) -> bool:
        """Say what an anomaly is, in place of what was said before."""
        with self.transaction() as connection:
            return opinions.give(connection, anomaly_id, verdict, who, note)

    def withdraw_feedback(self, anomaly_id: int, *, who: str, note: str) -> bool:
        """Take back what stands of an anomaly."""
        with self.transaction() as connection:
            return opinions.withdraw(connection, anomaly_id, who, note)

    def feedback(self, *, anomaly_id: int | None = None, series_id: int | None = None) -> list[Feedback]:
        """All that was ever said of an anomaly, or of a series' anomalies."""
        return self._rows("feedback", {"anomaly_id": anomaly_id, "series_id": series_id}, Feedback)

    # -- readers -------------------------------------------------------------------------------

    def latest(
        self, series_ids: Sequence[int] | None = None, *, received_after_s: float | None = None
    ) -> list[Latest]:
        """The newest reading of each series."""
        ids = None if series_ids is None else list(series_ids)
        return self._rows("latest", {"series_ids": ids, "received_after_s": received_after_s}, Latest)

    def readings(self, series_id: int, from_s: float, to_s: float, *, limit: int) -> NDArray[np.void]:
        """READING rows of ``[from_s, to_s)`` by time, revisions applied."""
        with self.transaction(in_order=True) as connection:
            return reading.readings(connection, series_id, from_s, to_s, limit)

    def received(self, series_ids: Sequence[int], after_s: float, *, limit: int) -> NDArray[np.void]:
        """READING rows received after a time, in that order."""
        with self.transaction() as connection:
            return reading.received(connection, series_ids, after_s, limit)

    def buckets(self, series_id: int, from_s: float, to_s: float, width_s: int) -> list[Bucket]:
        """Buckets aligned to the local day."""
        with self.transaction() as connection:
            return rollups.buckets(connection, series_id, from_s, to_s, width_s, zone=self.zone)

    def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Anomalies by filter, newest start first."""
        with self.transaction() as connection:
            return reading.anomalies(connection, query)

    def anomaly(self, anomaly_id: int) -> Anomaly | None:
        """One anomaly."""
        with self.transaction() as connection:
            return next(iter(reading.anomalies(connection, AnomalyQuery(), anomaly_id)), None)

    def count_anomalies(self, query: AnomalyQuery) -> int:
        """How many anomalies a filter finds."""
        return self._number("count_anomalies", reading.anomaly_parameters(query))

    def count_letters(self, query: LetterQuery) -> int:
        """How many dead letters a filter finds."""
        return self._number("count_letters", msgspec.structs.asdict(query))

    def newest_revision(self) -> int:
        """The newest settled change of any anomaly."""
        return self._number("newest_revision", (self._number("settled_revision"),))

    def drawn_revision(self) -> int:
        """The newest revision that was ever drawn."""
        return self._number("drawn_revision")

    def anomalies_changed(self, revision: int, *, limit: int, settled: int = 0) -> list[Anomaly]:
        """Anomalies changed after a revision, oldest change first, up to the newest settled change."""
        settled = max(settled, self._number("settled_revision"))
        if settled <= revision:
            return []
        return self._rows("anomalies_changed", (revision, settled, limit), Anomaly)

    def anomalies_left_out(
        self, revision: int, site_ids: Sequence[str], *, newest: int, counted: int
    ) -> LeftOut | None:
        """The changes after a revision that are not among the newest ones; None where all are."""
        parameters = {
            "after": revision,
            "settled": self._number("settled_revision"),
            "site_ids": list(site_ids),
            "newest": newest,
            "counted": counted,
        }
        with self.asked(QUERIES["anomalies_left_out"], parameters) as cursor:
            found = cursor.fetchone()
        return None if found is None or found[0] is None else LeftOut(*found)

    def statuses(self) -> list[DeviceStatus]:
        """The newest status of every device that ever sent one."""
        with self.transaction() as connection:
            return reading.readable(connection, "statuses", DeviceStatus)

    def health(self, series_ids: Sequence[int] | None = None) -> Health:
        """What the database is and holds."""
        parameters = {
            "series_ids": None if series_ids is None else list(series_ids),
            "zone": self._settings.time_zone,
        }
        with self.transaction() as connection:
            with connection.cursor(row_factory=dict_row) as cursor:
                counted = cursor.execute(QUERIES["health"], parameters).fetchone() or {}
            return Health(
                edition=edition.name(connection), schema_version=migrate.version(connection), **counted
            )

    def size(self) -> tuple[int, str | None]:
        """How large the database is [bytes], and its folder where that is here and may be known."""
        with self.asked(QUERIES["size"]) as cursor:
            found = cursor.fetchone() or (0, None)
        return int(found[0]), found[1]

    # -- the platform's processes -----------------------------------------------------------------

    def heartbeat(self, identity: Identity, limits: Limits) -> PostgresHeartbeat:
        """What a process writes of itself."""
        return PostgresHeartbeat(self._dsn, self._settings, identity, limits)

    def processes(self) -> list[Process]:
        """Every process of the platform and its state."""
        return self._rows("processes", None, Process)

    # -- the service ---------------------------------------------------------------------------

    def refresh_rollups(self, *, limit: int, share: float = 1.0) -> int:
        """Bring rollups of about ``limit`` readings up to date; how many hours of series that were."""
        with self.transaction() as connection:
            return rollups.refresh(connection, limit, share, self._settings.time_zone)

    def late_due(self, *, limit: int) -> list[Late]:
        """Series with late readings that are to be judged again now."""
        return self._rows("late_due", (limit,), Late)

    def correct(
        self,
        late: Late,
        revisions: NDArray[np.void],
        anomalies: Sequence[Anomaly],
        *,
        again_s: float | None = None,
        rest_from_s: float | None = None,
    ) -> bool:
        """Keep what judging a series again changed, all of it or nothing."""
        with self.transaction() as connection, connection.cursor() as cursor:
            return writing.correct(
                cursor, late, revisions, anomalies, again_s=again_s, rest_from_s=rest_from_s
            )

    def activity(self) -> list[DeviceActivity]:
        """When each device was last heard."""
        return self._rows("activity", None, DeviceActivity)

    def record(self, anomalies: Sequence[Anomaly]) -> None:
        """Insert or update anomalies by (subject, start)."""
        with self.transaction() as connection, connection.cursor() as cursor:
            writing.anomalies(cursor, anomalies)

    def _rows(self, query: str, parameters: Any, kind: type[T]) -> list[T]:
        with self.asked(QUERIES[query], parameters) as cursor:
            cursor.row_factory = dict_row
            return msgspec.convert(cursor.fetchall(), list[kind])  # type: ignore[valid-type]

    def _number(self, query: str, parameters: Any = None) -> int:
        with self.asked(QUERIES[query], parameters) as cursor:
            return int((cursor.fetchone() or (0,))[0])
