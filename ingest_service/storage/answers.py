"""Queries anomalies, readings and buckets for the API, as they are now or as of an earlier snapshot.

A `Moment` is a PostgreSQL snapshot: what a database had committed at a time (`docs/decisions/0012`). All
queries read as of one snapshot, so that a response of several queries is consistent, and a repeated request
with an old snapshot returns the same rows.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import msgspec
import psycopg
import structlog
from psycopg.rows import class_row

from ingest_service.storage import binary, rollups
from ingest_service.storage.errors import StoreRefused, StoreTimeout, StoreUnavailable
from ingest_service.storage.model import Bucket
from ingest_service.storage.sql import QUERIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from psycopg import Connection, Cursor

    from ingest_service.storage.postgres import PostgresStore

log = structlog.get_logger()
T = TypeVar("T")

XID = 2**32  # `xmin` has only the lower 32 bits of a transaction id
AGAIN_S = 1.0  # between two tries to read a page while the database is unavailable
NO_TRANSACTIONS = (psycopg.errors.InvalidColumnReference, psycopg.errors.UndefinedColumn)
"""Errors of a table without ``xmin``, which compressed chunks are."""
BLOCK_ROWS = 50_000
_DATABASES: WeakKeyDictionary[Connection[Any], str] = (
    WeakKeyDictionary()
)  # cached, for a connection never changes its database


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """A PostgreSQL snapshot: what a database had committed at a time.

    ``xmax`` is the first transaction id that was not yet assigned, ``running`` are those below it that were
    still in progress, ``at_us`` is Unix time [us].
    """

    at_us: int
    xmax: int
    running: tuple[int, ...]
    database: str


class OtherDatabase(StoreRefused):
    """The snapshot belongs to another database."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of anomalies, joined by "and"; newest start first; ``after`` is the position of the last row.

    ``text`` is a case-insensitive substring of the English or the Chinese reason.
    """

    anomaly_id: int | None = None
    site_ids: Sequence[str] | None = None
    series_ids: Sequence[int] | None = None
    detectors: Sequence[str] | None = None
    states: Sequence[str] | None = None
    severity_min: int = 1
    severity_max: int = 3
    text: str | None = None
    from_s: float | None = None  # selects anomalies that end after it
    to_s: float | None = None  # selects anomalies that start before it
    after: tuple[int, int] | None = None  # start [us], anomaly id
    limit: int = 100


class Found(msgspec.Struct, frozen=True):
    """An anomaly in the form the API returns; ``evidence`` is JSON text."""

    anomaly_id: int
    site_id: str
    series_id: int | None
    device_id: str | None
    detector: str
    version: str
    state: str
    severity: int
    start_s: float
    end_s: float | None
    peak_s: float
    observed: float | None
    expected: float | None
    spread: float | None
    score: float
    n_readings: int
    reason_en: str
    reason_zh: str
    evidence: str

    @property
    def place(self) -> tuple[int, int]:
        """Position after which the next page starts: start [us], anomaly id."""
        return round(self.start_s * 1e6), self.anomaly_id


class Then:
    """Queries as of a snapshot, or of now; no transaction is open between two queries.

    Without a given snapshot, the first query determines it, and the following ones read as of the same.
    """

    def __init__(self, store: PostgresStore, moment: Moment | None) -> None:
        self._store = store
        self._moment = moment
        self._is_now = moment is None

    @property
    def moment(self) -> Moment:
        """Snapshot of which all queries read."""
        if self._moment is None:
            with self._store.asked(QUERIES["moment"]) as cursor:
                (word,) = cursor.fetchone() or ("",)
                self._moment = _moment(word, cursor.connection)
        return self._moment

    def anomalies(self, question: Question) -> list[Found]:
        """Return anomalies by filter, newest start first."""
        asked = parameters(question)
        # prepare=False: with a generic plan the filter values could not decide which index is used
        if self._moment is None:
            with self._store.asked(QUERIES["anomalies_now"], asked, prepare=False) as cursor:
                rows = cursor.fetchall()
                if rows:  # an empty result carries no snapshot, so it is queried again as of one below
                    self._moment = _moment(rows[0][-1], cursor.connection)
                    return [Found(*row[:-1]) for row in rows]
        with self._asked_of("anomalies", asked, prepare=False) as cursor:
            return [Found(*row) for row in cursor.fetchall()]

    def readings(self, series_id: int, from_us: int, to_us: int, *, limit: int) -> NDArray[np.void]:
        """Return the READING rows in ``[from_us, to_us)`` [us] by time, with revisions applied."""
        asked = {"series_id": series_id, "from_s": from_us / 1e6, "to_s": to_us / 1e6, "limit": limit}
        if self._moment is not None:
            with self._asked_of("readings", asked, in_order=True) as cursor:
                return binary.arrays(cursor, series_id)
        with self._store.asked(QUERIES["readings_now"], asked, in_order=True) as cursor:
            self._moment = _moment(binary.word(cursor), cursor.connection)
            return binary.arrays(cursor, series_id)

    def buckets(self, series_id: int, from_s: float, to_s: float, width_s: int) -> list[Bucket]:
        """Return buckets aligned to the local day, from rollups; as of a given snapshot, from readings."""
        if self._moment is None:
            with self._store.transaction(frozen=True) as connection:  # rollups have no snapshot condition
                self._moment = moment_of(connection)
                zone = self._store.zone
                return rollups.buckets(connection, series_id, from_s, to_s, width_s, zone=zone)
        asked = {
            "series_id": series_id,
            "from_s": from_s,
            "to_s": to_s,
            "width_s": width_s,
            "zone": self._store.zone.key,
        }
        with self._asked_of("buckets", asked) as cursor:
            cursor.row_factory = class_row(Bucket)
            return cursor.fetchall()

    @contextmanager
    def _asked_of(self, what: str, asked: dict[str, Any], **options: Any) -> Iterator[Cursor[Any]]:
        """Query as of the snapshot; on compressed chunks, which have no ``xmin``, by time of reception.

        Raises
        ------
        OtherDatabase
            If the connection is to another database than the snapshot's.
        """
        asked = asked | of_moment(self.moment) | {"is_now": self._is_now}
        with ExitStack() as stack:
            try:
                cursor = stack.enter_context(self._store.asked(QUERIES[f"{what}_then"], asked, **options))
            except StoreRefused as error:
                if not isinstance(error.__cause__, NO_TRANSACTIONS) or f"{what}_received" not in QUERIES:
                    raise
                cursor = stack.enter_context(self._store.asked(QUERIES[f"{what}_received"], asked, **options))
            if database_of(cursor.connection) != self.moment.database:
                raise OtherDatabase("the answer was given by another database")
            yield cursor


class Waits:
    """Retries page queries of a streamed response while the database is unavailable.

    ``limit_s`` [s] is 0 until the first bytes are sent: before that, an error response is better, for the
    client can retry. After that, a page is retried for ``limit_s``; every page is of the same snapshot, so
    no row is lost.
    """

    def __init__(self) -> None:
        self.limit_s = 0.0

    def through(self, read: Callable[[], T]) -> T:
        """Return the result of a query. Raises as the store does, `StoreUnavailable` only after the wait."""
        began_s = time.monotonic()
        while True:
            try:
                return read()
            except StoreTimeout:
                raise
            except StoreUnavailable as error:
                if time.monotonic() - began_s >= self.limit_s:
                    raise
                log.warning("answer_waits_for_database", error=str(error))
                time.sleep(AGAIN_S)


class Answers:
    """Read queries of the API on a `PostgresStore`. Methods raise `StoreError` and `OtherDatabase`."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def then(self, again: Moment | None = None) -> Then:
        """Return the queries as of now, or as of a snapshot."""
        return Then(self._store, again)

    def all_anomalies(
        self, question: Question, moment: Moment, waits: Waits | None = None, *, rows: int
    ) -> Iterator[list[Found]]:
        """Yield every anomaly in pages of ``rows``; no transaction is open between two pages."""
        question, then = msgspec.structs.replace(question, limit=rows), self.then(moment)
        waits = waits or Waits()
        while True:
            page = waits.through(partial(then.anomalies, question))
            yield page
            if len(page) < rows:
                return
            question = msgspec.structs.replace(question, after=page[-1].place)

    def all_readings(
        self, series_ids: Sequence[int], from_us: int, to_us: int, moment: Moment, waits: Waits | None = None
    ) -> Iterator[NDArray[np.void]]:
        """Yield every reading of some series in blocks, by series; no transaction is open between blocks."""
        then, waits = self.then(moment), waits or Waits()
        for series_id in series_ids:
            after_us = from_us
            while True:
                read = partial(then.readings, series_id, after_us, to_us, limit=BLOCK_ROWS)
                block = waits.through(read)
                yield block
                if len(block) < BLOCK_ROWS:
                    break
                after_us = int(block["time_us"][-1]) + 1


