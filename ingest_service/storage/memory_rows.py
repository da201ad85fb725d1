"""Small answers of the store in memory: fields of rows, buckets, filters."""

from __future__ import annotations

from typing import Any

import numpy as np

from ingest_service.storage.model import READING, Anomaly, AnomalyQuery, Bucket

GOOD = 2


def field(row: tuple[object, ...], name: str) -> Any:
    """A field of a READING that is kept as a tuple."""
    assert READING.names is not None  # noqa: S101 - for the type checker
    return row[READING.names.index(name)]


def or_none(value: float) -> float | None:
    """None for NaN."""
    return None if np.isnan(value) else value


def bucket(begin_s: float, values: list[tuple[int, float]]) -> Bucket:
    """A bucket of (quality, value) pairs."""
    good = [value for quality, value in values if quality <= GOOD]
    return Bucket(
        time_s=begin_s,
        count=len(values),
        good=len(good),
        min=min(good, default=None),
        max=max(good, default=None),
        mean=sum(good) / len(good) if good else None,
    )


def matches(one: Anomaly, query: AnomalyQuery) -> bool:
    """Whether an anomaly passes every filter."""
    return (
        (query.site_ids is None or one.site_id in query.site_ids)
        and (query.series_ids is None or one.series_id in query.series_ids)
        and (query.detectors is None or one.detector in query.detectors)
        and (query.states is None or one.state in query.states)
        and one.severity >= query.severity_min
        and (query.from_s is None or one.end_s is None or one.end_s > query.from_s)
        and (query.to_s is None or one.start_s < query.to_s)
        and (query.after is None or (one.start_s, one.anomaly_id) < query.after)
    )
