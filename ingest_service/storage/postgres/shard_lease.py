"""Leases a shard to one process by a PostgreSQL advisory lock, with an epoch number as a fencing token."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import structlog

from ingest_service.storage.contract.batch import Epoch
from ingest_service.storage.contract.errors import ShardLostError, StoreError, StoreUnavailableError
from ingest_service.storage.postgres import connection_pool
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection, Cursor

    from ingest_service.storage.postgres.connection_pool import TimeLimitedConnection
    from ingest_service.storage.settings import Settings

log = structlog.get_logger()

RELEASE_S = 2.0  # a process that stops waits no longer than this for a database that does not respond
POLL_S = 0.1  # between two attempts to lock a shard: part of the time in which a standby takes over
BLOCKED_S = 1.0  # longer than a usual commit of the former owner, shorter than a device's wait for a receipt


class PostgresLease:
    """A shard owned by this process, on a connection of its own.

    The lock ends with the connection, and so with the process or the server. After a restart of the server it
    is acquired again; the lease remains valid unless another process began a new epoch in between.
    """

    def __init__(self, dsn: str, settings: Settings, connection: TimeLimitedConnection, epoch: Epoch) -> None:
        self._dsn = dsn
        self._settings = settings
        self._connection = connection
        self._released = False
        self.epoch = epoch

    def held(self) -> bool:
        """Whether this process still owns the shard. Raises `StoreUnavailableError`."""
        if self._released:
            return False
        try:
            with translated_errors():
                return self._epoch_is_current()
        except StoreUnavailableError:
            self._connection.close()
        self._connection = connection_pool.open_connection(self._dsn, self._settings)
        with translated_errors():
            return _try_lock(self._connection, self.epoch.shard) and self._epoch_is_current()

    def close(self) -> None:
        """Release the shard: when this returns, another process can acquire it."""
        self._released = True
        _release(self._connection)

    def _epoch_is_current(self) -> bool:
        epoch_row = self._connection.execute(QUERIES["shard_check"], (self.epoch.shard,)).fetchone()
        return epoch_row == (self.epoch.number,)


@contextmanager
def acquire_shard(
    dsn: str, settings: Settings, shard: str, *, wait_s: float = 0.0
) -> Iterator[PostgresLease | None]:
    """Own a shard within the context; yields None if another process still owns it after ``wait_s`` [s]."""
    connection = connection_pool.open_connection(dsn, settings)
    lease = None
    try:
        with translated_errors():
            if _lock(connection, shard, wait_s):
                number = _begin_epoch(dsn, settings, connection, shard)
                lease = PostgresLease(dsn, settings, connection, Epoch(shard, number))
        yield lease
    finally:
        if lease:
            lease.close()
        else:
            _release(connection)


def _begin_epoch(dsn: str, settings: Settings, connection: TimeLimitedConnection, shard: str) -> int:
    """Begin a new epoch; end the session of a former owner that holds it up for longer than `BLOCKED_S`."""
    timer = threading.Timer(
        BLOCKED_S, _end_blocking_sessions, args=(dsn, settings, connection.info.backend_pid)
    )
    timer.daemon = True
    timer.start()
    try:
        (number,) = connection.execute(QUERIES["shard_epoch"], (shard,)).fetchone() or (0,)
    finally:
        timer.cancel()
    return int(number)


def _end_blocking_sessions(dsn: str, settings: Settings, waiting_pid: int) -> None:
    """End the sessions that the session of a new owner waits for.

    They are of former owners, which have lost the shard's lock. A process that is frozen within a COPY keeps
    the epoch locked: its session waits for data, in which neither ``statement_timeout`` nor
    ``idle_in_transaction_session_timeout`` ends it.
    """
    try:
        with translated_errors(), connection_pool.open_connection(dsn, settings) as connection:
            (ended,) = connection.execute(QUERIES["shard_end_blockers"], (waiting_pid,)).fetchone() or (0,)
    except StoreError as error:
        log.warning("blocking_sessions_not_ended", error=str(error).strip())
    else:
        log.warning("blocking_sessions_ended", sessions=ended)


def _release(connection: TimeLimitedConnection) -> None:
    """Release the locks of a session and close it.

    Closing alone releases them only when the server's process of the session has ended, some time after
    `close` has returned.
    """
    connection.answer_s = RELEASE_S
    with suppress(psycopg.Error):
        connection.execute(QUERIES["shard_unlock"])
    connection.close()


def check_epoch(cursor: Cursor[Any], epoch: Epoch | None) -> None:
    """Lock the epoch until the transaction ends. Raises `ShardLostError` unless it is the batch's."""
    if epoch is None:
        return
    epoch_row = cursor.execute(QUERIES["shard_check"], (epoch.shard,)).fetchone()
    if epoch_row != (epoch.number,):
        raise ShardLostError(f"shard {epoch.shard!r}: epoch {epoch.number} is over, another process owns it")


def _lock(connection: Connection[Any], shard: str, wait_s: float) -> bool:
    """Lock a shard, trying for ``wait_s`` [s]; returns whether it succeeded.

    A waiting lock would be ended by ``statement_timeout``, and could not be stopped.
    """
    ends_s = time.monotonic() + wait_s
    while not _try_lock(connection, shard):
        if time.monotonic() >= ends_s:
            return False
        time.sleep(POLL_S)
    return True


def _try_lock(connection: Connection[Any], shard: str) -> bool:
    return connection.execute(QUERIES["shard_lock"], (shard,)).fetchone() == (True,)
