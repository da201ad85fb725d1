"""The wall in the database: who asks from an area sees the rows of that area, whatever is asked for.

The area of a transaction is a setting of the session, which any statement may change. So each session of the
database gets a random key before its first step behind the wall, which no statement of it can read or
replace, and the database takes an area as set only with a signature by that key (decision 0029).
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

from ingest_service.storage.classify import classified
from ingest_service.storage.sql import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from psycopg import Connection, Cursor
    from psycopg_pool import ConnectionPool

    from ingest_service.storage.connecting import ImpatientConnection

log = structlog.get_logger()

EVERYTHING = "*"
"""The scope of whoever is bound to no area."""


class Wall:
    """Tells who steps behind it; a database has none where its migrating user could not build it."""

    def __init__(self) -> None:
        self._there: bool | None = None
        self._sees_all = False
        self._is_signed = False

    def stands_before(self, connection: Connection[Any], area: str | None) -> bool:
        """Whether whoever asks from an area (several joined by commas) has to step behind it.

        Whoever sees everything stays in front of a wall that is not in the way: a query costs less there.
        """
        if self._there is None and area is not None:
            found = connection.execute(QUERIES["wall_there"]).fetchone()
            self._there, self._sees_all, self._is_signed = found or (False, False, False)
            if not self._there:
                log.warning("no_wall_in_the_database", action="see docs/access.md")
            elif not self._is_signed:
                log.warning("scopes_are_not_signed", action="see docs/access.md")
        return area is not None and bool(self._there) and not (self._sees_all and area == EVERYTHING)

    def prepare(self, connection: ImpatientConnection) -> None:
        """Give a session its key, if it has none, outside of any transaction."""
        if self._is_signed and connection.wall_key is None:
            key = secrets.token_bytes(32)
            connection.execute(QUERIES["begin_wall"], (key,))
            connection.wall_key = key


class Walled:
    """Lends connections of a pool, each behind the wall of an area; their errors are `StoreError`."""

    def __init__(self, pool: ConnectionPool[ImpatientConnection], wall: Wall, area: str | None) -> None:
        self._pool = pool
        self._wall = wall
        self._area = area

    @contextmanager
    def transaction(self, *, frozen: bool = False, in_order: bool = False) -> Iterator[Connection[Any]]:
        """A connection in one transaction.

        Parameters
        ----------
        frozen : all statements read one snapshot
        in_order : the planner reads by index alone, so that a page ends where it is full (see `asked`)

        """
        begin = QUERIES["begin_frozen" if frozen else "begin"]
        with classified(), self._pool.connection() as connection:  # which commits at its end, or rolls back
            if self._wall.stands_before(connection, self._area):
                self._wall.prepare(connection)
                with connection.pipeline():  # in one round trip
                    connection.execute(begin)
                    self._step_behind(connection, in_order=in_order)
            else:
                connection.execute(begin)
            yield connection

    @contextmanager
    def asked(
        self, query: LiteralString, parameters: Any = None, *, in_order: bool = False, **options: Any
    ) -> Iterator[Cursor[Any]]:
        """What a single statement finds, of one moment; ``options`` are `Cursor.execute`'s.

        ``in_order`` is for statements that read a page of rows in the order of an index. Behind the wall the
        planner does not know that the page ends early, and would rather read and sort a whole series.
        """
        with classified(), self._pool.connection() as connection, connection.cursor(binary=True) as cursor:
            if self._wall.stands_before(connection, self._area):
                self._wall.prepare(connection)
                with connection.pipeline():  # what is sent in one piece is one transaction
                    self._step_behind(connection, in_order=in_order)
                    cursor.execute(query, parameters, **options)
            else:
                cursor.execute(query, parameters, **options)
            yield cursor

    def _step_behind(self, connection: ImpatientConnection, *, in_order: bool) -> None:
        """To the end of the transaction."""
        name = "wall_enter_in_order" if in_order else "wall_enter"
        connection.execute(QUERIES[name], scope(self._area or "", connection.wall_key))


def scope(area: str, key: bytes | None) -> dict[str, str]:
    """The parameters of a step behind the wall: an area, and its signature by the key of the session."""
    return {"area": area, "signature": "" if key is None else hashlib.sha256(key + area.encode()).hexdigest()}
