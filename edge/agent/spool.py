"""Durable spool: stores messages on disk until the platform confirms them by a receipt.

One SQLite file per device, or per process that publishes for several devices (a gateway of stations). A
message is committed with synchronous=FULL before `Spool.put` returns; numbers increase and are never reused;
the epoch is created with the file, so that the platform can't mistake the messages for those of an older
spool of the same device.

A file that is damaged, at the start or later, is renamed with its journal (``NAME.damaged-TIME``), and a new
one is begun: sampling goes on, and the readings in the old file can be recovered by hand.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import secrets
import sqlite3
import threading
import time
import zlib
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from edge.agent.clock_sync import UnsetClock
from edge.wire.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from edge.agent.settings import Settings

log = logging.getLogger(__name__)
R = TypeVar("R")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    number INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL, readings INTEGER NOT NULL,
    address TEXT NOT NULL DEFAULT '', properties TEXT NOT NULL DEFAULT '[]',
    crc INTEGER, put_s REAL NOT NULL DEFAULT 0, boot TEXT, clock_offset_s REAL
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
    "crc": "ALTER TABLE message ADD COLUMN crc INTEGER",  # of the payload; NULL in older rows
    "put_s": "ALTER TABLE message ADD COLUMN put_s REAL NOT NULL DEFAULT 0",  # Unix seconds; 0 if unknown
    # Of messages that wait for the clock to be set; NULL in all others.
    "boot": "ALTER TABLE message ADD COLUMN boot TEXT",
    "clock_offset_s": "ALTER TABLE message ADD COLUMN clock_offset_s REAL",
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
_DAMAGE_CODES = frozenset(
    (
        sqlite3.SQLITE_ERROR,  # a table or a column is missing
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_SCHEMA,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_FORMAT,
    )
)
_FILE_ENDINGS = ("-wal", "-shm", "")  # the journal first: a new file must never meet an old journal
_AGE_CHECK_S = 60.0
_RE_DATED_AT_ONCE = 1000  # messages of a transaction
_PRIMARY_CODE_MASK = 0xFF  # the low byte of an extended result code


class SpoolError(EdgeError, OSError):
    """The spool's file can't be used; the message states the remedy."""


class SpoolBusyError(SpoolError):
    """Temporary: the disk is full or fails, or the file is locked. Nothing was changed; retry later."""


class SpoolDamagedError(SpoolError):
    """The content of the file is damaged: it has to be set aside."""


class SpoolEntry(NamedTuple):
    """A message to be put into the spool.

    Attributes
    ----------
    payload, readings : the message's bytes and the number of readings in it
    address : ``area/device`` that it is published for, "" for the device of the spool
    properties : further MQTT 5 user properties, such as a quality flag of all its readings
    clock : clock of the readings if it was not set yet: the message waits for `Spool.re_date`

    """

    payload: bytes
    readings: int
    address: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    clock: UnsetClock | None = None


class SpooledMessage(NamedTuple):
    """One message in the spool that may be sent: its number, and the fields of its `SpoolEntry`."""

    number: int
    payload: bytes
    readings: int
    address: str = ""
    properties: tuple[tuple[str, str], ...] = ()


class ReDatedPayload(NamedTuple):
    """Changed payload of a message, and user properties to be added to it."""

    payload: bytes
    properties: tuple[tuple[str, str], ...]


class _Totals(NamedTuple):
    """Totals of a spool, or of a part of it: messages, payload size [bytes], readings."""

    messages: int
    size: int
    readings: int

    def plus(self, other: _Totals) -> _Totals:
        return _Totals(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))

    def minus(self, other: _Totals) -> _Totals:
        return _Totals(*(ours - theirs for ours, theirs in zip(self, other, strict=True)))


class Spool:
    """Messages of one device in the order in which they were put; thread-safe."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._lock = threading.RLock()
        # A clock that jumps must not make all messages old: their age is by the monotonic clock.
        self._clock_offset_s = time.time() - time.monotonic()
        self._age_due_s = 0.0
        self._load(_connect(path))

    def _load(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.epoch, self.evicted_messages, self.evicted_readings = connection.execute(
            "SELECT epoch, evicted_messages, evicted_readings FROM spool"
        ).fetchone()
        self._totals = _Totals(*connection.execute(_TOTALS_QUERY, (-1, _MAX_INTEGER)).fetchone())

    @property
    def waiting(self) -> int:
        """Number of messages without a receipt."""
        return self._totals.messages

    @property
    def set_aside(self) -> int:
        """Number of damaged spool files beside this one."""
        names = self._path.parent.glob(f"{self._path.name}.damaged-*")
        return sum(not one.name.endswith(("-wal", "-shm")) for one in names)

    @classmethod
    def open(cls, path: Path, settings: Settings) -> Self:
        """Open or create a spool; a damaged file is set aside. Raises `SpoolError` if it can't be written."""
        try:
            try:
                with _translated_errors():
                    return cls(path, settings)
            except SpoolDamagedError as error:
                _rename_damaged(path, error)
                with _translated_errors():
                    return cls(path, settings)
        except OSError as error:
            raise SpoolError(
                f"spool {path}: {error}; mend its folder, or move the file away (it may hold readings)"
            ) from error

    def newest(self) -> int:
        """Return the highest number given so far. Raises as `put` does."""
        with self._lock, _translated_errors():
            row = self._connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'message'"
            ).fetchone()
            return int(row[0]) if row else 0

    def _renewed(self, action: Callable[[], R]) -> R:
        """Run an action; if the file turns out to be damaged, set it aside and repeat it with a new file."""
        with self._lock:
            try:
                return action()
            except SpoolDamagedError as error:
                try:
                    _rename_damaged(self._path, error)
                except OSError as failure:
                    raise SpoolBusyError(f"the damaged spool can't be set aside: {failure}") from failure
                with suppress(sqlite3.Error):
                    self._connection.close()
                with _translated_errors():
                    self._load(_connect(self._path))
                return action()

    def put(self, messages: Sequence[SpoolEntry]) -> None:
        """Store messages; on return they are on disk, or counted as evicted.

        Raises
        ------
        SpoolBusyError
            If, for example, the disk is full: none was stored, and the same call may succeed later.
        SpoolError
            If the file can't be used at all.

        """
        self._renewed(lambda: self._put(messages))

    def _put(self, messages: Sequence[SpoolEntry]) -> None:
        columns = "payload, readings, address, properties, crc, put_s, boot, clock_offset_s"
        insert = f"INSERT INTO message ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant names
        now_s = self._clock_offset_s + time.monotonic()
        with self._lock:
            with self._transaction():
                self._connection.executemany(insert, [_row(one, now_s) for one in messages])
                totals = _Totals(
                    self._totals.messages + len(messages),
                    self._totals.size + sum(len(one.payload) for one in messages),
                    self._totals.readings + sum(one.readings for one in messages),
                )
                evicted_totals = self._evict(totals, now_s)
            self._totals = totals.minus(evicted_totals)
            self.evicted_messages += evicted_totals.messages
            self.evicted_readings += evicted_totals.readings

    def after(self, number: int, limit: int, *, up_to: int = _MAX_INTEGER) -> list[SpooledMessage]:
        """Return at most ``limit`` messages after a number, in order, without those that wait for the clock.

        Raises as `put` does.
        """

        def read() -> list[SpooledMessage]:
            with _translated_errors():
                rows = self._connection.execute(
                    "SELECT number, payload, readings, address, properties, crc FROM message"
                    " WHERE number > ? AND number <= ? AND clock_offset_s IS NULL ORDER BY number LIMIT ?",
                    (number, up_to, limit),
                ).fetchall()
            return [_spooled_message(*row) for row in rows]

        epoch = self.epoch
        messages = self._renewed(read)
        return messages if epoch == self.epoch else []  # numbers of a new file start again

    def contains(self, number: int) -> bool:
        """Whether a message is still in the spool. Raises as `put` does."""

        def read() -> bool:
            with _translated_errors():
                found = self._connection.execute(
                    "SELECT 1 FROM message WHERE number = ?", (_clamped(number),)
                )
                return found.fetchone() is not None

        return self._renewed(read)

    def forget(self, epoch: str, ranges: Iterable[tuple[int, int]]) -> int:
        """Delete closed ranges of numbers that the platform has stored; returns the readings in them.

        Raises as `put` does; nothing is deleted then.
        """
        closed_ranges = list(ranges)
        return self._renewed(lambda: self._forget(epoch, closed_ranges))

    def _forget(self, epoch: str, ranges: list[tuple[int, int]]) -> int:
        if epoch != self.epoch:
            return 0
        # A deletion that a power cut undoes costs one more publish, which the platform recognises: no fsync.
        self._connection.execute("PRAGMA synchronous=NORMAL")
        try:
            with self._transaction():
                totals = self._totals
                for first, last in ranges:
                    totals = totals.minus(self._delete(_clamped(first), _clamped(last)))
        finally:
            self._connection.execute("PRAGMA synchronous=FULL")
        totals_before, self._totals = self._totals, totals
        return totals_before.readings - totals.readings

    def re_date(self, change: Callable[[UnsetClock, bytes], ReDatedPayload]) -> int:
        """Change the payloads of the messages that wait for the clock, once; returns their number.

        They can be sent from then on. Raises as `put` does; the same call may succeed later.
        """
        return self._renewed(lambda: self._re_date(change))

    def _re_date(self, change: Callable[[UnsetClock, bytes], ReDatedPayload]) -> int:
        query = (
            "SELECT number, payload, properties, boot, clock_offset_s FROM message"
            " WHERE clock_offset_s IS NOT NULL ORDER BY number LIMIT ?"
        )
        update = (
            "UPDATE message SET payload = ?, properties = ?, crc = ?, boot = NULL, clock_offset_s = NULL"
            " WHERE number = ?"
        )
        re_dated = 0
        while True:
            with self._transaction():
                rows = self._connection.execute(query, (_RE_DATED_AT_ONCE,)).fetchall()
                growth, updates = 0, []
                for number, payload, properties, boot, offset_s in rows:
                    changed = change(UnsetClock(boot or "", offset_s), payload)
                    growth += len(changed.payload) - len(payload)
                    encoded = json.dumps([*_properties(properties), *changed.properties])
                    updates.append((changed.payload, encoded, zlib.crc32(changed.payload), number))
                self._connection.executemany(update, updates)
            self._totals = self._totals.plus(_Totals(0, growth, 0))
            re_dated += len(rows)
            if len(rows) < _RE_DATED_AT_ONCE:
                return re_dated

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

    def _evict(self, totals: _Totals, now_s: float) -> _Totals:
        """Delete messages above the limits of age and size; return their totals."""
        evicted = self._evict_by_age(now_s)
        if totals.size - evicted.size > self._settings.spool_bytes:
            evicted = evicted.plus(self._evict_by_size(totals.size - evicted.size))
        if evicted.messages:
            self._connection.execute(
                "UPDATE spool SET evicted_messages = ?, evicted_readings = ?",
                (self.evicted_messages + evicted.messages, self.evicted_readings + evicted.readings),
            )
        return evicted

    def _evict_by_age(self, now_s: float) -> _Totals:
        if not self._settings.spool_age_s or now_s < self._age_due_s:
            return _Totals(0, 0, 0)
        self._age_due_s = now_s + min(_AGE_CHECK_S, self._settings.spool_age_s)
        young = self._connection.execute(
            "SELECT number FROM message WHERE put_s = 0 OR put_s >= ? ORDER BY number LIMIT 1",
            (now_s - self._settings.spool_age_s,),
        ).fetchone()
        return self._delete(0, young[0] - 1) if young else _Totals(0, 0, 0)

    def _evict_by_size(self, size: int) -> _Totals:
        excess, evicted_numbers = size - self._settings.spool_bytes, []
        for number, message_size in self._connection.execute(_EVICTION_ORDER[self._settings.spool_evict]):
            if excess <= 0:
                break
            excess -= message_size
            evicted_numbers.append(number)
        return self._delete(min(evicted_numbers), max(evicted_numbers))

    def _delete(self, first: int, last: int) -> _Totals:
        deleted = _Totals(*self._connection.execute(_TOTALS_QUERY, (first, last)).fetchone())
        self._connection.execute("DELETE FROM message WHERE number BETWEEN ? AND ?", (first, last))
        return deleted


