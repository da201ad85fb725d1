"""Reads the readings that the county lacks in blocks: live ones, and those that waited at a bounded rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge.wire import federation
from edge.wire.token_bucket import TokenBucket
from ingest_service.federation.block import Block, entry_of
from ingest_service.storage.contract.models import READING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from edge.agent.spool import SpoolEntry
    from ingest_service.federation.settings import Settings
    from ingest_service.storage.contract.federation import DueRange, FeedPosition
    from ingest_service.storage.contract.models import Series
    from ingest_service.storage.postgres.federation_feed import FederationFeed

RANGES_PER_BLOCK: Final = 2000


class ReadingBlocks:
    """Blocks of readings. Methods raise the errors of the store.

    Attributes
    ----------
    series : those whose readings are forwarded, by id
    without : series whose ranges are left alone: their rollups are forwarded

    """

    def __init__(self, feed: FederationFeed, settings: Settings) -> None:
        self._feed, self._settings = feed, settings
        self.series: Mapping[int, Series] = {}
        self.without: Collection[int] = ()
        self._was_live = False
        rate = settings.backlog_readings_per_s
        self._backlog_rate = TokenBucket(per_s=rate, burst=rate) if rate else None

    def next_block(self, position: FeedPosition, header: Mapping[str, Any]) -> Block | None:
        """Return the next block; live readings and those that waited alternate. None if there are none."""
        return self._block(position, header, live=not self._was_live) or self._block(
            position, header, live=not self._was_live
        )

    def _block(self, position: FeedPosition, header: Mapping[str, Any], *, live: bool) -> Block | None:
        """Return live readings or those that waited, the latter at a bounded rate; None if there are none.

        They are read in blocks of their own: a reading in both would be sent with two flags at once.
        """
        limit, self._was_live = self._settings.block_readings, live
        if not live and self._backlog_rate is not None:
            tokens = self._backlog_rate.tokens_at(time.monotonic())
            if tokens <= 0:
                return None
            limit = min(limit, max(1, int(tokens)))
        ranges = self._feed.due(RANGES_PER_BLOCK, live=live, without=self.without)
        if not ranges:
            return None
        permitted = [one for one in ranges if one.series_id in self.series]
        rows = self._feed.readings(permitted, limit) if permitted else np.empty(0, READING)
        if not live and self._backlog_rate is not None:
            self._backlog_rate.spend(len(rows))
        done, shortened = _covered(ranges, permitted, rows if len(rows) == limit else None)
        entries = list(self._messages(rows, header)) if len(rows) else []
        return Block(entries, position, done, shortened, rows={"readings": len(rows)})

    def _messages(self, rows: NDArray[np.void], header: Mapping[str, Any]) -> Iterator[SpoolEntry]:
        for first in range(0, len(rows), federation.MAX_READINGS):
            part = rows[first : first + federation.MAX_READINGS]
            starts = np.flatnonzero(np.append(True, np.diff(part["series_id"]) != 0))
            columns = [
                _columns(self.series[int(one["series_id"][0])], one) for one in np.split(part, starts[1:])
            ]
            yield entry_of(federation.ForwardedReadings(series=columns, **header), len(part))


def _columns(series: Series, rows: NDArray[np.void]) -> federation.ReadingColumns:
    lists = {name: rows[name].tolist() for name in rows.dtype.names or () if name != "series_id"}
    return federation.ReadingColumns(site_id=series.site_id, quantity=series.quantity, **lists)


def _covered(
    ranges: Sequence[DueRange], permitted: Sequence[DueRange], rows: NDArray[np.void] | None
) -> tuple[list[int], list[DueRange]]:
    """Return the ids of the ranges that some readings cover, and what is left of one covered in part.

    Parameters
    ----------
    ranges, permitted : all ranges, and those whose readings were read
    rows : READING by series and time, if reading ended at its limit; None if all was read

    """
    if rows is None:
        return [one.due_id for one in ranges], []
    last_series, last_us = int(rows["series_id"][-1]), int(rows["time_us"][-1])
    done = {one.due_id for one in ranges} - {one.due_id for one in permitted}
    shortened = []
    for one in permitted:
        if (one.series_id, one.until_us) <= (last_series, last_us):
            done.add(one.due_id)
        elif one.series_id == last_series and one.since_us <= last_us:
            shortened.append(one._replace(since_us=last_us + 1))
    return sorted(done), shortened
