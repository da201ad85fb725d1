"""The wall in the database: who asks from an area sees the rows of that area, whatever is asked for."""

from __future__ import annotations

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

    def stands_before(self, connection: Connection[Any], area: str | None) -> bool:
        """Whether whoever asks from an area (several joined by commas) has to step behind it.

        Whoever sees everything stays in front of a wall that is not in the way: a query costs less there.
        """
        if self._there is None and area is not None:
            found = connection.execute(QUERIES["wall_there"]).fetchone()
            self._there, self._sees_all = found or (False, False)
            if not self._there:
                log.warning("no_wall_in_the_database", action="see docs/access.md")
        return area is not None and bool(self._there) and not (self._sees_all and area == EVERYTHING)


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
                with connection.pipeline():  # what is sent in one piece is one transaction
                    self._step_behind(connection, in_order=in_order)
                    cursor.execute(query, parameters, **options)
            else:
                cursor.execute(query, parameters, **options)
            yield cursor

    def _step_behind(self, connection: Connection[Any], *, in_order: bool) -> None:
        """To the end of the transaction."""
        name = "wall_enter_in_order" if in_order else "wall_enter"
        connection.execute(QUERIES[name], {"area": self._area})
