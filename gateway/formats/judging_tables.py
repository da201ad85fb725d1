"""Converts a judged uploaded series to JSON rows and Arrow batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa

from gateway.api.models import row_models
from gateway.api.models.judging_models import JudgedAnomalyResponse
from gateway.formats.arrow_tables import TIME_TYPE, ArrowTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.service import backtest
    from ingest_service.storage.contract.models import Anomaly

JUDGED_SCHEMA = pa.schema(
    [
        ("measured", TIME_TYPE),
        ("value", pa.float64()),
        ("quality", pa.uint8()),
        ("rules", pa.list_(pa.string())),
        ("expected", pa.float32()),
        ("spread", pa.float32()),
        ("score", pa.float32()),
    ]
)


class JudgedReadingJson(msgspec.Struct, frozen=True, gc=False):
    """A reading with its quality flag, expected value and score."""

    measured: str
    value: float | None
    quality: int
    rules: list[str]
    expected: float | None
    spread: float | None
    score: float | None


JudgedAnomalyJson = row_models.written_struct(JudgedAnomalyResponse, "JudgedAnomalyJson")


class JudgedSeriesJson(msgspec.Struct, frozen=True):
    """A posted series, judged."""

    quantity: str
    unit: str
    interval_s: float
    limits: dict[str, float | None]
    left_out: dict[str, int]
    anomalies: list[msgspec.Struct]  # `JudgedAnomalyJson`
    readings: list[JudgedReadingJson]


def judged_readings(judged_series: backtest.JudgedHistory) -> list[JudgedReadingJson]:
    """Return the readings of a judged series; NaN is written as null."""
    columns = (getattr(judged_series, name).tolist() for name in ("expected", "spread", "score"))
    return [
        JudgedReadingJson(*row)
        for row in zip(
            row_models.rfc3339_of_seconds(judged_series.time_s),
            judged_series.value.tolist(),
            judged_series.quality.tolist(),
            [row_models.rule_names(rule_bits) for rule_bits in judged_series.rules.tolist()],
            *columns,
            strict=True,
        )
    ]


def judged_anomalies(found: Sequence[Anomaly]) -> list[msgspec.Struct]:
    """Return anomalies without the fields that only stored ones have."""
    evidence = [msgspec.Raw(msgspec.json.encode(one.evidence)) for one in found]
    return row_models.written_anomalies(JudgedAnomalyJson, found, evidence=evidence)


def _arrow_batch(judged_series: backtest.JudgedHistory) -> pa.RecordBatch:
    rule_bits, bits_index = np.unique(judged_series.rules, return_inverse=True)
    names = pa.array([row_models.rule_names(one) for one in rule_bits.tolist()], pa.list_(pa.string()))
    columns = [
        pa.array(np.rint(judged_series.time_s * 1e6).astype(np.int64)).view(TIME_TYPE),
        pa.array(judged_series.value, from_pandas=True),
        pa.array(judged_series.quality),
        names.take(pa.array(bits_index)),
        *(
            pa.array(getattr(judged_series, name), from_pandas=True)
            for name in ("expected", "spread", "score")
        ),
    ]
    return pa.record_batch(columns, schema=JUDGED_SCHEMA)


JUDGED_TABLE = ArrowTable(
    "judged",
    JUDGED_SCHEMA,
    _arrow_batch,
    judged_readings,
    count=lambda judged_series: len(judged_series.time_s),
)
