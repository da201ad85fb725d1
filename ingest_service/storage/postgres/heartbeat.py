"""Writes the heartbeat of a process to PostgreSQL: a row, and an advisory lock held by the process."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg

from ingest_service.storage.health.processes import RESTART_WINDOW_S, ROW_EXPIRY_S
from ingest_service.storage.postgres import connection_pool
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from ingest_service.storage.health.processes import HealthLimits, HeartbeatReport, ProcessIdentity
    from ingest_service.storage.postgres.connection_pool import TimeLimitedConnection
    from ingest_service.storage.settings import Settings

ANSWER_TIMEOUT_S = 4  # half of the time after which a process without a heartbeat counts as absent
APPLICATION_NAME = "towntwin heartbeat"


class PostgresHeartbeat:
    """`ingest_service.storage.health.processes.Heartbeat` on a connection of its own.

    A busy pool does not delay it, and its lock ends with the process. This distinguishes a process that was
    killed (no lock) from one that hangs (lock, but no heartbeat).
    """

    def __init__(self, dsn: str, settings: Settings, identity: ProcessIdentity, limits: HealthLimits) -> None:
        self._dsn = dsn
        self._settings = msgspec.structs.replace(
            settings,
            answer_timeout_s=float(ANSWER_TIMEOUT_S),
            statement_timeout_s=ANSWER_TIMEOUT_S,
            connect_timeout_s=ANSWER_TIMEOUT_S,
        )
        self._identity = identity
        self._limits = limits
        self._connection: TimeLimitedConnection | None = None
        self._id: int | None = None

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

    def _connected(self) -> TimeLimitedConnection:
        if self._connection is None or self._connection.closed:
            connection = connection_pool.open_connection(self._dsn, self._settings, name=APPLICATION_NAME)
            if self._id is not None:
                with translated_errors():
                    connection.execute(QUERIES["heartbeat_lock"], (self._id,))
            self._connection = connection
        return self._connection

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
        self._id = heartbeat_id
