"""Stores the limits that engineers adopt for a series in place of the site file's, and their history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from psycopg.types.json import Jsonb

from ingest_service.storage.postgres import read_rows
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from ingest_service.storage.contract.store import Database


class LimitChange(msgspec.Struct, frozen=True, kw_only=True):
    """Limits adopted for a series, replacing all earlier ones; empty ``limits`` restore the site file's."""

    adoption_id: int
    series_id: int
    limits: dict[str, float | None]  # None disables the limit
    who: str
    note: str
    at_s: float


class LimitChangeLog:
    """Adopted limits in the database. Methods raise the errors of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def adopt(self, series_id: int, limits: Mapping[str, float | None], *, who: str, note: str) -> bool:
        """Set the adopted limits of a series; returns False if there is no such series.

        The directory's version grows, so ingest applies them within seconds.
        """
        with self._database.transaction() as connection:
            return adopt_limits(connection, series_id, limits, who=who, note=note)

    def of(self, series_id: int) -> list[LimitChange]:
        """Return every adoption of a series, oldest first."""
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "adoptions", (series_id,), LimitChange)


def adopt_limits(
    connection: Connection[Any], series_id: int, limits: Mapping[str, float | None], *, who: str, note: str
) -> bool:
    """Set the adopted limits of a series in an open transaction; returns False if there is no such series."""
    row = {"series_id": series_id, "limits": Jsonb(dict(limits)), "who": who, "note": note}
    if not connection.execute(QUERIES["adopt_limits"], row).rowcount:
        return False
    connection.execute(QUERIES["insert_adoption"], row)
    connection.execute(QUERIES["directory_changed"])
    return True
