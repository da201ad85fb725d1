"""Durable queue of frames for one upper platform, with the cursors of what has been put into it (SQLite).

A frame and the cursor that moves past its readings are committed together, so that a kill at any moment
neither loses nor repeats a reading. A frame leaves when the platform has answered it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.hj212.errors import Hj212Error
from gateway.hj212.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS frame (
    number INTEGER PRIMARY KEY AUTOINCREMENT, request INTEGER NOT NULL UNIQUE, segment BLOB NOT NULL,
    put_s REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, due_s REAL NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS reported (
    series_id INTEGER NOT NULL, time_us INTEGER NOT NULL, received_us INTEGER NOT NULL,
    PRIMARY KEY (series_id, time_us)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursor (name TEXT PRIMARY KEY, value REAL NOT NULL) STRICT;
"""
_LIVE = """
SELECT number, segment, put_s, attempts FROM frame WHERE attempts = 0 AND put_s >= ? ORDER BY number LIMIT 1
"""
_DUE = "SELECT number, segment, put_s, attempts FROM frame WHERE due_s <= ? ORDER BY number LIMIT 1"
_LAST_REQUEST = "last_request"


class ForwardSpoolError(Hj212Error):
    """The spool of a platform can't be used."""


class SpooledFrame(NamedTuple):
    """A frame to be sent: its segment, when it was put [s], and how often it was sent before."""

    number: int
    segment: Segment
    put_s: float
    attempts: int


class ReportedReading(NamedTuple):
    """A reading that has been put into a frame."""

    series_id: int
    time_us: int
    received_us: int


class ForwardSpool:
    """Frames for one platform; thread-safe.

    Parameters
    ----------
    path : file, created if missing
    max_frames : the oldest frames beyond this number are evicted

    """

    def __init__(self, path: Path, max_frames: int) -> None:
        self._max_frames = max_frames
        self._lock = threading.RLock()
        self.evicted = 0
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise ForwardSpoolError(
                f"spool {path}: {error}: mend its folder, or move the file away (it may hold unsent frames)"
            ) from error

    @property
    def waiting(self) -> int:
        """Number of frames without an answer."""
        with self._lock:
            (count,) = self._connection.execute("SELECT count(*) FROM frame").fetchone()
            return int(count)

    def cursor(self, name: str) -> float | None:
        """Return a cursor; None before it was first set."""
        with self._lock:
            row = self._connection.execute("SELECT value FROM cursor WHERE name = ?", (name,)).fetchone()
            return None if row is None else float(row[0])

    def unreported(self, readings: Sequence[ReportedReading]) -> list[int]:
        """Return the positions of the readings that are in no frame yet."""
        with self._lock:
            query = "SELECT 1 FROM reported WHERE series_id = ? AND time_us = ?"
            return [
                position
                for position, one in enumerate(readings)
                if self._connection.execute(query, (one.series_id, one.time_us)).fetchone() is None
            ]

    def put(
        self,
        segments: Iterable[Segment],
        cursors: Mapping[str, float],
        *,
        reported: Sequence[ReportedReading] = (),
        forget_before_us: int = 0,
        now_s: float | None = None,
    ) -> None:
        """Store frames, each with a request number of its own, and move cursors, in one transaction."""
        put_s = time.time() if now_s is None else now_s
        with self._transaction():
            request = int(self.cursor(_LAST_REQUEST) or 0)
            for segment in segments:
                request = max(request + 1, round(put_s * 1000))
                self._connection.execute(
                    "INSERT INTO frame (request, segment, put_s) VALUES (?, ?, ?)",
                    (request, msgspec.json.encode(segment), put_s),
                )
            self._connection.executemany("INSERT OR IGNORE INTO reported VALUES (?, ?, ?)", reported)
            if forget_before_us:
                self._connection.execute("DELETE FROM reported WHERE received_us < ?", (forget_before_us,))
            self._connection.executemany(
                "INSERT INTO cursor VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [*cursors.items(), (_LAST_REQUEST, float(request))],
            )
            self.evicted += self._connection.execute(
                "DELETE FROM frame WHERE number <= (SELECT max(number) FROM frame) - ?", (self._max_frames,)
            ).rowcount

    def next(self, now_s: float, live_s: float) -> SpooledFrame | None:
        """Return the oldest frame of the last ``live_s`` that was never sent, else the oldest that is due."""
        with self._lock:
            row = self._connection.execute(_LIVE, (now_s - live_s,)).fetchone()
            row = row or self._connection.execute(_DUE, (now_s,)).fetchone()
        if row is None:
            return None
        number, segment, put_s, attempts = row
        return SpooledFrame(number, msgspec.json.decode(segment, type=Segment), put_s, attempts)

    def request_of(self, number: int) -> int:
        """Return the request number of a frame: Unix milliseconds, unique in the spool."""
        with self._lock:
            (request,) = self._connection.execute(
                "SELECT request FROM frame WHERE number = ?", (number,)
            ).fetchone()
            return int(request)

    def count_attempt(self, number: int, due_s: float) -> None:
        """Note that a frame is being sent, and when it may be sent again at the earliest [s]."""
        self._write("UPDATE frame SET attempts = attempts + 1, due_s = ? WHERE number = ?", (due_s, number))

    def delete(self, number: int) -> None:
        """Delete a frame that has been answered."""
        self._write("DELETE FROM frame WHERE number = ?", (number,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _write(self, statement: str, parameters: tuple[float, ...]) -> None:
        # Not fsynced: what a power cut undoes costs one more attempt under the same request number.
        with self._lock:
            self._connection.execute("PRAGMA synchronous=NORMAL")
            try:
                self._connection.execute(statement, parameters)
            finally:
                self._connection.execute("PRAGMA synchronous=FULL")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
