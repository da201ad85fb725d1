"""Implements the store on PostgreSQL, with or without TimescaleDB."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from psycopg.rows import dict_row

from ingest_service.storage.contract import area_tree
from ingest_service.storage.contract.anomaly_changes import OmittedChanges
from ingest_service.storage.contract.batch import Checkpoint
from ingest_service.storage.contract.models import (
    Anomaly,
    AnomalyQuery,
    DeadLetter,
    DeviceActivity,
    DeviceStatus,
    ExceededQuota,
    Feedback,
    LateReadings,
    NewestReading,
    StoreHealth,
)
from ingest_service.storage.health.processes import ProcessInfo
from ingest_service.storage.postgres import (
    connection_pool,
    edition,
    feedback,
    network_history,
    read_rows,
    rollups,
    shard_lease,
    write_batch,
)
from ingest_service.storage.postgres.heartbeat import PostgresHeartbeat, PostgresProcessReader
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.row_level_security import AreaScopedConnections, RowLevelSecurity
from ingest_service.storage.postgres.sqlstate import translated_errors
from ingest_service.storage.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from psycopg_pool import ConnectionPool

    from ingest_service.storage.contract.batch import Batch, Committed
    from ingest_service.storage.contract.explanations import Explanation
    from ingest_service.storage.contract.models import Bucket, DeadLetterQuery, Directory, Verdict
    from ingest_service.storage.contract.network_changes import NetworkChange
    from ingest_service.storage.health.processes import HealthLimits, ProcessIdentity
    from ingest_service.storage.postgres.connection_pool import TimeLimitedConnection
    from ingest_service.storage.postgres.shard_lease import PostgresLease

T = TypeVar("T")


class PostgresStore(AreaScopedConnections):
    """`ingest_service.storage.contract.store.Store` on a pool of connections."""

    def __init__(
        self,
        dsn: str,
        pool: ConnectionPool[TimeLimitedConnection],
        settings: Settings,
        *,
        area: str | None = None,
        row_level_security: RowLevelSecurity | None = None,
        process_readers: list[PostgresProcessReader] | None = None,
    ) -> None:
        super().__init__(pool, row_level_security or RowLevelSecurity(), area)
        self._dsn = dsn
        self._settings = settings
        self.zone = ZoneInfo(settings.time_zone)
        # Shared by the stores of one pool: `close` of any closes the readers.
        self._process_readers = [] if process_readers is None else process_readers

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
        StoreUnavailableError
            After ``wait_s``, or when ``stop`` is set.
        StoreRefusedError
            If the database refuses this user, or its schema is not of this version.

        """
        settings = settings or Settings()
        connection_pool.wait_until_ready(dsn, settings, stop or threading.Event(), wait_s)
        return cls(dsn, connection_pool.open_pool(dsn, settings), settings)

    @property
    def database(self) -> Self:
        """The database of this store, which is the store itself."""
        return self

    @property
    def opened_with(self) -> tuple[str, Settings]:
        """DSN and settings with which another process can open the same database."""
        return self._dsn, self._settings

    def close(self) -> None:
        """Close every connection, those of process readers included."""
        for reader in self._process_readers:
            reader.close()
        self._pool.close()

    def for_area(self, area: str) -> Self:
        """Return the same store restricted by row-level security to an area scope; ``*`` is every area."""
        return type(self)(
            self._dsn,
            self._pool,
            self._settings,
            area=area,
            row_level_security=self._row_level_security,
            process_readers=self._process_readers,
        )

    # -- enrolment -----------------------------------------------------------------------------

    def enrol(self, directory: Directory) -> Directory:
        """Insert or update everything in a directory, delete nothing; return the full directory, with ids."""
        with self.transaction() as connection:
            if write_batch.enrol_directory(connection, directory):
                connection.execute(QUERIES["directory_changed"])  # locks out other enrolments until COMMIT
            enrolled = read_rows.read_directory(connection)
            area_tree.refuse_circles(enrolled.areas, directory.areas)
            return enrolled

    def change_network(self, change: NetworkChange) -> Directory:
        """Change the networks from a time on, or correct them; return the full directory."""
        with self.transaction() as connection:
            network_history.change_network(connection, change)
            enrolled = read_rows.read_directory(connection)
            area_tree.refuse_circles(enrolled.areas, change.areas)
            return enrolled

    def directory(self) -> Directory:
        """Return the directory: everything enrolled, with ids."""
        with self.transaction() as connection:
            return read_rows.read_directory(connection)

    def directory_version(self) -> int:
        """Return the directory's version, which grows with every enrolment."""
        return self._number("directory_version")

    # -- the pipeline --------------------------------------------------------------------------

    @contextmanager
    def shard(self, name: str, *, wait_s: float = 0.0) -> Iterator[PostgresLease | None]:
        """Own a shard within the context; yields None if another process owns it after ``wait_s`` [s]."""
        with shard_lease.acquire_shard(self._dsn, self._settings, name, wait_s=wait_s) as owned_lease:
            yield owned_lease

    def encode(self, batch: Batch) -> Batch:
        """Return the batch with its fresh readings encoded, so that `commit` on another thread need not."""
        return write_batch.encode_fresh(batch)

    def commit(self, batch: Batch) -> Committed:
        """Commit a batch, all or nothing."""
        with translated_errors(), self._pool.connection() as connection:
            return write_batch.commit_batch(connection, batch)

    def checkpoint(self, shard: str) -> Checkpoint | None:
        """Return the shard's last committed checkpoint."""
        with self.transaction() as connection:
            found = connection.execute(QUERIES["checkpoint"], (shard,)).fetchone()
        return None if found is None else Checkpoint(shard, found[0], bytes(found[1]))

    def readings_committed_after(self, since_us: Mapping[int, int]) -> Iterator[NDArray[np.void]]:
        """Yield READING blocks of the given series after the given times."""
        with self.transaction() as connection:
            yield from read_rows.read_committed_after(connection, since_us)

    # -- dead letters --------------------------------------------------------------------------

    def delete_old_quotas(self) -> None:
        """Delete dead-letter quotas of days more than a month ago."""
        with self.transaction() as connection:
            connection.execute(QUERIES["delete_old_quotas"])

    def dead_letters_over_quota(self) -> int:
        """Return the number of today's dead letters beyond the quotas, which were counted and not stored."""
        return self._number("dead_letters_beyond_quota")

    def clock_s(self) -> float:
        """Return the time of the database's clock, Unix time [s]."""
        with self.run_query(QUERIES["database_clock"]) as cursor:
            return float((cursor.fetchone() or (0.0,))[0])

    def exceeded_quotas(self, *, since_s: float) -> list[ExceededQuota]:
        """Return the dead-letter quotas exceeded since a time [s], in enrolled areas."""
        return self._rows("exceeded_quotas", {"since_s": since_s}, ExceededQuota)

    def dead_letters(self, query: DeadLetterQuery) -> list[DeadLetter]:
        """Return dead letters by filter, newest first."""
        return self._rows("dead_letters", msgspec.structs.asdict(query), DeadLetter)

    def request_replay(self, query: DeadLetterQuery) -> int:
        """Mark dead letters for replay; returns their number."""
        with self.transaction() as connection:
            return connection.execute(QUERIES["mark_for_replay"], msgspec.structs.asdict(query)).rowcount

    def dead_letters_to_replay(
        self, areas: Sequence[str], *, limit: int, limit_bytes: int, forwarded: bool = False
    ) -> list[DeadLetter]:
        """Return dead letters of some areas that are marked for replay, oldest first; at least one if any."""
        parameters = {
            "areas": list(areas),
            "limit": limit,
            "limit_bytes": limit_bytes,
            "forwarded": forwarded,
        }
        return self._rows("dead_letters_to_replay", parameters, DeadLetter)

    def purge_dead_letters(self, query: DeadLetterQuery) -> int:
        """Delete dead letters; returns their number."""
        with self.transaction() as connection:
            return connection.execute(QUERIES["purge_dead_letters"], msgspec.structs.asdict(query)).rowcount

    # -- feedback ------------------------------------------------------------------------------

    def give_feedback(self, anomaly_id: int, verdict: Verdict, *, who: str, note: str) -> bool:
        """Store a verdict on an anomaly, replacing the previous one; False if there is no such anomaly."""
        with self.transaction() as connection:
            return feedback.give_feedback(connection, anomaly_id, verdict, who, note)

    def withdraw_feedback(self, anomaly_id: int, *, who: str, note: str) -> bool:
        """Withdraw the current verdict on an anomaly; False if there is none."""
        with self.transaction() as connection:
            return feedback.withdraw_feedback(connection, anomaly_id, who, note)

    def feedback(self, *, anomaly_id: int | None = None, series_id: int | None = None) -> list[Feedback]:
        """Return all feedback on an anomaly, or on the anomalies of a series, including withdrawn."""
        return self._rows("feedback", {"anomaly_id": anomaly_id, "series_id": series_id}, Feedback)

    # -- readers -------------------------------------------------------------------------------

    def latest(
        self, series_ids: Sequence[int] | None = None, *, received_after_s: float | None = None
    ) -> list[NewestReading]:
        """Return the newest reading of each series."""
        ids = None if series_ids is None else list(series_ids)
        return self._rows("latest", {"series_ids": ids, "received_after_s": received_after_s}, NewestReading)

    def readings(self, series_id: int, from_s: float, to_s: float, *, limit: int) -> NDArray[np.void]:
        """Return the READING rows in ``[from_s, to_s)`` by time, with revisions applied."""
        with self.transaction(in_order=True) as connection:
            return read_rows.read_readings(connection, series_id, from_s, to_s, limit)

    def received(self, series_ids: Sequence[int], after_s: float, *, limit: int) -> NDArray[np.void]:
        """Return the READING rows received after a time, in the order of reception."""
        with self.transaction() as connection:
            return read_rows.read_received_after(connection, series_ids, after_s, limit)

    def buckets(self, series_id: int, from_s: float, to_s: float, width_s: int) -> list[Bucket]:
        """Return buckets aligned to the local day."""
        with self.transaction() as connection:
            return rollups.read_buckets(connection, series_id, from_s, to_s, width_s, zone=self.zone)

    def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Return anomalies by filter, newest start first."""
        return self._rows("anomalies", read_rows.anomaly_parameters(query), Anomaly, prepare=False)

    def anomaly(self, anomaly_id: int) -> Anomaly | None:
        """Return one anomaly; None if there is no such id."""
        return next(iter(self.anomalies(AnomalyQuery(anomaly_id=anomaly_id))), None)

    def count_anomalies(self, query: AnomalyQuery) -> int:
        """Count the anomalies that match a filter."""
        return self._number("count_anomalies", read_rows.anomaly_parameters(query))

    def count_dead_letters(self, query: DeadLetterQuery) -> int:
        """Count the dead letters that match a filter."""
        return self._number("count_dead_letters", msgspec.structs.asdict(query))

    def newest_revision(self) -> int:
        """Return the revision of the newest settled change to any anomaly."""
        return self._number("newest_revision", (self._number("settled_revision"),))

    def last_assigned_revision(self) -> int:
        """Return the newest revision number that was ever assigned."""
        return self._number("assigned_revision")

    def anomalies_changed(self, revision: int, *, limit: int, settled: int = 0) -> list[Anomaly]:
        """Return anomalies changed after a revision, up to the newest settled change, oldest change first."""
        settled = max(settled, self._number("settled_revision"))
        if settled <= revision:
            return []
        return self._rows("anomalies_changed", (revision, settled, limit), Anomaly)

    def omitted_changes_after(
        self, revision: int, site_ids: Sequence[str], *, newest: int, counted: int
    ) -> OmittedChanges | None:
        """Summarise the changes after a revision, except the newest ones; None if there are no others."""
        parameters = {
            "after": revision,
            "settled": self._number("settled_revision"),
            "site_ids": list(site_ids),
            "newest": newest,
            "counted": counted,
        }
        with self.run_query(QUERIES["omitted_anomalies"], parameters) as cursor:
            found = cursor.fetchone()
        return None if found is None or found[0] is None else OmittedChanges(*found)

    def statuses(self) -> list[DeviceStatus]:
        """Return the newest status of every device that ever sent one."""
        with self.transaction() as connection:
            return read_rows.fetch_valid_structs(connection, "statuses", DeviceStatus)

    def health(self, areas: Sequence[str] | None = None) -> StoreHealth:
        """Edition, schema version and row counts of the database."""
        parameters = {"areas": None if areas is None else list(areas), "zone": self._settings.time_zone}
        with self.run_query(QUERIES["health"], parameters) as cursor:
            cursor.row_factory = dict_row
            found = cursor.fetchone() or {}
            edition_name = edition.edition_name(
                cursor.connection.info.server_version, found.pop("timescale"), found.pop("licence")
            )
            return StoreHealth(edition=edition_name, **found)

    def size(self) -> tuple[int, str | None]:
        """Return the size of the database [bytes], and its data directory if it is local and readable."""
        with self.run_query(QUERIES["size"]) as cursor:
            found = cursor.fetchone() or (0, None)
        return int(found[0]), found[1]

    def disk_folders(self) -> list[str]:
        """Return the folders that the database writes to, as far as they are local and readable."""
        with self.run_query(QUERIES["disk_folders"]) as cursor:
            return [str(folder) for (folder,) in cursor.fetchall()]

    # -- the platform's processes -----------------------------------------------------------------

    def heartbeat(self, identity: ProcessIdentity, limits: HealthLimits) -> PostgresHeartbeat:
        """Return the heartbeat writer of a process."""
        return PostgresHeartbeat(self._dsn, self._settings, identity, limits)

    def process_reader(self) -> PostgresProcessReader:
        """Return a reader of the processes with short time limits, on a connection of its own."""
        reader = PostgresProcessReader(self._dsn, self._settings)
        self._process_readers.append(reader)
        return reader

    def processes(self) -> list[ProcessInfo]:
        """Return every process of the platform and its state."""
        return self._rows("processes", None, ProcessInfo)

    # -- the service ---------------------------------------------------------------------------

    def refresh_rollups(self, *, limit: int, share: float = 1.0) -> int:
        """Refresh the rollups of about ``limit`` readings; returns the number of series-hours refreshed."""
        with self.transaction() as connection:
            return rollups.refresh_rollups(connection, limit, share, self._settings.time_zone)

    def late_readings_due(self, *, limit: int) -> list[LateReadings]:
        """Return the series with late readings that are due to be judged again."""
        return self._rows("late_due", (limit,), LateReadings)

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
        with self.transaction() as connection, connection.cursor() as cursor:
            return write_batch.store_corrections(
                cursor, late, revisions, anomalies, again_s=again_s, rest_from_s=rest_from_s
            )

    def activity(self) -> list[DeviceActivity]:
        """Return when each device last sent a reading."""
        return self._rows("activity", None, DeviceActivity)

    def record_anomalies(self, anomalies: Sequence[Anomaly]) -> None:
        """Insert or update anomalies by (subject, start time)."""
        with self.transaction() as connection, connection.cursor() as cursor:
            write_batch.upsert_anomalies(cursor, anomalies)

    def explain_anomalies(self, explanations: Mapping[int, Explanation | None]) -> None:
        """Replace the explanations of anomalies by id; None removes one."""
        with self.transaction() as connection, connection.cursor() as cursor:
            write_batch.explain_anomalies(cursor, explanations)

    def _rows(self, query: str, parameters: Any, kind: type[T], **options: Any) -> list[T]:
        with self.run_query(QUERIES[query], parameters, **options) as cursor:
            cursor.row_factory = dict_row
            return msgspec.convert(cursor.fetchall(), list[kind])  # type: ignore[valid-type]

    def _number(self, query: str, parameters: Any = None) -> int:
        with self.run_query(QUERIES[query], parameters) as cursor:
            return int((cursor.fetchone() or (0,))[0])
