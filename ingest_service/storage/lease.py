"""Leases a shard to one process by a PostgreSQL advisory lock, with an epoch number as a fencing token."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ingest_service.storage import connecting
from ingest_service.storage.batch import Epoch
from ingest_service.storage.classify import classified
from ingest_service.storage.errors import ShardLost, StoreUnavailable
from ingest_service.storage.sql import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection, Cursor

    from ingest_service.storage.connecting import ImpatientConnection
    from ingest_service.storage.settings import Settings


class PostgresLease:
    """A shard owned by this process, on a connection of its own.

    The lock ends with the connection, and so with the process or the server. After a restart of the server it
    is acquired again; the lease remains valid unless another process began a new epoch in between.
    """

    def __init__(self, dsn: str, settings: Settings, connection: ImpatientConnection, epoch: Epoch) -> None:
        self._dsn = dsn
        self._settings = settings
        self._connection = connection
        self._let_go = False
        self.epoch = epoch

    def held(self) -> bool:
        """Whether this process still owns the shard. Raises `StoreUnavailable`."""
        if self._let_go:
            return False
        try:
            with classified():
                return self._epoch_is_mine()
        except StoreUnavailable:
            self._connection.close()
        self._connection = connecting.connect(self._dsn, self._settings)
        with classified():
            return _lock(self._connection, self.epoch.shard) and self._epoch_is_mine()

    def close(self) -> None:
        """Release the shard."""
        self._let_go = True
        self._connection.close()

    def _epoch_is_mine(self) -> bool:
        found = self._connection.execute(QUERIES["shard_check"], (self.epoch.shard,)).fetchone()
        return found == (self.epoch.number,)


@contextmanager
def taken(dsn: str, settings: Settings, shard: str) -> Iterator[PostgresLease | None]:
    """Own a shard within the context; yields None if another process owns it."""
    connection = connecting.connect(dsn, settings)
    lease = None
    try:
        with classified():
            if _lock(connection, shard):
                (number,) = connection.execute(QUERIES["shard_epoch"], (shard,)).fetchone() or (0,)
                lease = PostgresLease(dsn, settings, connection, Epoch(shard, int(number)))
        yield lease
    finally:
        (lease or connection).close()


def check(cursor: Cursor[Any], epoch: Epoch | None) -> None:
    """Raise `ShardLost` unless the batch's epoch is current; locks the epoch until the transaction ends."""
    if epoch is None:
        return
    found = cursor.execute(QUERIES["shard_check"], (epoch.shard,)).fetchone()
    if found != (epoch.number,):
        raise ShardLost(f"shard {epoch.shard!r}: epoch {epoch.number} is over, another process owns it")


def _lock(connection: Connection[Any], shard: str) -> bool:
    return connection.execute(QUERIES["shard_lock"], (shard,)).fetchone() == (True,)
