"""Restricts transactions to an area scope by PostgreSQL row-level security.

The area scope of a transaction is a session setting, which any statement can change. So each database session
gets a random key before its first restricted transaction, which no statement can read or replace, and the
database accepts a scope only with a signature by that key (decision 0029).
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from psycopg import Connection, Cursor
    from psycopg_pool import ConnectionPool

    from ingest_service.storage.postgres.connection_pool import TimeLimitedConnection

log = structlog.get_logger()

ALL_AREAS = "*"
"""Scope of a principal that is not restricted to areas."""


class RowLevelSecurity:
    """State of row-level security in a database; absent if the migrating user had no right to install it."""

    def __init__(self) -> None:
        self._is_installed: bool | None = None
        self._reads_all_rows = False
        self._is_signed = False
        self._is_reported = False

    def restricts(self, connection: Connection[Any], area: str | None) -> bool:
        """Whether a transaction with this area scope (areas joined by commas) has to be restricted.

        Unrestricted scopes skip it if the user sees all rows without it, for their queries are faster then.
        """
        if self._is_installed is None and area is not None:
            found = connection.execute(QUERIES["row_level_security_state"]).fetchone()
            self._is_installed, self._reads_all_rows, self._is_signed = found or (False, False, False)
        # A scope of all areas needs no restriction, and processes without the gateway's role have no other.
        if not self._is_reported and area not in {None, ALL_AREAS}:
            self._is_reported = True
            if not self._is_installed:
                log.warning("row_level_security_missing", action="see docs/access.md")
            elif not self._is_signed:
                log.warning("scopes_are_not_signed", action="see docs/access.md")
        return (
            area is not None and bool(self._is_installed) and not (self._reads_all_rows and area == ALL_AREAS)
        )

    def register_scope_key(self, connection: TimeLimitedConnection) -> None:
        """Set the key of a session, if it has none, outside of any transaction."""
        if self._is_signed and connection.scope_key is None:
            key = secrets.token_bytes(32)
            connection.execute(QUERIES["register_scope_key"], (key,))
            connection.scope_key = key


class AreaScopedConnections:
    """Provides pooled connections restricted to an area scope; their errors are `StoreError`."""

    def __init__(
        self,
        pool: ConnectionPool[TimeLimitedConnection],
        row_level_security: RowLevelSecurity,
        area: str | None,
    ) -> None:
        self._pool = pool
        self._row_level_security = row_level_security
        self._area = area

    @contextmanager
    def transaction(self, *, frozen: bool = False, in_order: bool = False) -> Iterator[Connection[Any]]:
        """Open a connection in one transaction.

        Parameters
        ----------
        frozen : all statements read one snapshot
        in_order : the planner uses index scans only, so that a page ends when it is full (see `run_query`)

        """
        begin = QUERIES["begin_frozen" if frozen else "begin"]
        with translated_errors(), self._pool.connection() as connection:  # commits or rolls back at its end
            if self._row_level_security.restricts(connection, self._area):
                self._row_level_security.register_scope_key(connection)
                with connection.pipeline():  # in one round trip
                    connection.execute(begin)
                    self._set_area_role(connection, in_order=in_order)
            else:
                connection.execute(begin)
            yield connection

    @contextmanager
    def run_query(
        self, query: LiteralString, parameters: Any = None, *, in_order: bool = False, **options: Any
    ) -> Iterator[Cursor[Any]]:
        """Run a single statement in its own transaction; ``options`` are passed to `psycopg.Cursor.execute`.

        ``in_order`` is for statements that read a page of rows in the order of an index. With row-level
        security the planner ignores that the page ends early, and would read and sort a whole series.
        """
        with (
            translated_errors(),
            self._pool.connection() as connection,
            connection.cursor(binary=True) as cursor,
        ):
            if self._row_level_security.restricts(connection, self._area):
                self._row_level_security.register_scope_key(connection)
                with connection.pipeline():  # one pipeline is one implicit transaction
                    self._set_area_role(connection, in_order=in_order)
                    cursor.execute(query, parameters, **options)
            else:
                cursor.execute(query, parameters, **options)
            yield cursor

    def _set_area_role(self, connection: TimeLimitedConnection, *, in_order: bool) -> None:
        """Set the area scope until the end of the transaction."""
        name = "set_area_role_in_order" if in_order else "set_area_role"
        connection.execute(QUERIES[name], signed_scope(self._area or "", connection.scope_key))


def signed_scope(area: str, key: bytes | None) -> dict[str, str]:
    """Build the parameters that set an area scope: the area, and its signature by the session's key."""
    return {"area": area, "signature": "" if key is None else hashlib.sha256(key + area.encode()).hexdigest()}
