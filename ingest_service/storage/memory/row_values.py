"""Helpers of the in-memory store: READING fields, revisions, buckets, anomaly filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ingest_service.storage.contract.models import (
    READING,
    Anomaly,
    AnomalyQuery,
    Bucket,
    DeviceStatus,
    NewestReading,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from zoneinfo import ZoneInfo

    from numpy.typing import NDArray

MAX_GOOD_FLAG = 2
MAX_GOOD_VALUE = 1e30  # as in the view reading_as_rollup: sums of larger values overflow
DAY_S = 86_400.0
HOUR_S = 3600
ORIGIN = datetime(2000, 1, 3)  # noqa: DTZ001 - local time; the origin of TimescaleDB's buckets


def row_field(row: tuple[object, ...], name: str) -> Any:
    """Return a field of a READING stored as a tuple."""
    assert READING.names is not None  # noqa: S101 - for the type checker
    return row[READING.names.index(name)]


def nan_to_none(value: float) -> float | None:
    """Convert NaN to None."""
    return None if np.isnan(value) else value


def to_array(rows: Sequence[np.void]) -> NDArray[np.void]:
    """Convert READING rows to one array."""
    return np.array(rows, READING)


def with_revisions(
    rows: NDArray[np.void], revisions: Mapping[tuple[int, int], tuple[int, int]]
) -> NDArray[np.void]:
    """Apply the revised flags to READING rows, in place."""
    for index, key in enumerate(zip(rows["series_id"].tolist(), rows["time_us"].tolist(), strict=True)):
        if (now := revisions.get(key)) is not None:
            rows["quality"][index], rows["rules"][index] = now
    return rows


def received_after(blocks: Sequence[NDArray[np.void]], after_s: float, limit: int) -> NDArray[np.void]:
    """Return the READING rows received after a time, in the order of reception."""
    rows = np.concatenate([np.empty(0, READING), *blocks])
    rows = rows[rows["received_us"] > round(after_s * 1e6)]
    return rows[np.lexsort((rows["series_id"], rows["time_us"], rows["received_us"]))][:limit]


def to_latest_reading(
    row: NDArray[np.void], revisions: Mapping[tuple[int, int], tuple[int, int]]
) -> NewestReading:
    """Convert the newest READING row of a series to a `NewestReading`, with revisions applied."""
    quality, rules = revisions.get(
        (int(row["series_id"]), int(row["time_us"])), (int(row["quality"]), int(row["rules"]))
    )
    return NewestReading(
        series_id=int(row["series_id"]),
        time_s=int(row["time_us"]) / 1e6,
        received_s=int(row["received_us"]) / 1e6,
        value=float(row["value"]),
        quality=quality,
        rules=rules,
        expected=nan_to_none(float(row["expected"])),
        spread=nan_to_none(float(row["spread"])),
    )


def merged_status(before: DeviceStatus | None, now: DeviceStatus) -> DeviceStatus:
    """Merge a new status with the stored one: without a clock offset, the stored offset is kept."""
    if now.clock_offset_s is None and before is not None:
        return msgspec.structs.replace(now, clock_offset_s=before.clock_offset_s)
    return now


def to_buckets(rows: NDArray[np.void], width_s: int, zone: ZoneInfo) -> list[Bucket]:
    """Aggregate READING rows to buckets aligned to the local day."""
    values_by_start: dict[float, list[tuple[int, float]]] = {}
    for row in rows:
        begin_s = _bucket_start(int(row["time_us"]) / 1e6, width_s, zone)
        values_by_start.setdefault(begin_s, []).append((int(row["quality"]), float(row["value"])))
    return [_to_bucket(begin_s, values_by_start[begin_s]) for begin_s in sorted(values_by_start)]


def _bucket_start(time_s: float, width_s: int, zone: ZoneInfo) -> float:
    """Return the start of the bucket of a time, Unix seconds [s].

    Buckets that divide an hour are counted from the start of that hour, since local time may repeat an hour.
    """
    aware = datetime.fromtimestamp(time_s, UTC).astimezone(zone)
    if HOUR_S % width_s == 0:
        hour_s = aware.replace(minute=0, second=0, microsecond=0).timestamp()
        return hour_s + (time_s - hour_s) // width_s * width_s
    local = aware.replace(tzinfo=None)
    begin = local - (local - ORIGIN) % timedelta(seconds=width_s)
    return begin.replace(tzinfo=zone).timestamp()


def _to_bucket(begin_s: float, values: list[tuple[int, float]]) -> Bucket:
    """Aggregate (quality, value) pairs to a bucket."""
    good = [value for quality, value in values if quality <= MAX_GOOD_FLAG and abs(value) <= MAX_GOOD_VALUE]
    return Bucket(
        time_s=begin_s,
        count=len(values),
        good=len(good),
        min=min(good, default=None),
        max=max(good, default=None),
        mean=sum(good) / len(good) if good else None,
    )


def matches_filter(one: Anomaly, query: AnomalyQuery) -> bool:
    """Whether an anomaly matches every filter of a query."""
    return (
        query.anomaly_id in (None, one.anomaly_id)
        and (query.site_ids is None or one.site_id in query.site_ids)
        and (query.series_ids is None or one.series_id in query.series_ids)
        and (query.detectors is None or one.detector in query.detectors)
        and (query.states is None or one.state in query.states)
        and query.severity_min <= one.severity <= query.severity_max
        and (
            query.text is None
            or any(query.text.lower() in text.lower() for text in (one.reason_en, one.reason_zh))
        )
        and (query.from_s is None or one.end_s is None or one.end_s > query.from_s)
        and (query.to_s is None or one.start_s < query.to_s)
        and (query.after is None or one.position < query.after)
    )
