"""Counts the readings in the database, to verify a replay of recorded files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.store import Database

ROUNDING_LEEWAY_S = 1e-3  # a time as a float differs from the time in microseconds by less


def count_readings_between(database: Database, series_ids: Sequence[int], from_s: float, to_s: float) -> int:
    """Count the readings of some series measured in ``[from_s, to_s]`` [s]. Raises the store's errors."""
    parameters = {
        "series_ids": list(series_ids),
        "from_s": from_s - ROUNDING_LEEWAY_S,
        "to_s": to_s + ROUNDING_LEEWAY_S,
    }
    with database.run_query(QUERIES["readings_between"], parameters) as cursor:
        return int((cursor.fetchone() or (0,))[0])
