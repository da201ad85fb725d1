"""Rows and Arrow schema of a judged series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from gateway import rows
from gateway.tables import TIME, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.service import backtest
    from ingest_service.storage.model import Anomaly

SCHEMA = pa.schema(
    [
        ("measured", TIME),
        ("value", pa.float64()),
        ("quality", pa.uint8()),
        ("rules", pa.list_(pa.string())),
        ("expected", pa.float32()),
        ("spread", pa.float32()),
        ("score", pa.float32()),
    ]
)


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A reading and what the judge says of it."""

    measured: str
    value: float | None
    quality: int
    rules: list[str]
    expected: float | None
    spread: float | None
    score: float | None


class JudgedAnomaly(msgspec.Struct, frozen=True):
    """An anomaly that is stored nowhere."""

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
    evidence: dict[str, Any]


class Judged(msgspec.Struct, frozen=True):
    """A posted series, judged."""

    quantity: str
    unit: str
    interval_s: float
    limits: dict[str, float | None]
    left_out: dict[str, int]
    anomalies: list[JudgedAnomaly]
    readings: list[Reading]


def readings(judged: backtest.Judged) -> list[Reading]:
    """The readings of a judged series; NaN is written as null."""
    columns = (getattr(judged, name).tolist() for name in ("expected", "spread", "score"))
    return [
        Reading(*row)
        for row in zip(
            rows.of_seconds(judged.time_s),
            judged.value.tolist(),
            judged.quality.tolist(),
            [rows.rules(bits) for bits in judged.rules.tolist()],
            *columns,
            strict=True,
        )
    ]


def anomalies(found: Sequence[Anomaly]) -> list[JudgedAnomaly]:
    """Anomalies without what only a stored one has."""
    return [
        JudgedAnomaly(
            one.detector,
            one.version,
            one.state,
            one.severity,
            _time(one.start_s),
            None if one.end_s is None else _time(one.end_s),
            _time(one.peak_s),
            one.observed,
            one.expected,
            one.spread,
            one.score,
            one.n_readings,
            one.reason_en,
            one.reason_zh,
            one.evidence,
        )
        for one in found
    ]


def _time(seconds: float) -> str:
    (word,) = rows.of_seconds(np.array([seconds]))
    return word


def _batch(judged: backtest.Judged) -> pa.RecordBatch:
    bits, at = np.unique(judged.rules, return_inverse=True)
    names = pa.array([rows.rules(one) for one in bits.tolist()], pa.list_(pa.string()))
    columns = [
        pa.array(np.rint(judged.time_s * 1e6).astype(np.int64)).view(TIME),
        pa.array(judged.value, from_pandas=True),
        pa.array(judged.quality),
        names.take(pa.array(at)),
        *(pa.array(getattr(judged, name), from_pandas=True) for name in ("expected", "spread", "score")),
    ]
    return pa.record_batch(columns, schema=SCHEMA)


JUDGED = Table("judged", SCHEMA, _batch, readings, count=lambda judged: len(judged.time_s))
