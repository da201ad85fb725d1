"""Durable spool: stores messages on disk until the platform confirms them by a receipt.

One SQLite file per device, or per process that publishes for several devices (a gateway of stations). A
message is committed with synchronous=FULL before `Spool.put` returns; numbers increase and are never reused;
the epoch is created with the file, so that the platform can't mistake the messages for those of an older
spool of the same device.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Self

from edge.wire.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from edge.agent.settings import Settings

_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    number INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL, readings INTEGER NOT NULL,
    address TEXT NOT NULL DEFAULT '', properties TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE TABLE IF NOT EXISTS spool (
    epoch TEXT NOT NULL, evicted_messages INTEGER NOT NULL, evicted_readings INTEGER NOT NULL
) STRICT;
"""
_NO_PROPERTIES = "[]"
# Columns that files of version 0.2 and older don't have.
_ADDED_COLUMNS = {
    "address": "ALTER TABLE message ADD COLUMN address TEXT NOT NULL DEFAULT ''",
    "properties": "ALTER TABLE message ADD COLUMN properties TEXT NOT NULL DEFAULT '[]'",
}
_EVICTION_ORDER = {
    "oldest": "SELECT number, length(payload) FROM message ORDER BY number",
    "newest": "SELECT number, length(payload) FROM message ORDER BY number DESC",
}
_MAX_INTEGER = 2**63 - 1  # largest integer of SQLite
_TOTALS_QUERY = """
SELECT count(*), coalesce(sum(length(payload)), 0), coalesce(sum(readings), 0)
FROM message WHERE number BETWEEN ? AND ?
"""


# Errors that pass once there is disk space or another process releases the file; others need an operator.
_TEMPORARY_CODES = frozenset(
    (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
    )
)
_PRIMARY_CODE_MASK = 0xFF  # the low byte of an extended result code


class SpoolError(EdgeError, OSError):
    """The spool's file can't be used; the message states the remedy."""


class SpoolBusyError(SpoolError):
    """Temporary: the disk is full or fails, or the file is locked. Nothing was changed; retry later."""


class SpoolEntry(NamedTuple):
    """A message to be put into the spool.

    Attributes
    ----------
    payload, readings : the message's bytes and the number of readings in it
    address : ``area/device`` that it is published for, "" for the device of the spool
    properties : further MQTT 5 user properties, such as a quality flag of all its readings

    """

    payload: bytes
    readings: int
    address: str = ""
    properties: tuple[tuple[str, str], ...] = ()


class SpooledMessage(NamedTuple):
    """One message in the spool: its number, and the fields of its `SpoolEntry`."""

    number: int
    payload: bytes
    readings: int
    address: str = ""
    properties: tuple[tuple[str, str], ...] = ()


class _Totals(NamedTuple):
    """Totals of a spool, or of a part of it: messages, payload size [bytes], readings."""

    messages: int
    size: int
    readings: int

    def minus(self, other: _Totals) -> _Totals:
        return _Totals(*(ours - theirs for ours, theirs in zip(self, other, strict=True)))


