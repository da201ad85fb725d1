"""Writes the heartbeat of a process to PostgreSQL, a row and an advisory lock, and reads all processes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from psycopg.rows import dict_row

from ingest_service.storage.health.processes import (
    READ_TIMEOUT_S,
    RESTART_WINDOW_S,
    ROW_EXPIRY_S,
    ProcessInfo,
)
from ingest_service.storage.postgres import connection_pool
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from ingest_service.storage.health.processes import HealthLimits, HeartbeatReport, ProcessIdentity
    from ingest_service.storage.postgres.connection_pool import TimeLimitedConnection
    from ingest_service.storage.settings import Settings

ANSWER_TIMEOUT_S = 3  # two attempts fit into the time after which a process counts as absent
APPLICATION_NAME = "towntwin heartbeat"
READER_APPLICATION_NAME = "towntwin health"


class PostgresHeartbeat:
    """`ingest_service.storage.health.processes.Heartbeat` on a connection of its own.

    A busy pool does not delay it, and its lock ends with the process. This distinguishes a process that was
    killed (no lock) from one that hangs (lock, but no heartbeat).
    """

    def __init__(self, dsn: str, settings: Settings, identity: ProcessIdentity, limits: HealthLimits) -> None:
        self._dsn = dsn
        self._settings = _with_time_limit(settings, ANSWER_TIMEOUT_S)
        self._identity = identity
        self._limits = limits
        self._connection: TimeLimitedConnection | None = None
        self._id: int | None = None
        self._holds_lock = False

    def beat(self, report: HeartbeatReport) -> None:
        """Write a report of the process; inserts the row first if it does not exist."""
        connection = self._connected()
        with translated_errors():
            if self._id is not None:
                parameters = msgspec.structs.asdict(report) | {
                    "heartbeat_id": self._id,
                    "forgive_s": RESTART_WINDOW_S,
                }
                if connection.execute(QUERIES["heartbeat_beat"], parameters).rowcount:
                    self._lock(connection)
                    return
            self._register(connection)
        self.beat(report)

    def end(self) -> None:
        """Delete the row."""
        if self._id is not None:
            with translated_errors():
                self._connected().execute(QUERIES["heartbeat_end"], (self._id,))
        self.close()

    def close(self) -> None:
        """Close the connection, which releases the lock."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None
        self._holds_lock = False

    def _connected(self) -> TimeLimitedConnection:
        if self._connection is None or self._connection.closed:
            self._holds_lock = False
            self._connection = connection_pool.open_connection(
                self._dsn, self._settings, name=APPLICATION_NAME
            )
        return self._connection

    def _lock(self, connection: TimeLimitedConnection) -> None:
        """Acquire the lock if it is not held yet: the session of a frozen server may hold it for a while."""
        if not self._holds_lock:
            (self._holds_lock,) = connection.execute(QUERIES["heartbeat_lock"], (self._id,)).fetchone() or (
                False,
            )

    def _register(self, connection: TimeLimitedConnection) -> None:
        """Insert the row and take its lock in one transaction, so that none is visible without the other."""
        parameters: dict[str, Any] = msgspec.structs.asdict(self._identity) | msgspec.structs.asdict(
            self._limits
        )
        with connection.transaction():
            id_row = connection.execute(
                QUERIES["heartbeat_begin"], parameters | {"forgive_s": RESTART_WINDOW_S}
            ).fetchone()
            (heartbeat_id,) = id_row or (None,)
            connection.execute(QUERIES["heartbeat_lock"], (heartbeat_id,))
            connection.execute(QUERIES["heartbeat_expire"], (ROW_EXPIRY_S,))
        self._id, self._holds_lock = heartbeat_id, True


class PostgresProcessReader:
    """`ingest_service.storage.health.processes.ProcessReader` on a connection of its own.

    Neither a busy pool nor the pool's long time limits delay it, and it connects again at the next read.
    """

    def __init__(self, dsn: str, settings: Settings) -> None:
        self._dsn = dsn
        self._settings = _with_time_limit(settings, int(READ_TIMEOUT_S))
        self._connection: TimeLimitedConnection | None = None

    def processes(self) -> list[ProcessInfo]:
        """Return every process of the platform and its state; ends within `READ_TIMEOUT_S` per step."""
        if self._connection is None or self._connection.closed:
            self._connection = connection_pool.open_connection(
                self._dsn, self._settings, name=READER_APPLICATION_NAME
            )
        with translated_errors(), self._connection.cursor(row_factory=dict_row) as cursor:
            return msgspec.convert(cursor.execute(QUERIES["processes"]).fetchall(), list[ProcessInfo])

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def _with_time_limit(settings: Settings, limit_s: int) -> Settings:
    """Return settings with one time limit [s] for connecting and for each statement."""
    return msgspec.structs.replace(
        settings, answer_timeout_s=float(limit_s), statement_timeout_s=limit_s, connect_timeout_s=limit_s
    )
