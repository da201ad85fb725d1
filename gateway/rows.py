"""Row models of the API as msgspec structs, which are encoded faster than pydantic models.

They have the fields of `gateway.models`, in that order; the models document them,
and a test holds both equal.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from analytics.core.flags import Rule
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from gateway.known import Known
    from ingest_service.storage.answers import Found
    from ingest_service.storage.model import Bucket, Latest, Series

MEAN_DIGITS = 8  # of a mean: the rest depends on the order in which a database adds
# A time is put together from what was written before: three times as fast as to write each.
WORDS = np.dtype([("day", "U10"), ("minute", "U6"), ("rest", "U8")])
MINUTES = np.array([f"T{one // 60:02}:{one % 60:02}" for one in range(1440)])
RESTS = np.array([f":{one // 1000:02}.{one % 1000:03}Z" for one in range(60_000)])


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A reading of a series."""

    measured: str
    received: str
    value: float
    quality: int
    rules: list[str]
    expected: float | None
    spread: float | None


class SeriesReading(msgspec.Struct, frozen=True, gc=False):
    """A reading, and whose it is."""

    series_id: int
    site_id: str
    quantity: str
    unit: str
    measured: str
    received: str
    value: float
    quality: int
    rules: list[str]
    expected: float | None
    spread: float | None


class LatestReading(msgspec.Struct, frozen=True, gc=False):
    """The newest reading of a series, and its age."""

    measured: str
    received: str
    value: float
    quality: int
    rules: list[str]
    expected: float | None
    spread: float | None
    series_id: int
    site_id: str
    quantity: str
    unit: str
    age_s: float


class SeriesBucket(msgspec.Struct, frozen=True, gc=False):
    """A series over a stretch of time."""

    begins: str
    count: int
    good: int
    min: float | None
    max: float | None
    mean: float | None


class Anomaly(msgspec.Struct, frozen=True, gc=False):
    """An anomaly."""

    anomaly_id: int
    site_id: str
    series_id: int | None
    device_id: str | None
    quantity: str | None
    unit: str | None
    detector: str
    version: str
    state: str
    severity: int
    start: str
    end: str | None
    peak: str
    observed: float | None
    expected: float | None
    spread: float | None
    score: float
    n_readings: int
    reason_en: str
    reason_zh: str
    evidence: msgspec.Raw


class Page(msgspec.Struct, frozen=True):
    """Some rows, and where the next page begins."""

    items: Sequence[msgspec.Struct]
    next: str | None


@lru_cache(maxsize=4096)
def rules(bits: int) -> list[str]:
    """The names of rule bits; not to be changed, for it is kept."""
    return [one.name or "" for one in Rule(bits)]


def times(us: NDArray[np.int64]) -> list[str]:
    """RFC 3339 in UTC, to the millisecond.

    >>> times(np.array([1790000000123456]))
    ['2026-09-21T14:13:20.123Z']
    """
    minutes, rest = np.divmod(us // 1000, 60_000)
    days, minutes = np.divmod(minutes, 1440)
    known, at = np.unique(days, return_inverse=True)
    words = np.empty(len(us), WORDS)
    words["day"] = np.datetime_as_string(known.astype("datetime64[D]"))[at]
    words["minute"] = MINUTES[minutes]
    words["rest"] = RESTS[rest]
    found: list[str] = words.view("U24").tolist()
    return found


def readings(block: NDArray[np.void]) -> list[Reading]:
    """READING rows, whatever series they are of."""
    return [Reading(*row) for row in zip(*_columns(block), strict=True)]


def series_readings(block: NDArray[np.void], known: Known) -> list[SeriesReading]:
    """READING rows with what their series is."""
    heads = {one: _head(known.series[one]) for one in np.unique(block["series_id"]).tolist()}
    ids = block["series_id"].tolist()
    return [
        SeriesReading(*heads[one], *row)
        for one, row in zip(ids, zip(*_columns(block), strict=True), strict=True)
    ]


def latest(found: Sequence[Latest], known: Known, now_s: float) -> list[LatestReading]:
    """The newest readings, with their age at ``now_s``."""
    measured, received = (
        of_seconds([getattr(one, name) for one in found]) for name in ("time_s", "received_s")
    )
    return [
        LatestReading(
            measured[at],
            received[at],
            one.value,
            one.quality,
            rules(one.rules),
            one.expected,
            one.spread,
            *_head(known.series[one.series_id]),
            now_s - one.time_s,
        )
        for at, one in enumerate(found)
    ]


def buckets(found: Sequence[Bucket]) -> list[SeriesBucket]:
    """Buckets of one series."""
    begins = of_seconds([one.time_s for one in found])
    return [
        SeriesBucket(begin, one.count, one.good, one.min, one.max, rounded(one.mean))
        for begin, one in zip(begins, found, strict=True)
    ]


def anomalies(found: Sequence[Found], known: Known) -> list[Anomaly]:
    """Anomalies with the quantity of their series."""
    at_s = [(one.start_s, one.end_s or 0.0, one.peak_s) for one in found]
    words = of_seconds(np.ravel(at_s))
    return [
        Anomaly(
            one.anomaly_id,
            one.site_id,
            one.series_id,
            one.device_id,
            *quantity(one.series_id, known),
            one.detector,
            one.version,
            one.state,
            one.severity,
            start,
            None if one.end_s is None else end,
            peak,
            one.observed,
            one.expected,
            one.spread,
            one.score,
            one.n_readings,
            one.reason_en,
            one.reason_zh,
            msgspec.Raw(one.evidence),
        )
        for one, start, end, peak in zip(found, words[::3], words[1::3], words[2::3], strict=True)
    ]


def quantity(series_id: int | None, known: Known) -> tuple[str | None, str | None]:
    """Quantity and unit of a series, where it is one."""
    of = known.series.get(series_id or 0)
    return (None, None) if of is None else (of.quantity, QUANTITIES[of.quantity].unit)


def rounded(mean: float | None) -> float | None:
    """A mean without the digits that depend on the order of adding.

    >>> rounded(10.656666666666666)
    10.656667
    """
    return None if mean is None else float(f"{mean:.{MEAN_DIGITS}g}")


def _head(of: Series) -> tuple[int, str, str, str]:
    return of.series_id, of.site_id, of.quantity, QUANTITIES[of.quantity].unit


def of_seconds(seconds: ArrayLike) -> list[str]:
    """RFC 3339 of Unix seconds [s]."""
    return times(np.rint(np.asarray(seconds, np.float64) * 1e6).astype(np.int64))


def _columns(block: NDArray[np.void]) -> tuple[list[Any], ...]:
    """The columns of `Reading`; NaN is written as null."""
    return (
        times(block["time_us"]),
        times(block["received_us"]),
        block["value"].tolist(),
        block["quality"].tolist(),
        list(map(rules, block["rules"].tolist())),
        block["expected"].tolist(),
        block["spread"].tolist(),
    )
