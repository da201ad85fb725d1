"""Moves what is new in the store to the spool of one upper platform: readings, and means of ended periods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.core.flags import Rule
from gateway.hj212.forward.spool import ReportedReading
from gateway.hj212.forward.uploads import mean_item, real_time_item, reported_factors, upload_segments
from gateway.hj212.stations import time_zone_of

if TYPE_CHECKING:
    from gateway.hj212.forward.settings import ReportedStation, UpperPlatform
    from gateway.hj212.forward.spool import ForwardSpool
    from gateway.hj212.forward.uploads import ReportedFactor
    from gateway.hj212.segment import Segment
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.store import Reader

# A reading may be committed a while after it was received, behind others: what was received so long before
# the cursor is read again; `ForwardSpool.unreported` leaves out what is in the spool already.
OVERLAP_S = 900.0
PAGE = 20_000
PERIODS_S = {"2051": 600, "2061": 3600, "2031": 86_400}
PERIOD_DELAY_S = 120.0  # after the end of a period, for readings on their way
MAX_PERIODS = 100  # of one command in one pass
RECEIVED = "received"


class ForwardSource:
    """Reads for one platform.

    Parameters
    ----------
    store, spool : from where and to where
    platform, stations : settings

    """

    def __init__(
        self, store: Reader, spool: ForwardSpool, platform: UpperPlatform, stations: list[ReportedStation]
    ) -> None:
        self._store, self._spool, self._platform, self._stations = store, spool, platform, stations
        self._directory: Directory | None = None

    def collect(self, now_s: float) -> int:
        """Put what is new; returns the number of frames. Raises the errors of the store."""
        if self._directory is None or self._directory.version != self._store.directory_version():
            self._directory = self._store.directory()
        factors = {one.station: reported_factors(one, self._directory.series) for one in self._stations}
        count = 0
        if "2011" in self._platform.uploads:
            count += self._collect_readings(factors, now_s)
        for command, width_s in PERIODS_S.items():
            if command in self._platform.uploads:
                count += self._collect_periods(command, width_s, factors, now_s)
        return count

    def _collect_readings(self, factors: dict[str, list[ReportedFactor]], now_s: float) -> int:
        begun_s = now_s - self._platform.history_s
        cursor_s = self._spool.cursor(RECEIVED)
        after_s = begun_s if cursor_s is None else max(cursor_s - OVERLAP_S, self._spool.cursor("begun") or 0)
        if cursor_s is None:
            self._spool.put([], {RECEIVED: begun_s, "begun": begun_s})
        owner = {factor.series_id: (name, factor) for name, all_ in factors.items() for factor in all_}
        stations = {one.station: one for one in self._stations}
        count = 0
        while True:
            rows = self._store.received(list(owner), after_s, limit=PAGE)
            if not len(rows):
                return count
            keys = [
                ReportedReading(int(row["series_id"]), int(row["time_us"]), int(row["received_us"]))
                for row in rows
            ]
            items: dict[tuple[str, int], list[str]] = {}
            new = self._spool.unreported(keys)
            for position in new:
                row, key = rows[position], keys[position]
                name, factor = owner[key.series_id]
                item = real_time_item(
                    factor,
                    float(row["value"]),
                    int(row["quality"]),
                    in_maintenance=bool(row["rules"] & Rule.DEVICE),
                )
                items.setdefault((name, key.time_us // 1_000_000), []).append(item)
            segments = [
                segment
                for (name, time_s), one in items.items()
                for segment in upload_segments(self._platform, stations[name], "2011", time_s, one)
            ]
            newest_us = keys[-1].received_us
            self._spool.put(
                segments,
                {RECEIVED: newest_us / 1e6},
                reported=[keys[position] for position in new],
                forget_before_us=newest_us - round(2e6 * OVERLAP_S),
            )
            count += len(segments)
            if len(rows) < PAGE:
                return count
            after_s = (newest_us - 1) / 1e6  # others of the same time may be on the next page

    def _collect_periods(
        self, command: str, width_s: int, factors: dict[str, list[ReportedFactor]], now_s: float
    ) -> int:
        zone_s = time_zone_of(self._platform.utc_offset).utcoffset(None).total_seconds()
        cursor_s = self._spool.cursor(command)
        if cursor_s is None:
            begun_s = now_s - self._platform.history_s
            cursor_s = (begun_s + zone_s) // width_s * width_s - zone_s
        count = 0
        for _ in range(MAX_PERIODS):
            if cursor_s + width_s + PERIOD_DELAY_S > now_s:
                break
            segments: list[Segment] = []
            for station in self._stations:
                items = [
                    item
                    for factor in factors[station.station]
                    for bucket in self._store.buckets(factor.series_id, cursor_s, cursor_s + width_s, width_s)
                    if (item := mean_item(factor, bucket)) is not None
                ]
                segments += upload_segments(self._platform, station, command, cursor_s, items)
            cursor_s += width_s
            self._spool.put(segments, {command: cursor_s})
            count += len(segments)
        return count
