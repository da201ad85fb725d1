"""Reads a streaming replica: how far it has replayed the primary's log, and queries from then on.

A transaction that a snapshot of the primary contains was flushed to the primary's log before. So a replica
that has replayed the log up to its end at that time contains at least what the snapshot contains.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ingest_service.storage.postgres import connection_pool
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.query_api import Snapshot, parse_snapshot
from ingest_service.storage.postgres.row_level_security import ALL_AREAS, RowLevelSecurity
from ingest_service.storage.postgres.sqlstate import translated_errors
from ingest_service.storage.postgres.store import PostgresStore

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Database
    from ingest_service.storage.postgres.connection_pool import TimeLimitedConnection
    from ingest_service.storage.settings import Settings

ANSWER_S = 2.0  # longest wait for one answer about the replica's progress
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.02  # between two looks at the replica's progress


class PrimaryPosition(NamedTuple):
    """A snapshot of the primary, and the end of its flushed log as of then or later [bytes]."""

    snapshot: Snapshot
    log_end: int


class ReplicaPosition(NamedTuple):
    """How far a server has replayed the log [bytes]; whether it is a standby, and of which database."""

    replayed: int
    is_standby: bool
    database: str
    is_restricted: bool
    """Whether its user may not read all rows; row-level security can't be used there to restrict them."""


def primary_position(database: Database) -> PrimaryPosition:
    """Return a snapshot of the primary with the log's end. Raises as the store does."""
    with database.run_query(QUERIES["snapshot_and_log_end"]) as cursor:
        snapshot_text, log_end = cursor.fetchone() or ("", 0)
        return PrimaryPosition(parse_snapshot(snapshot_text, cursor.connection), int(log_end))


def log_end(database: Database) -> int:
    """Return the end of the primary's flushed log [bytes]. Raises as the store does."""
    with database.run_query(QUERIES["log_end"]) as cursor:
        return int((cursor.fetchone() or (0,))[0])


class Replica:
    """Connections to a streaming replica.

    Parameters
    ----------
    dsn : address of the replica, with a user that may read all rows
    settings : of the connections

    """

    def __init__(self, dsn: str, settings: Settings) -> None:
        self._dsn = dsn
        self._position_settings = msgspec.structs.replace(
            settings,
            answer_timeout_s=ANSWER_S,
            statement_timeout_s=max(1, int(ANSWER_S)),
            connect_timeout_s=2,
        )
        self._pool = connection_pool.open_pool(dsn, settings)
        self._row_level_security = RowLevelSecurity()
        self._position_connection: TimeLimitedConnection | None = None
        self.database: Database = PostgresStore(
            dsn, self._pool, settings, area=ALL_AREAS, row_level_security=self._row_level_security
        )
        """Its queries see every area: for principals that are restricted to none."""

    def position(self) -> ReplicaPosition:
        """Return the position, on a connection of its own; for one thread. Raises as the store does."""
        try:
            if self._position_connection is None:
                self._position_connection = connection_pool.open_connection(
                    self._dsn, self._position_settings
                )
            connection = self._position_connection
            with translated_errors():
                replayed, is_standby, database, may_read = connection.execute(
                    QUERIES["replica_position"]
                ).fetchone() or (0, False, "", False)
                is_restricted = not may_read or self._row_level_security.restricts(connection, ALL_AREAS)
        except BaseException:
            self._close_position_connection()
            raise
        return ReplicaPosition(int(replayed), is_standby, database, is_restricted)

    def has_replayed(self, log_end: int, *, within_s: float) -> bool:
        """Whether the replica has replayed the log up to a position, after a wait of up to ``within_s``.

        Raises `StoreUnavailableError` where it does not answer.
        """
        ends_s, pause_s = time.monotonic() + within_s, FIRST_PAUSE_S
        with translated_errors(), self._pool.connection(timeout=within_s) as connection:
            answer_s, connection.answer_s = connection.answer_s, ANSWER_S
            try:
                while True:
                    row = connection.execute(QUERIES["has_replayed"], (log_end,)).fetchone()
                    if row == (True,):
                        return True
                    if time.monotonic() + pause_s > ends_s:
                        return False
                    time.sleep(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            finally:
                connection.answer_s = answer_s

    def close(self) -> None:
        """Close every connection."""
        self._close_position_connection()
        self._pool.close()

    def _close_position_connection(self) -> None:
        if self._position_connection is not None:
            self._position_connection.close()
            self._position_connection = None
