"""Converts rows of queries to msgspec structs, which encode to JSON faster than pydantic models.

The structs have the fields of `gateway.api.models.resource_models`, in that order. Those models document the
API; that of anomalies is derived from its model, and a test checks that the others are equal.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import numpy as np

from analytics.core.flags import Rule
from analytics.quality.verdict_text import verdict_text
from edge.wire.quantities import QUANTITIES
from gateway.api.models.resource_models import ListedAnomalyResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from pydantic import BaseModel

    from gateway.api.directory_cache import DirectoryIndex
    from ingest_service.storage.contract.models import (
        AnomalyFields,
        AnomalyRow,
        Bucket,
        NewestReading,
        Series,
    )

LIKELIHOOD_DECIMALS = 3
"""A likelihood follows from an assumed uncertainty of velocities: more digits mean nothing."""
MEAN_DIGITS = 8  # significant digits of a mean; later ones depend on the order of the database's additions
# Times are composed of preformatted parts, which is three times as fast as formatting each.
TIME_PARTS_DTYPE = np.dtype([("day", "U10"), ("minute", "U6"), ("rest", "U8")])
MINUTE_TEXTS = np.array([f"T{one // 60:02}:{one % 60:02}" for one in range(1440)])
SECOND_TEXTS = np.array([f":{one // 1000:02}.{one % 1000:03}Z" for one in range(60_000)])


class ReadingJson(msgspec.Struct, frozen=True, gc=False):
    """A reading of a series."""

    measured: str
    received: str
    value: float
    quality: int
    rules: list[str]
    expected: float | None
    spread: float | None


class SeriesReadingJson(msgspec.Struct, frozen=True, gc=False):
    """A reading, with its series, site and quantity."""

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


class LatestJson(msgspec.Struct, frozen=True, gc=False):
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


class BucketJson(msgspec.Struct, frozen=True, gc=False):
    """A series aggregated over a time bucket."""

    begins: str
    count: int
    good: int
    min: float | None
    max: float | None
    mean: float | None


def written_struct(model: type[BaseModel], name: str) -> Any:
    """Return a struct with the fields of a documented model in the form in which they are written.

    Times are text and objects are JSON text, since formatting whole columns is faster than pydantic. The
    model stays the only place that lists the fields.
    """
    fields = [(one, _written_type(field.annotation)) for one, field in model.model_fields.items()]
    return msgspec.defstruct(name, fields, frozen=True, gc=False, module=__name__)


def _written_type(annotation: Any) -> Any:
    kind, is_optional = value_kind(annotation)
    written: Any = {datetime: str, dict: msgspec.Raw}.get(kind, kind)
    return written | None if is_optional else written


def value_kind(annotation: Any) -> tuple[Any, bool]:
    """Return the class of a documented field's values, and whether it may be null.

    >>> value_kind(Literal["open", "closed"]), value_kind(dict[str, Any]), value_kind(float | None)
    ((<class 'str'>, False), (<class 'dict'>, False), (<class 'float'>, True))
    """
    if get_origin(annotation) in (UnionType, Union):
        (kind,) = (one for one in get_args(annotation) if one is not NoneType)
        return value_kind(kind)[0], True
    if get_origin(annotation) is Literal:
        return type(get_args(annotation)[0]), False
    if get_origin(annotation) is Annotated:
        return value_kind(get_args(annotation)[0])
    return get_origin(annotation) or annotation, False


AnomalyJson = written_struct(ListedAnomalyResponse, "AnomalyJson")


class PageJson(msgspec.Struct, frozen=True):
    """A page of rows, and the cursor of the next page."""

    items: Sequence[msgspec.Struct]
    next: str | None


@lru_cache(maxsize=4096)
def rule_names(bits: int) -> list[str]:
    """Return the names of rule bits. The list is cached: do not change it."""
    return [one.name or "" for one in Rule(bits)]


def rfc3339_times(us: NDArray[np.int64]) -> list[str]:
    """Format times [us, Unix] by RFC 3339 in UTC, to the millisecond.

    >>> rfc3339_times(np.array([1790000000123456]))
    ['2026-09-21T14:13:20.123Z']
    """
    minutes, rest = np.divmod(us // 1000, 60_000)
    days, minutes = np.divmod(minutes, 1440)
    unique_days, at = np.unique(days, return_inverse=True)
    time_texts = np.empty(len(us), TIME_PARTS_DTYPE)
    time_texts["day"] = np.datetime_as_string(unique_days.astype("datetime64[D]"))[at]
    time_texts["minute"] = MINUTE_TEXTS[minutes]
    time_texts["rest"] = SECOND_TEXTS[rest]
    source_rows: list[str] = time_texts.view("U24").tolist()
    return source_rows


def reading_rows(block: NDArray[np.void]) -> list[ReadingJson]:
    """Return READING rows without their series."""
    return [ReadingJson(*row) for row in zip(*_reading_columns(block), strict=True)]


def series_reading_rows(block: NDArray[np.void], directory_index: DirectoryIndex) -> list[SeriesReadingJson]:
    """Return READING rows with series, site, quantity and unit."""
    columns_of_series = {
        one: _series_columns(directory_index.series[one]) for one in np.unique(block["series_id"]).tolist()
    }
    ids = block["series_id"].tolist()
    return [
        SeriesReadingJson(*columns_of_series[one], *row)
        for one, row in zip(ids, zip(*_reading_columns(block), strict=True), strict=True)
    ]


def latest_rows(
    source_rows: Sequence[NewestReading], directory_index: DirectoryIndex, now_s: float
) -> list[LatestJson]:
    """Return the newest readings, with their age at ``now_s``."""
    measured, received = (
        rfc3339_of_seconds([getattr(one, name) for one in source_rows]) for name in ("time_s", "received_s")
    )
    return [
        LatestJson(
            measured[at],
            received[at],
            one.value,
            one.quality,
            rule_names(one.rules),
            one.expected,
            one.spread,
            *_series_columns(directory_index.series[one.series_id]),
            round(now_s - one.time_s, 3),
        )
        for at, one in enumerate(source_rows)
    ]


def bucket_rows(source_rows: Sequence[Bucket]) -> list[BucketJson]:
    """Return the buckets of one series."""
    begins = rfc3339_of_seconds([one.time_s for one in source_rows])
    return [
        BucketJson(begin, one.count, one.good, one.min, one.max, rounded_mean(one.mean))
        for begin, one in zip(begins, source_rows, strict=True)
    ]


def anomaly_rows(source_rows: Sequence[AnomalyRow], directory_index: DirectoryIndex) -> list[msgspec.Struct]:
    """Return anomalies with the quantity and unit of their series."""
    series = [quantity_and_unit(one.series_id, directory_index) for one in source_rows]
    return written_anomalies(
        AnomalyJson,
        source_rows,
        quantity=[quantity for quantity, _ in series],
        unit=[unit for _, unit in series],
        evidence=[msgspec.Raw(one.evidence) for one in source_rows],
        verdict_on_sensor=[verdict_name(one) for one in source_rows],
        event_probability=[listed_probability(one) for one in source_rows],
    )


def verdict_name(one: AnomalyRow) -> str | None:
    """Return the name of the verdict on the sensor of an anomaly; None without one."""
    if one.event_probability is None:
        return None
    return verdict_text(one.event_probability, one.compared or 0).name


def listed_probability(one: AnomalyRow) -> float | None:
    """Return the probability of an event with the digits that the API gives; None without one."""
    return None if one.event_probability is None else round(one.event_probability, LIKELIHOOD_DECIMALS)


def written_anomalies(
    struct: Any, anomalies: Sequence[AnomalyFields], **columns: Sequence[object]
) -> list[msgspec.Struct]:
    """Return anomalies as `written_struct` structs; ``columns`` are the fields that anomalies do not have."""
    event_times_s = [(one.start_s, one.end_s or 0.0, one.peak_s) for one in anomalies]
    starts, ends, peaks = (rfc3339_of_seconds([one[at] for one in event_times_s]) for at in range(3))
    columns |= {
        "start": starts,
        "end": [None if one.end_s is None else end for one, end in zip(anomalies, ends, strict=True)],
        "peak": peaks,
    }
    return [
        struct(*values)
        for values in zip(
            *(
                columns[name] if name in columns else map(attrgetter(name), anomalies)
                for name in struct.__struct_fields__
            ),
            strict=True,
        )
    ]


def quantity_and_unit(
    series_id: int | None, directory_index: DirectoryIndex
) -> tuple[str | None, str | None]:
    """Return quantity and unit of a series; two None without a known series."""
    series = directory_index.series.get(series_id or 0)
    return (None, None) if series is None else (series.quantity, QUANTITIES[series.quantity].unit)


def rounded_mean(mean: float | None) -> float | None:
    """Round a mean to the digits that do not depend on the order of addition.

    >>> rounded_mean(10.656666666666666)
    10.656667
    """
    return None if mean is None else float(f"{mean:.{MEAN_DIGITS}g}")


def _series_columns(series: Series) -> tuple[int, str, str, str]:
    return series.series_id, series.site_id, series.quantity, QUANTITIES[series.quantity].unit


def rfc3339_of_seconds(seconds: ArrayLike) -> list[str]:
    """Format Unix seconds [s] by RFC 3339 in UTC, to the millisecond."""
    return rfc3339_times(np.rint(np.asarray(seconds, np.float64) * 1e6).astype(np.int64))


def _reading_columns(block: NDArray[np.void]) -> tuple[list[Any], ...]:
    """Return the columns of `ReadingJson`; NaN is encoded as null."""
    return (
        rfc3339_times(block["time_us"]),
        rfc3339_times(block["received_us"]),
        block["value"].tolist(),
        block["quality"].tolist(),
        list(map(rule_names, block["rules"].tolist())),
        block["expected"].tolist(),
        block["spread"].tolist(),
    )
