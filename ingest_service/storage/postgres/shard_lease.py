"""Leases a shard to one process by a PostgreSQL advisory lock, with an epoch number as a fencing token."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ingest_service.storage.contract.batch import Epoch
from ingest_service.storage.contract.errors import ShardLostError, StoreUnavailableError
from ingest_service.storage.postgres import connection_pool
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection, Cursor

    from ingest_service.storage.postgres.connection_pool import TimeLimitedConnection
    from ingest_service.storage.settings import Settings


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
        """Release the shard."""
        self._released = True
        self._connection.close()

    def _epoch_is_current(self) -> bool:
        epoch_row = self._connection.execute(QUERIES["shard_check"], (self.epoch.shard,)).fetchone()
        return epoch_row == (self.epoch.number,)


@contextmanager
def acquire_shard(dsn: str, settings: Settings, shard: str) -> Iterator[PostgresLease | None]:
    """Own a shard within the context; yields None if another process owns it."""
    connection = connection_pool.open_connection(dsn, settings)
    lease = None
    try:
        with translated_errors():
            if _try_lock(connection, shard):
                (number,) = connection.execute(QUERIES["shard_epoch"], (shard,)).fetchone() or (0,)
                lease = PostgresLease(dsn, settings, connection, Epoch(shard, int(number)))
        yield lease
    finally:
        (lease or connection).close()


def check_epoch(cursor: Cursor[Any], epoch: Epoch | None) -> None:
    """Lock the epoch until the transaction ends. Raises `ShardLostError` unless it is the batch's."""
    if epoch is None:
        return
    epoch_row = cursor.execute(QUERIES["shard_check"], (epoch.shard,)).fetchone()
    if epoch_row != (epoch.number,):
        raise ShardLostError(f"shard {epoch.shard!r}: epoch {epoch.number} is over, another process owns it")


def _try_lock(connection: Connection[Any], shard: str) -> bool:
    return connection.execute(QUERIES["shard_lock"], (shard,)).fetchone() == (True,)