def count_waiting_messages(path: Path) -> int:
    """Return the number of messages in the spool of another process; 0 while there is none."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM message").fetchone()
            return int(count)
    except sqlite3.Error:  # not created yet, or locked for a moment
        return 0


def _connect(path: Path) -> sqlite3.Connection:
    """Open or create the file, and check all of it: the damage of a power cut can be in any page."""
    if path.is_file() and path.stat().st_size == 0 and Path(f"{path}-wal").exists():
        raise SpoolDamagedError("the file is empty although it has a journal")
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-512")  # KiB; a queue gains nothing by a larger one
        ((finding,), *_) = connection.execute("PRAGMA quick_check(1)").fetchall()
        if finding != "ok":
            raise SpoolDamagedError(f"the file is damaged: {finding}")  # noqa: TRY301
        connection.executescript(_SCHEMA)
        columns = {row[1] for row in connection.execute("PRAGMA table_info(message)")}
        for column, statement in _ADDED_COLUMNS.items():
            if column not in columns:
                connection.execute(statement)
        connection.execute("SELECT number, payload, readings FROM message LIMIT 0")
        if connection.execute("SELECT count(epoch), count(evicted_readings) FROM spool").fetchone() == (0, 0):
            connection.execute("INSERT INTO spool VALUES (?, 0, 0)", (secrets.token_hex(4),))
    except BaseException:
        connection.close()
        raise
    else:
        return connection


def _rename_damaged(path: Path, reason: SpoolDamagedError) -> None:
    """Set a damaged file and its journal aside, whole, and log where they are."""
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for ending in _FILE_ENDINGS:
        with suppress(FileNotFoundError):
            Path(f"{path}{ending}").rename(f"{aside}{ending}")
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    log.error("spool %s is damaged (%s): it is set aside as %s, and a new one is begun", path, reason, aside)


def _row(
    entry: SpoolEntry, now_s: float
) -> tuple[bytes, int, str, str, int, float, str | None, float | None]:
    properties = json.dumps(entry.properties) if entry.properties else _NO_PROPERTIES
    boot, offset_s = (None, None) if entry.clock is None else entry.clock
    crc = zlib.crc32(entry.payload)
    return entry.payload, entry.readings, entry.address, properties, crc, now_s, boot, offset_s


def _spooled_message(  # noqa: PLR0917 - the columns of a row
    number: int, payload: bytes, readings: int, address: str, properties: str, crc: int | None
) -> SpooledMessage:
    """Convert a row. Raises `SpoolDamagedError` if the checksum differs: SQLite has none."""
    try:
        decoded = _properties(properties)
    except ValueError as error:
        raise SpoolDamagedError(f"message {number} has unreadable properties") from error
    if crc is not None and zlib.crc32(payload) != crc:
        raise SpoolDamagedError(f"message {number} does not match its checksum")
    return SpooledMessage(number, payload, readings, address, decoded)


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
        if code in _DAMAGE_CODES:
            raise SpoolDamagedError(str(error)) from error
        raise SpoolError(
            f"the spool can't be used: {error}; move its file away (it may hold readings) and start again"
        ) from error