def parameters(question: Question) -> dict[str, Any]:
    """Build the parameters of `anomalies_now`, and, together with a snapshot's, of `anomalies_then`."""
    after_us, after_id = question.after or (None, None)
    asked = msgspec.structs.asdict(question) | {"after_us": after_us, "after_id": after_id}
    asked["text"] = None if question.text is None else question.text.lower()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}


def database_of(connection: Connection[Any]) -> str:
    """Return the unique identifier of the database that a connection is to."""
    if (database := _DATABASES.get(connection)) is None:
        (database,) = connection.execute(QUERIES["which_database"]).fetchone() or ("",)
        _DATABASES[connection] = database
    return database


def moment_of(connection: Connection[Any]) -> Moment:
    """Return the snapshot of a connection's transaction."""
    (word,) = connection.execute(QUERIES["moment"]).fetchone() or ("",)
    return _moment(word, connection)


def of_moment(moment: Moment) -> dict[str, Any]:
    """Convert a snapshot to query parameters."""
    return {
        "at_s": moment.at_us / 1e6,
        "xmax": str(moment.xmax),
        "running": [str(one) for one in moment.running],
    }


def _moment(word: str, connection: Connection[Any]) -> Moment:
    """Parse a snapshot of the form ``us:xmin:xmax:xip,xip``; ids are truncated to 32 bits, like ``xmin``."""
    at_us, _, xmax, running = word.split(":")
    return Moment(
        int(at_us),
        int(xmax) % XID,
        tuple(int(one) % XID for one in running.split(",") if one),
        database_of(connection),
    )
