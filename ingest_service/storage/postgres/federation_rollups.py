"""Reads from a town's database the rollups that its county lacks, and which months have assessments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ingest_service.storage.postgres.federation_feed import merge_ranges
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ingest_service.storage.contract.federation import DueRange
    from ingest_service.storage.contract.store import Database


class ReadyRange(NamedTuple):
    """Quarters ``[since_us, ready_us)`` of a due range that are over and rolled up; it ends later [us]."""

    due_id: int
    series_id: int
    since_us: int
    ready_us: int
    until_us: int


class FederationRollups:
    """Rollups and months of a town. Methods raise the errors of the store; each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ready(self, series_ids: Collection[int], limit: int) -> list[ReadyRange]:
        """Return the quarters of due ranges of some series that can be sent, oldest first."""
        parameters = {"series_ids": list(series_ids), "limit": limit}
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["federation_rollups_due"], parameters)
            return [ReadyRange(*row) for row in rows]

    def rollups(self, ranges: Sequence[DueRange], limit: int) -> list[tuple[Any, ...]]:
        """Return at most ``limit`` rollups over 15 min in order: series, begin [us], and the columns."""
        columns: list[Any] = [list(column) for column in zip(*merge_ranges(ranges), strict=True)]
        with self._database.transaction() as connection:
            return list(connection.execute(QUERIES["federation_rollups"], (*columns, limit)))

    def months(self, limit: int) -> list[tuple[str, str]]:
        """Return the newest months that have assessments, each with a text that changes with any of them."""
        with self._database.transaction() as connection:
            return [
                (month, state) for month, state in connection.execute(QUERIES["federation_months"], (limit,))
            ]
