"""Reads from a town's database what its county lacks, and notes what the county has confirmed.

Readings are read as they are when they are sent, by the ranges of `federation_due`, so a second copy of
them is never kept. Ranges may be read twice, after a crash; the county recognises the repeats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ingest_service.storage.contract.federation import DueRange, FeedPosition
from ingest_service.storage.contract.models import READING
from ingest_service.storage.postgres import binary_copy, shard_lease
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from ingest_service.storage.contract.batch import Epoch
    from ingest_service.storage.contract.store import Database

LIVE_S: Final = 60.0
"""Age up to which a change counts as live, and is sent before older ones [s]."""
MAX_RANGES: Final = 10_000
"""Number of waiting ranges above which those that touch are merged."""


class FederationFeed:
    """The change feed of a town. Methods raise the errors of the store; each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, history_days: float) -> bool:
        """Begin to note changes; the first time, what was stored before is due. Returns whether it was."""
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES["federation_begin"], (history_days,)).fetchone()
        return row is not None and bool(row[0])

    def end(self) -> None:
        """Stop noting changes, and forget what waits and what was confirmed."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["federation_end"])
            connection.execute(QUERIES["federation_forget"])

    def platforms(self, areas: Collection[str]) -> list[str]:
        """Return the ids of this platform, and of those by which came what it has received for some areas."""
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["passed_platforms"], (list(areas),))
            return [platform for (platform,) in rows]

    def position(self) -> FeedPosition:
        """Return how far the county has confirmed anomalies and incidents."""
        with self._database.transaction() as connection:
            return FeedPosition(*(connection.execute(QUERIES["federation_position"]).fetchone() or (0, 0)))

    def due(self, limit: int, *, live: bool, without: Collection[int] = ()) -> list[DueRange]:
        """Return live ranges, newest first, or the others, oldest first; ``without`` those of some series."""
        query = "federation_due_newest" if live else "federation_due_oldest"
        with self._database.transaction() as connection:
            return [
                DueRange(*row) for row in connection.execute(QUERIES[query], (LIVE_S, list(without), limit))
            ]

    def readings(self, ranges: Sequence[DueRange], limit: int) -> NDArray[np.void]:
        """Return at most ``limit`` READING rows of some ranges by series and time, each once."""
        merged = merge_ranges(ranges)
        columns: list[Any] = [list(column) for column in zip(*merged, strict=True)] or [[], [], []]
        with (
            self._database.transaction() as connection,
            connection.cursor() as cursor,
            cursor.copy(QUERIES["federation_readings"], (*columns, limit)) as copy,
        ):
            blocks = list(binary_copy.decode_copy(copy))
        return np.concatenate(blocks) if blocks else np.empty(0, READING)

    def confirm(
        self,
        done: Sequence[int],
        shortened: Sequence[DueRange],
        position: FeedPosition,
        epoch: Epoch | None,
        *,
        results: Sequence[str] = (),
    ) -> None:
        """Note what the county has confirmed. Raises `ShardLostError` if another process forwards now."""
        with translated_errors(), self._database.transaction() as connection, connection.cursor() as cursor:
            shard_lease.check_epoch(cursor, epoch)
            cursor.execute(QUERIES["federation_done"], (list(done),))
            for one in shortened:
                cursor.execute(QUERIES["federation_shorten"], one._asdict())
            cursor.execute(QUERIES["federation_advance"], tuple(position))
            if results:
                cursor.execute(QUERIES["federation_results_confirmed"], (list(results),))

    def waiting(self, of_rollups: Collection[int] = ()) -> tuple[int, float]:
        """Return the number of ranges that wait, and the age of the oldest that could be sent [s].

        Those of series ``of_rollups`` can't be sent before their quarter of an hour is over.
        """
        with self._database.transaction() as connection:
            count, age_s = connection.execute(
                QUERIES["federation_waiting"], (list(of_rollups),)
            ).fetchone() or (0, 0.0)
        return int(count), float(age_s)

    def merge(self) -> None:
        """Merge the ranges of each series that touch, except live ones, so that they stay few."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["federation_merge"], (LIVE_S,))


def merge_ranges(ranges: Sequence[DueRange]) -> list[tuple[int, int, int]]:
    """Return (series id, since [us], until [us]) of the union of ranges, by series and time.

    >>> merge_ranges([DueRange(1, 7, 0, 60), DueRange(2, 7, 60, 120), DueRange(3, 5, 0, 60)])
    [(5, 0, 60), (7, 0, 120)]
    """
    merged: list[tuple[int, int, int]] = []
    for series_id, since_us, until_us in sorted(one[1:] for one in ranges):
        if merged and merged[-1][0] == series_id and since_us <= merged[-1][2]:
            merged[-1] = (series_id, merged[-1][1], max(merged[-1][2], until_us))
        else:
            merged.append((series_id, since_us, until_us))
    return merged
