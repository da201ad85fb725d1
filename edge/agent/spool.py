"""The spool: what was measured stays here, on disk, until the platform says that it has it.

One SQLite file a device. A message is committed with synchronous=FULL before it counts as taken; its
number grows and is never used twice; the epoch is made with the file, so that a platform that remembers
an older spool of the same device is not misled.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edge.agent.settings import Settings

_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    number INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL, readings INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS spool (
    epoch TEXT NOT NULL, evicted_messages INTEGER NOT NULL, evicted_readings INTEGER NOT NULL
) STRICT;
"""
_IN_ORDER = {
    "oldest": "SELECT number, length(payload) FROM message ORDER BY number",
    "newest": "SELECT number, length(payload) FROM message ORDER BY number DESC",
}
_SUMS = """
SELECT count(*), coalesce(sum(length(payload)), 0), coalesce(sum(readings), 0)
FROM message WHERE number BETWEEN ? AND ?
"""


class SpoolError(OSError):
    """The spool's file can't be used; the sentence says what to do."""


class Spooled(NamedTuple):
    """One message in the spool."""

    number: int
    payload: bytes
    readings: int


class Spool:
    """Messages of one device in the order in which they were taken; safe between threads."""

    def __init__(self, connection: sqlite3.Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._lock = threading.Lock()
        self.epoch, self.evicted_messages, self.evicted_readings = connection.execute(
            "SELECT epoch, evicted_messages, evicted_readings FROM spool"
        ).fetchone()
        self.waiting, self._bytes = connection.execute(
            "SELECT count(*), coalesce(sum(length(payload)), 0) FROM message"
        ).fetchone()

    @classmethod
    def open(cls, path: Path, settings: Settings) -> Self:
        """Open or make a spool. Raises `SpoolError` if the file is none or can't be written."""
        try:
            connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_SCHEMA)
            if connection.execute("SELECT count(*) FROM spool").fetchone() == (0,):
                connection.execute("INSERT INTO spool VALUES (?, 0, 0)", (secrets.token_hex(4),))
            return cls(connection, settings)
        except sqlite3.Error as error:
            raise SpoolError(
                f"spool {path}: {error}; mend its folder, or move the file away (it may hold readings)"
            ) from error

    def put(self, messages: Sequence[tuple[bytes, int]]) -> None:
        """Take ``(payload, readings)`` messages; on return they are on disk, or counted as evicted."""
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO message (payload, readings) VALUES (?, ?)", messages)
            self.waiting += len(messages)
            self._bytes += sum(len(payload) for payload, _ in messages)
            if self._bytes > self._settings.spool_bytes:
                self._evict()

    def after(self, number: int, limit: int) -> list[Spooled]:
        """At most ``limit`` messages that come after a number, in order."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT number, payload, readings FROM message WHERE number > ? ORDER BY number LIMIT ?",
                (number, limit),
            )
            return [Spooled(*row) for row in rows]

    def forget(self, epoch: str, ranges: Iterable[tuple[int, int]]) -> int:
        """Let go of closed ranges of numbers that the platform keeps; returns the readings in them."""
        if epoch != self.epoch:
            return 0
        readings = 0
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for first, last in ranges:
                readings += self._delete(first, last)
        return readings

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _evict(self) -> None:
        excess, doomed = self._bytes - self._settings.spool_bytes, []
        for number, size in self._connection.execute(_IN_ORDER[self._settings.spool_evict]):
            if excess <= 0:
                break
            excess -= size
            doomed.append(number)
        messages = self.waiting
        self.evicted_readings += self._delete(min(doomed), max(doomed))
        self.evicted_messages += messages - self.waiting
        self._connection.execute(
            "UPDATE spool SET evicted_messages = ?, evicted_readings = ?",
            (self.evicted_messages, self.evicted_readings),
        )

    def _delete(self, first: int, last: int) -> int:
        messages, size, readings = self._connection.execute(_SUMS, (first, last)).fetchone()
        self._connection.execute("DELETE FROM message WHERE number BETWEEN ? AND ?", (first, last))
        self.waiting -= messages
        self._bytes -= size
        return int(readings)