class Spool:
    """Messages of one device in the order in which they were put; thread-safe."""

    def __init__(self, connection: sqlite3.Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._lock = threading.Lock()
        self.epoch, self.evicted_messages, self.evicted_readings = connection.execute(
            "SELECT epoch, evicted_messages, evicted_readings FROM spool"
        ).fetchone()
        self._totals = _Totals(
            *connection.execute(
                "SELECT count(*), coalesce(sum(length(payload)), 0), coalesce(sum(readings), 0) FROM message"
            ).fetchone()
        )

    @property
    def waiting(self) -> int:
        """Number of messages without a receipt."""
        return self._totals.messages

    @classmethod
    def open(cls, path: Path, settings: Settings) -> Self:
        """Open or create a spool. Raises `SpoolError` if the file is not a spool or can't be written."""
        try:
            connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_SCHEMA)
            columns = {row[1] for row in connection.execute("PRAGMA table_info(message)")}
            for column, statement in _ADDED_COLUMNS.items():
                if column not in columns:
                    connection.execute(statement)
            if connection.execute("SELECT count(*) FROM spool").fetchone() == (0,):
                connection.execute("INSERT INTO spool VALUES (?, 0, 0)", (secrets.token_hex(4),))
            return cls(connection, settings)
        except sqlite3.Error as error:
            raise SpoolError(
                f"spool {path}: {error}; mend its folder, or move the file away (it may hold readings)"
            ) from error

    def put(self, messages: Sequence[SpoolEntry]) -> None:
        """Store messages; on return they are on disk, or counted as evicted.

        Raises
        ------
        SpoolBusyError
            If, for example, the disk is full: none was stored, and the same call may succeed later.
        SpoolError
            If the file is damaged.

        """
        insert = "INSERT INTO message (payload, readings, address, properties) VALUES (?, ?, ?, ?)"
        with self._lock:
            with self._transaction():
                self._connection.executemany(insert, map(_row, messages))
                totals = _Totals(
                    self._totals.messages + len(messages),
                    self._totals.size + sum(len(one.payload) for one in messages),
                    self._totals.readings + sum(one.readings for one in messages),
                )
                evicted_totals = (
                    self._evict(totals) if totals.size > self._settings.spool_bytes else _Totals(0, 0, 0)
                )
            self._totals = totals.minus(evicted_totals)
            self.evicted_messages += evicted_totals.messages
            self.evicted_readings += evicted_totals.readings

    def after(self, number: int, limit: int) -> list[SpooledMessage]:
        """Return at most ``limit`` messages after a number, in order. Raises as `put` does."""
        with self._lock, _translated_errors():
            rows = self._connection.execute(
                "SELECT number, payload, readings, address, properties FROM message"
                " WHERE number > ? ORDER BY number LIMIT ?",
                (number, limit),
            )
            return [
                SpooledMessage(number, payload, readings, address, _properties(properties))
                for number, payload, readings, address, properties in rows
            ]

    def contains(self, number: int) -> bool:
        """Whether a message is still in the spool. Raises as `put` does."""
        with self._lock, _translated_errors():
            found = self._connection.execute("SELECT 1 FROM message WHERE number = ?", (_clamped(number),))
            return found.fetchone() is not None

    def forget(self, epoch: str, ranges: Iterable[tuple[int, int]]) -> int:
        """Delete closed ranges of numbers that the platform has stored; returns the readings in them.

        Raises as `put` does; nothing is deleted then.
        """
        if epoch != self.epoch:
            return 0
        with self._lock:
            with self._transaction():
                totals = self._totals
                for first, last in ranges:
                    totals = totals.minus(self._delete(_clamped(first), _clamped(last)))
            totals_before, self._totals = self._totals, totals
        return totals_before.readings - totals.readings

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run a transaction; counters in memory may be changed only after it, for COMMIT can fail."""
        with _translated_errors(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield

    def _evict(self, totals: _Totals) -> _Totals:
        excess, evicted_numbers = totals.size - self._settings.spool_bytes, []
        for number, size in self._connection.execute(_EVICTION_ORDER[self._settings.spool_evict]):
            if excess <= 0:
                break
            excess -= size
            evicted_numbers.append(number)
        evicted_totals = self._delete(min(evicted_numbers), max(evicted_numbers))
        self._connection.execute(
            "UPDATE spool SET evicted_messages = ?, evicted_readings = ?",
            (
                self.evicted_messages + evicted_totals.messages,
                self.evicted_readings + evicted_totals.readings,
            ),
        )
        return evicted_totals

    def _delete(self, first: int, last: int) -> _Totals:
        deleted = _Totals(*self._connection.execute(_TOTALS_QUERY, (first, last)).fetchone())
        self._connection.execute("DELETE FROM message WHERE number BETWEEN ? AND ?", (first, last))
        return deleted


def _row(entry: SpoolEntry) -> tuple[bytes, int, str, str]:
    properties = json.dumps(entry.properties) if entry.properties else _NO_PROPERTIES
    return entry.payload, entry.readings, entry.address, properties


def _properties(text: str) -> tuple[tuple[str, str], ...]:
    return () if text == _NO_PROPERTIES else tuple((name, value) for name, value in json.loads(text))


def _clamped(number: int) -> int:
    """Clamp to SQLite's integers: a receipt may contain any number."""
    return max(-1, min(number, _MAX_INTEGER))


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Convert SQLite's errors to `SpoolBusyError` or `SpoolError`."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE_MASK
        if code in _TEMPORARY_CODES:
            raise SpoolBusyError(
                f"the spool can't be used just now: {error}; make room on its disk, it is tried again"
            ) from error
        raise SpoolError(
            f"the spool can't be used: {error}; move its file away (it may hold readings) and start again"
        ) from error
