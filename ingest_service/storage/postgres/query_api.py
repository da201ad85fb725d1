"""Queries anomalies, readings and buckets for the API, as they are now or as of an earlier snapshot.

A `Snapshot` is PostgreSQL's: what a database had committed at a time (`docs/decisions/0012`). All
queries read as of one snapshot, so that a response of several queries is consistent, and a repeated request
with an old snapshot returns the same rows.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import msgspec
import psycopg
import structlog
from psycopg.rows import class_row

from ingest_service.storage.contract.errors import StoreRefusedError, StoreTimeoutError, StoreUnavailableError
from ingest_service.storage.contract.models import AnomalyRow, Bucket
from ingest_service.storage.contract.paging import anomaly_pages
from ingest_service.storage.postgres import binary_copy, read_rows, rollups
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from psycopg import Connection, Cursor

    from ingest_service.storage.contract.models import AnomalyQuery
    from ingest_service.storage.contract.store import Database

log = structlog.get_logger()
T = TypeVar("T")

XID_MODULUS = 2**32  # `xmin` has only the lower 32 bits of a transaction id
RETRY_INTERVAL_S = 1.0  # between two tries to read a page while the database is unavailable
NO_XMIN_ERRORS = (psycopg.errors.InvalidColumnReference, psycopg.errors.UndefinedColumn)
"""Errors of a table without ``xmin``, which compressed chunks are."""
BLOCK_ROWS = 50_000
_DATABASE_OF_CONNECTION: WeakKeyDictionary[Connection[Any], str] = (
    WeakKeyDictionary()
)  # cached, for a connection never changes its database


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """A PostgreSQL snapshot: what a database had committed at a time.

    ``xmax`` is the first transaction id that was not yet assigned, ``running`` are those below it that were
    still in progress, ``at_us`` is Unix time [us].
    """

    at_us: int
    xmax: int
    running: tuple[int, ...]
    database: str


class OtherDatabaseError(StoreRefusedError):
    """The snapshot belongs to another database."""


class CaughtUpReplica(NamedTuple):
    """A replica that contains at least what a snapshot of the primary contains.

    ``report_failure`` is called with the error of a query, which the primary answers then.
    """

    database: Database
    snapshot: Snapshot
    report_failure: Callable[[StoreUnavailableError], None]


class SnapshotReader:
    """Queries as of a snapshot, or of now; no transaction is open between two queries.

    Without a given snapshot, the first query determines it, and the following ones read as of the same.
    With a replica, now is its snapshot of the primary, and it answers the queries as of a snapshot.
    """

    def __init__(
        self, database: Database, snapshot: Snapshot | None, replica: CaughtUpReplica | None = None
    ) -> None:
        self._database = database
        self._replica = replica
        self._snapshot = replica.snapshot if snapshot is None and replica is not None else snapshot
        self._is_current = snapshot is None

    @property
    def snapshot(self) -> Snapshot:
        """Snapshot of which all queries read."""
        if self._snapshot is None:
            with self._database.run_query(QUERIES["current_snapshot"]) as cursor:
                (snapshot_text,) = cursor.fetchone() or ("",)
                self._snapshot = parse_snapshot(snapshot_text, cursor.connection)
        return self._snapshot

    def anomalies(self, query: AnomalyQuery) -> list[AnomalyRow]:
        """Return anomalies by filter, newest start first."""
        query_parameters = read_rows.anomaly_parameters(query)
        # prepare=False: with a generic plan the filter values could not decide which index is used
        if self._snapshot is None:
            with self._database.run_query(
                QUERIES["anomalies_now"], query_parameters, prepare=False
            ) as cursor:
                rows = cursor.fetchall()
                if rows:  # an empty result carries no snapshot, so it is queried again as of one below
                    self._snapshot = parse_snapshot(rows[0][-1], cursor.connection)
                    return [AnomalyRow(*row[:-1]) for row in rows]
        with self._query_at_snapshot("anomalies", query_parameters, prepare=False) as cursor:
            return [AnomalyRow(*row) for row in cursor.fetchall()]

    def readings(self, series_id: int, from_us: int, to_us: int, *, limit: int) -> NDArray[np.void]:
        """Return the READING rows in ``[from_us, to_us)`` [us] by time, with revisions applied."""
        query_parameters = {
            "series_id": series_id,
            "from_s": from_us / 1e6,
            "to_s": to_us / 1e6,
            "limit": limit,
        }
        if self._snapshot is not None:
            with self._query_at_snapshot("readings", query_parameters, in_order=True) as cursor:
                return binary_copy.read_arrays(cursor, series_id)
        with self._database.run_query(QUERIES["readings_now"], query_parameters, in_order=True) as cursor:
            self._snapshot = parse_snapshot(binary_copy.read_snapshot_text(cursor), cursor.connection)
            return binary_copy.read_arrays(cursor, series_id)

    def buckets(self, series_id: int, from_s: float, to_s: float, width_s: int) -> list[Bucket]:
        """Return buckets aligned to the local day, from rollups; as of a given snapshot, from readings."""
        if self._snapshot is None:
            with self._database.transaction(frozen=True) as connection:  # rollups have no snapshot condition
                self._snapshot = current_snapshot(connection)
                zone = self._database.zone
                return rollups.read_buckets(connection, series_id, from_s, to_s, width_s, zone=zone)
        query_parameters = {
            "series_id": series_id,
            "from_s": from_s,
            "to_s": to_s,
            "width_s": width_s,
            "zone": self._database.zone.key,
        }
        with self._query_at_snapshot("buckets", query_parameters) as cursor:
            cursor.row_factory = class_row(Bucket)
            return cursor.fetchall()

    @contextmanager
    def _query_at_snapshot(
        self, query_name: str, query_parameters: dict[str, Any], **options: Any
    ) -> Iterator[Cursor[Any]]:
        """Query as of the snapshot; on compressed chunks, which have no ``xmin``, by time of reception.

        Raises
        ------
        OtherDatabaseError
            If the connection is to another database than the snapshot's.
        """
        query_parameters = (
            query_parameters | snapshot_parameters(self.snapshot) | {"is_now": self._is_current}
        )
        with ExitStack() as stack:
            cursor = None
            if self._replica is not None:
                try:
                    cursor = _run_at_snapshot(
                        self._replica.database, stack, query_name, query_parameters, options
                    )
                except StoreTimeoutError:
                    raise
                except StoreUnavailableError as error:  # also a query that replaying the log has cancelled
                    self._replica.report_failure(error)
                    self._replica = None
            if cursor is None:
                cursor = _run_at_snapshot(self._database, stack, query_name, query_parameters, options)
            if database_of(cursor.connection) != self.snapshot.database:
                raise OtherDatabaseError("the answer was given by another database")
            yield cursor


def _run_at_snapshot(
    database: Database,
    stack: ExitStack,
    query_name: str,
    query_parameters: dict[str, Any],
    options: dict[str, Any],
) -> Cursor[Any]:
    """Run a query as of a snapshot within a stack; without ``xmin``, by time of reception."""
    try:
        cursor: Cursor[Any] = stack.enter_context(
            database.run_query(QUERIES[f"{query_name}_then"], query_parameters, **options)
        )
    except StoreRefusedError as error:
        if not isinstance(error.__cause__, NO_XMIN_ERRORS) or f"{query_name}_received" not in QUERIES:
            raise
        cursor = stack.enter_context(
            database.run_query(QUERIES[f"{query_name}_received"], query_parameters, **options)
        )
    return cursor


class PageRetry:
    """Retries page queries of a streamed response while the database is unavailable.

    ``limit_s`` [s] is 0 until the first bytes are sent: before that, an error response is better, for the
    client can retry. After that, a page is retried for ``limit_s``; every page is of the same snapshot, so
    no row is lost.
    """

    def __init__(self) -> None:
        self.limit_s = 0.0

    def read_page(self, read: Callable[[], T]) -> T:
        """Return the result of a query. Raises as the store does, `StoreUnavailableError` after the wait."""
        began_s = time.monotonic()
        while True:
            try:
                return read()
            except StoreTimeoutError:
                raise
            except StoreUnavailableError as error:
                if time.monotonic() - began_s >= self.limit_s:
                    raise
                log.warning("answer_waits_for_database", error=str(error))
                time.sleep(RETRY_INTERVAL_S)


class QueryApi:
    """Read queries of the API on a `PostgresStore`. Methods raise `StoreError` and `OtherDatabaseError`."""

    def __init__(self, database: Database, replica: CaughtUpReplica | None = None) -> None:
        self._database = database
        self._replica = replica

    def reader_at(self, snapshot_or_now: Snapshot | None = None) -> SnapshotReader:
        """Return the queries as of now, or as of a snapshot."""
        return SnapshotReader(self._database, snapshot_or_now, self._replica)

    def all_anomalies(
        self, query: AnomalyQuery, snapshot: Snapshot, retry: PageRetry | None = None, *, rows: int
    ) -> Iterator[list[AnomalyRow]]:
        """Yield every anomaly in pages of ``rows``; no transaction is open between two pages."""
        read, retry = self.reader_at(snapshot).anomalies, retry or PageRetry()
        yield from anomaly_pages(lambda page: retry.read_page(partial(read, page)), query, rows=rows)

    def all_readings(
        self,
        series_ids: Sequence[int],
        from_us: int,
        to_us: int,
        snapshot: Snapshot,
        retry: PageRetry | None = None,
    ) -> Iterator[NDArray[np.void]]:
        """Yield every reading of some series in blocks, by series; no transaction is open between blocks."""
        reader_at, retry = self.reader_at(snapshot), retry or PageRetry()
        for series_id in series_ids:
            after_us = from_us
            while True:
                read = partial(reader_at.readings, series_id, after_us, to_us, limit=BLOCK_ROWS)
                block = retry.read_page(read)
                yield block
                if len(block) < BLOCK_ROWS:
                    break
                after_us = int(block["time_us"][-1]) + 1


def database_of(connection: Connection[Any]) -> str:
    """Return the unique identifier of the database that a connection is to."""
    if (database := _DATABASE_OF_CONNECTION.get(connection)) is None:
        (database,) = connection.execute(QUERIES["which_database"]).fetchone() or ("",)
        _DATABASE_OF_CONNECTION[connection] = database
    return database


def current_snapshot(connection: Connection[Any]) -> Snapshot:
    """Return the snapshot of a connection's transaction."""
    (snapshot_text,) = connection.execute(QUERIES["current_snapshot"]).fetchone() or ("",)
    return parse_snapshot(snapshot_text, connection)


def snapshot_parameters(snapshot: Snapshot) -> dict[str, Any]:
    """Convert a snapshot to query parameters."""
    return {
        "at_s": snapshot.at_us / 1e6,
        "xmax": str(snapshot.xmax),
        "running": [str(one) for one in snapshot.running],
    }


def parse_snapshot(snapshot_text: str, connection: Connection[Any]) -> Snapshot:
    """Parse a snapshot of a connection's database, of the form ``us:xmin:xmax:xip,xip``.

    Ids are truncated to 32 bits, like ``xmin``.
    """
    at_us, _, xmax, running = snapshot_text.split(":")
    return Snapshot(
        int(at_us),
        int(xmax) % XID_MODULUS,
        tuple(int(one) % XID_MODULUS for one in running.split(",") if one),
        database_of(connection),
    )
