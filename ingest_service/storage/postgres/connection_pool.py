"""Opens PostgreSQL connections and pools that time out on a server or network that does not respond."""

from __future__ import annotations

import select
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import psycopg
import structlog
from psycopg import Connection
from psycopg_pool import ConnectionPool
from psycopg_pool.base import AttemptWithBackoff

from ingest_service.storage.contract.errors import StoreUnavailableError
from ingest_service.storage.postgres import migrate
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from psycopg.abc import RV, PQGen

    from ingest_service.storage.settings import Settings

log = structlog.get_logger()

RETRY_S = 0.5
LOG_INTERVAL_S = 5.0
POOL_WAIT_S = 10.0
FIRST_RECONNECT_S = 0.1  # of the pool, doubled at each attempt; its own first pause of 1 s outlasts a restart
WAIT_STEP_S = 0.1


class TimeLimitedConnection(Connection[Any]):
    """A connection with a client-side timeout for a server, or a network, that does not respond.

    ``statement_timeout`` is enforced by the server, and has no effect when the server can't be reached.
    """

    answer_s: float = 120.0
    scope_key: bytes | None = None
    """Key with which this session signs its area scopes; see `row_level_security`."""

    @classmethod
    def connect(cls, *args: Any, answer_s: float = 120.0, **kwargs: Any) -> Self:  # type: ignore[override]
        """Connect; ``answer_s`` is the longest wait for one response [s]."""
        connection = super().connect(*args, **kwargs)
        connection.answer_s = answer_s
        return connection

    def wait(self, gen: PQGen[RV], interval: float = WAIT_STEP_S, timeout: float | None = None) -> RV:
        """Wait for a response; on timeout the connection is closed, for its state is undefined.

        A connection that refuses a write is closed, too: a session keeps the database's read-only mode of its
        begin, though that has ended since.

        Raises
        ------
        psycopg.OperationalError
            On timeout, or if the connection broke.

        """
        began_s = time.monotonic()
        limit_s = self.answer_s if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit_s)
        except psycopg.errors.ReadOnlySqlTransaction:
            self.pgconn.finish()
            raise
        except psycopg.OperationalError as error:
            if error.sqlstate is None and time.monotonic() - began_s >= limit_s and timeout is None:
                self._abandon()
                raise psycopg.OperationalError(f"the database did not answer within {limit_s:g} s") from error
            raise

    def _abandon(self) -> None:
        """Close, and terminate the server's backend too: an aborted COPY would hold its locks for long."""
        connection_info = {one.keyword.decode(): one.val.decode() for one in self.pgconn.info if one.val}
        pid = self.pgconn.backend_pid
        self.pgconn.finish()
        threading.Thread(
            target=_terminate_backend, args=(connection_info, pid), daemon=True, name="end_session"
        ).start()


def _terminate_backend(connection_info: dict[str, Any], pid: int) -> None:
    with suppress(psycopg.Error), psycopg.connect(**connection_info, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", (pid,))


def connection_arguments(settings: Settings, name: str = "towntwin") -> dict[str, Any]:
    """Build the arguments of every connection; ``name`` is its application name on the server."""
    options = {
        "timezone": "UTC",
        "statement_timeout": f"{settings.statement_timeout_s}s",
        "synchronous_commit": "on",
        "jit": "off",  # with one chunk per week, compiling a query takes longer than running it
        "max_parallel_workers_per_gather": "0",  # and starting workers takes longer than reading a page
        # The server ends the session of an unreachable client, and so releases its locks.
        "idle_in_transaction_session_timeout": f"{settings.answer_timeout_s:.3f}s",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }
    return {
        "connect_timeout": settings.connect_timeout_s,
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        "answer_s": settings.answer_timeout_s,
        "application_name": name,
    }


def open_connection(dsn: str, settings: Settings, *, name: str = "towntwin") -> TimeLimitedConnection:
    """Open one connection, in autocommit. Raises `StoreUnavailableError`, `StoreRefusedError`."""
    with translated_errors():
        return TimeLimitedConnection.connect(dsn, autocommit=True, **connection_arguments(settings, name))


def open_pool(dsn: str, settings: Settings) -> ConnectionPool[TimeLimitedConnection]:
    """Open a pool that checks each connection before use; connections are in autocommit.

    The pool retries while a caller waits for a connection, and restarts its back-off with the next caller. By
    default psycopg_pool doubles its pause for five minutes, and detects a restarted database minutes late.
    """
    AttemptWithBackoff.INITIAL_DELAY = FIRST_RECONNECT_S  # of all pools of a process: not a parameter
    return ConnectionPool(
        dsn,
        connection_class=TimeLimitedConnection,
        kwargs={"autocommit": True, **connection_arguments(settings)},
        min_size=1,
        max_size=settings.connections,
        timeout=min(POOL_WAIT_S, settings.answer_timeout_s),
        reconnect_timeout=POOL_WAIT_S,
        check=_check_alive,
        open=True,
    )


def _check_alive(connection: Connection[Any]) -> None:
    """Check a connection with unread input, which is usually the server's notice of its shutdown.

    Without unread input no round trip is made.

    Raises
    ------
    psycopg.OperationalError
        If the connection is broken.

    """
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    if poller.poll(0):
        ConnectionPool.check_connection(connection)


def wait_until_ready(dsn: str, settings: Settings, stop: threading.Event, wait_s: float) -> None:
    """Wait until the database responds and has the schema of this version; logs every few seconds.

    Raises
    ------
    StoreUnavailableError
        After ``wait_s``, or when ``stop`` is set.
    StoreRefusedError
        If the database refuses this user, or its schema is not of this version.

    """
    began_s = logged_s = time.monotonic()
    while True:
        try:
            with open_connection(dsn, settings) as connection, translated_errors():
                migrate.check_schema_version(connection)
                return
        except StoreUnavailableError as error:
            now_s = time.monotonic()
            if now_s - began_s >= wait_s:
                raise
            if now_s - logged_s >= LOG_INTERVAL_S or logged_s == began_s:
                logged_s = now_s
                log.warning("database_away", error=str(error), action="waiting for it")
            if stop.wait(RETRY_S):
                raise
