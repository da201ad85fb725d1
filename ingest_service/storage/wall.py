"""The wall in the database: transactions that see one area's rows and nothing else, whatever they ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from psycopg import sql

from ingest_service.storage.sql import QUERIES

if TYPE_CHECKING:
    from typing import LiteralString

    from psycopg import Connection

log = structlog.get_logger()

EVERYTHING = "*"
"""The scope of whoever is bound to no area."""


class Wall:
    """Steps behind the wall; a database whose migrating user could not build it has none; that is said."""

    def __init__(self) -> None:
        self._there: bool | None = None
        self._sees_all = False

    def is_open_to(self, area: str | None) -> bool:
        """Whether it is known that there is nothing to step behind."""
        return area is None or self._there is False or (self._sees_all and area == EVERYTHING)

    def behind(self, begin: LiteralString, connection: Connection[Any], area: str | None) -> sql.Composed:
        """What begins a transaction that sees from an area (several joined by commas) to its end.

        Whoever sees everything stays in front of a wall that is not in the way: a query costs less there.
        """
        if self._there is None and area is not None:
            found = connection.execute(QUERIES["wall_there"]).fetchone()
            self._there, self._sees_all = found or (False, False)
            if not self._there:
                log.warning("no_wall_in_the_database", action="see docs/access.md")
        if self.is_open_to(area):
            return sql.Composed([sql.SQL(begin)])
        enter = sql.SQL(QUERIES["wall_enter"]).format(area=sql.Literal(area))
        return sql.SQL("{}; {}").format(sql.SQL(begin), enter)  # in one round trip
