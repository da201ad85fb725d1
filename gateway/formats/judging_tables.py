"""Converts a judged uploaded series to JSON rows and Arrow batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.api.models import row_models
from gateway.api.models.judging_models import JudgedAnomalyResponse
from gateway.formats.arrow_tables import ArrowTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from analytics.service import backtest
    from ingest_service.storage.contract.models import Anomaly


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


def _schema() -> pa.Schema:
    from gateway.formats import arrow_judging  # noqa: PLC0415 - pyarrow

    return arrow_judging.JUDGED_SCHEMA


def _arrow_batch(judged_series: backtest.JudgedHistory) -> pa.RecordBatch:
    from gateway.formats import arrow_judging  # noqa: PLC0415 - pyarrow

    return arrow_judging.judged_batch(judged_series)


JUDGED_TABLE = ArrowTable(
    "judged",
    _schema,
    _arrow_batch,
    judged_readings,
    count=lambda judged_series: len(judged_series.time_s),
)
