"""Implements the store on PostgreSQL, with or without TimescaleDB."""

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
        """Connect; while the database is unavailable, wait and log every few seconds.

        Raises
        ------
        StoreUnavailable
            After ``wait_s``, or when ``stop`` is set.
        StoreRefused
            If the database refuses this user, or its schema is not of this version.

        """
        settings = settings or Settings()
        connecting.wait_for(dsn, settings, stop or threading.Event(), wait_s)
        return cls(dsn, connecting.pool(dsn, settings), settings)

    @property
    def opened_with(self) -> tuple[str, Settings]:
        """DSN and settings with which another process can open the same database."""
        return self._dsn, self._settings

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def seen_from(self, area: str) -> Self:
        """Return the same store restricted by row-level security to an area scope; ``*`` is every area."""
        return type(self)(self._dsn, self._pool, self._settings, area=area, wall=self._wall)

    # -- enrolment -----------------------------------------------------------------------------

    def enrol(self, directory: Directory) -> Directory:
        """Insert or update everything in a directory, delete nothing; return the full directory, with ids."""
        with self.transaction() as connection:
            if writing.enrol(connection, directory):
                connection.execute(QUERIES["directory_changed"])
            return reading.directory(connection)

    def directory(self) -> Directory:
        """Return the directory: everything enrolled, with ids."""
        with self.transaction() as connection:
            return reading.directory(connection)

    def directory_version(self) -> int:
        """Return the directory's version, which grows with every enrolment."""
        return self._number("directory_version")

    # -- the pipeline --------------------------------------------------------------------------

    @contextmanager
    def shard(self, name: str) -> Iterator[PostgresLease | None]:
        """Own a shard within the context; yields None if another process owns it."""
        with lease.taken(self._dsn, self._settings, name) as taken:
            yield taken

    def commit(self, batch: Batch) -> Committed:
        """Commit a batch, all or nothing."""
        with classified(), self._pool.connection() as connection, connection.transaction():
            return writing.commit(connection, batch)

    def checkpoint(self, shard: str) -> Checkpoint | None:
        """Return the shard's last committed checkpoint."""
        with self.transaction() as connection:
            found = connection.execute(QUERIES["checkpoint"], (shard,)).fetchone()
        return None if found is None else Checkpoint(shard, found[0], bytes(found[1]))

    def committed_after(self, since_us: Mapping[int, int]) -> Iterator[NDArray[np.void]]:
        """Yield READING blocks of the given series after the given times."""
        with self.transaction() as connection:
            yield from reading.committed_after(connection, since_us)

    # -- dead letters --------------------------------------------------------------------------

    def forget_letter_quotas(self) -> None:
        """Delete dead-letter quotas of days more than a month ago."""
        with self.transaction() as connection:
            connection.execute(QUERIES["forget_letter_quotas"])

    def letters_beyond(self) -> int:
        """Return the number of today's dead letters beyond the quotas, which were counted and not stored."""
        return self._number("letters_beyond")

    def exceeded_quotas(self, *, since_s: float) -> list[ExceededQuota]:
        """Return the dead-letter quotas exceeded since a time [s], in enrolled areas."""
        return self._rows("exceeded_quotas", {"since_s": since_s}, ExceededQuota)

    def dead_letters(self, query: LetterQuery) -> list[DeadLetter]:
        """Return dead letters by filter, newest first."""
        return self._rows("dead_letters", msgspec.structs.asdict(query), DeadLetter)

    def ask_replay(self, query: LetterQuery) -> int:
        """Mark dead letters for replay; returns their number."""
        with self.transaction() as connection:
            return connection.execute(QUERIES["ask_replay"], msgspec.structs.asdict(query)).rowcount

    def letters_to_replay(self, areas: Sequence[str], *, limit: int, limit_bytes: int) -> list[DeadLetter]:
        """Return dead letters of some areas that are marked for replay, oldest first; at least one if any."""
        parameters = {"areas": list(areas), "limit": limit, "limit_bytes": limit_bytes}
        return self._rows("letters_to_replay", parameters, DeadLetter)

    def purge_letters(self, query: LetterQuery) -> int:
        """Delete dead letters; returns their number."""
        with self.transaction() as connection:
            return connection.execute(QUERIES["purge_letters"], msgspec.structs.asdict(query)).rowcount

    # -- feedback ------------------------------------------------------------------------------

    def give_feedback(self, anomaly_id: int, verdict: Verdict, *, who: str, note: str) -> bool:
        """Store a verdict on an anomaly, replacing the previous one; False if there is no such anomaly."""
        with self.transaction() as connection:
            return opinions.give(connection, anomaly_id, verdict, who, note)

    def withdraw_feedback(self, anomaly_id: int, *, who: str, note: str) -> bool:
        """Withdraw the current verdict on an anomaly; False if there is none."""
        with self.transaction() as connection:
            return opinions.withdraw(connection, anomaly_id, who, note)

    def feedback(self, *, anomaly_id: int | None = None, series_id: int | None = None) -> list[Feedback]:
        """Return all feedback on an anomaly, or on the anomalies of a series, including withdrawn."""
        return self._rows("feedback", {"anomaly_id": anomaly_id, "series_id": series_id}, Feedback)

    # -- readers -------------------------------------------------------------------------------

    def latest(
        self, series_ids: Sequence[int] | None = None, *, received_after_s: float | None = None
    ) -> list[Latest]:
        """Return the newest reading of each series."""
        ids = None if series_ids is None else list(series_ids)
        return self._rows("latest", {"series_ids": ids, "received_after_s": received_after_s}, Latest)

    def readings(self, series_id: int, from_s: float, to_s: float, *, limit: int) -> NDArray[np.void]:
        """Return the READING rows in ``[from_s, to_s)`` by time, with revisions applied."""
        with self.transaction(in_order=True) as connection:
            return reading.readings(connection, series_id, from_s, to_s, limit)

    def received(self, series_ids: Sequence[int], after_s: float, *, limit: int) -> NDArray[np.void]:
        """Return the READING rows received after a time, in the order of reception."""
        with self.transaction() as connection:
            return reading.received(connection, series_ids, after_s, limit)

    def buckets(self, series_id: int, from_s: float, to_s: float, width_s: int) -> list[Bucket]:
        """Return buckets aligned to the local day."""
        with self.transaction() as connection:
            return rollups.buckets(connection, series_id, from_s, to_s, width_s, zone=self.zone)

    def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Return anomalies by filter, newest start first."""
        with self.transaction() as connection:
            return reading.anomalies(connection, query)

    def anomaly(self, anomaly_id: int) -> Anomaly | None:
        """Return one anomaly; None if there is no such id."""
        with self.transaction() as connection:
            return next(iter(reading.anomalies(connection, AnomalyQuery(), anomaly_id)), None)

    def count_anomalies(self, query: AnomalyQuery) -> int:
        """Count the anomalies that match a filter."""
        return self._number("count_anomalies", reading.anomaly_parameters(query))

    def count_letters(self, query: LetterQuery) -> int:
        """Count the dead letters that match a filter."""
        return self._number("count_letters", msgspec.structs.asdict(query))

    def newest_revision(self) -> int:
        """Return the revision of the newest settled change to any anomaly."""
        return self._number("newest_revision", (self._number("settled_revision"),))

    def drawn_revision(self) -> int:
        """Return the newest revision number that was ever assigned."""
        return self._number("drawn_revision")

    def anomalies_changed(self, revision: int, *, limit: int, settled: int = 0) -> list[Anomaly]:
        """Return anomalies changed after a revision, up to the newest settled change, oldest change first."""
        settled = max(settled, self._number("settled_revision"))
        if settled <= revision:
            return []
        return self._rows("anomalies_changed", (revision, settled, limit), Anomaly)

    def anomalies_left_out(
        self, revision: int, site_ids: Sequence[str], *, newest: int, counted: int
    ) -> LeftOut | None:
        """Summarise the changes after a revision, except the newest ones; None if there are no others."""
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
        """Return the newest status of every device that ever sent one."""
        with self.transaction() as connection:
            return reading.readable(connection, "statuses", DeviceStatus)

    def health(self, series_ids: Sequence[int] | None = None) -> Health:
        """Edition, schema version and row counts of the database."""
        parameters = {
            "series_ids": None if series_ids is None else list(series_ids),
            "zone": self._settings.time_zone,
        }
        with self.transaction() as connection:
            with connection.cursor(row_factory=dict_row) as cursor:
                # never a generic plan, which takes a list of series for a few of them: five times as slow
                counted = cursor.execute(QUERIES["health"], parameters, prepare=False).fetchone() or {}
            return Health(
                edition=edition.name(connection), schema_version=migrate.version(connection), **counted
            )

    def size(self) -> tuple[int, str | None]:
        """Return the size of the database [bytes], and its data directory if it is local and readable."""
        with self.asked(QUERIES["size"]) as cursor:
            found = cursor.fetchone() or (0, None)
        return int(found[0]), found[1]

    # -- the platform's processes -----------------------------------------------------------------

    def heartbeat(self, identity: Identity, limits: Limits) -> PostgresHeartbeat:
        """Return the heartbeat writer of a process."""
        return PostgresHeartbeat(self._dsn, self._settings, identity, limits)

    def processes(self) -> list[Process]:
        """Return every process of the platform and its state."""
        return self._rows("processes", None, Process)

    # -- the service ---------------------------------------------------------------------------

    def refresh_rollups(self, *, limit: int, share: float = 1.0) -> int:
        """Refresh the rollups of about ``limit`` readings; returns the number of series-hours refreshed."""
        with self.transaction() as connection:
            return rollups.refresh(connection, limit, share, self._settings.time_zone)

    def late_due(self, *, limit: int) -> list[Late]:
        """Return the series with late readings that are due to be judged again."""
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
        """Store the changes from judging a series again, all or nothing."""
        with self.transaction() as connection, connection.cursor() as cursor:
            return writing.correct(
                cursor, late, revisions, anomalies, again_s=again_s, rest_from_s=rest_from_s
            )

    def activity(self) -> list[DeviceActivity]:
        """Return when each device last sent a reading."""
        return self._rows("activity", None, DeviceActivity)

    def record(self, anomalies: Sequence[Anomaly]) -> None:
        """Insert or update anomalies by (subject, start time)."""
        with self.transaction() as connection, connection.cursor() as cursor:
            writing.anomalies(cursor, anomalies)

    def _rows(self, query: str, parameters: Any, kind: type[T]) -> list[T]:
        with self.asked(QUERIES[query], parameters) as cursor:
            cursor.row_factory = dict_row
            return msgspec.convert(cursor.fetchall(), list[kind])  # type: ignore[valid-type]

    def _number(self, query: str, parameters: Any = None) -> int:
        with self.asked(QUERIES[query], parameters) as cursor:
            return int((cursor.fetchone() or (0,))[0])
