"""Writes the results of a backtest: anomalies.csv, flags.parquet and summary.json."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.core.flags import Rule
from deploy.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from analytics.service.backtest import JudgedHistory
    from ingest_service.storage.contract.models import Anomaly

ANOMALY_COLUMNS = (
    "series", "site", "quantity", "detector", "start", "end", "peak", "score", "severity", "observed",
    "expected", "reason_en", "reason_zh",
)  # fmt: skip


def series_name(one: JudgedHistory) -> str:
    """Return the name of a series in the output files, ``site/quantity``."""
    return f"{one.series.site_id}/{one.series.quantity}"


def write_anomalies(path: Path, judged: Sequence[JudgedHistory]) -> None:
    """Write one line per anomaly, times in ISO 8601 UTC; an open anomaly has no end."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(ANOMALY_COLUMNS)
        for one in judged:
            for anomaly in one.anomalies:
                writer.writerow(_anomaly_row(one, anomaly))


def _anomaly_row(one: JudgedHistory, anomaly: Anomaly) -> Iterator[object]:
    yield from (series_name(one), one.series.site_id, one.series.quantity, anomaly.detector)
    for time_s in (anomaly.start_s, anomaly.end_s, anomaly.peak_s):
        yield "" if time_s is None else datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")
    yield from (f"{anomaly.score:.2f}", anomaly.severity)
    for number in (anomaly.observed, anomaly.expected):
        yield "" if number is None else f"{number:.6g}"
    yield from (anomaly.reason_en, anomaly.reason_zh)


def write_flags(path: Path, judged: Sequence[JudgedHistory]) -> None:
    """Write one row per reading and one row group per series; NaN is null, rule names are joined by ``+``."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError("flags.parquet needs pyarrow: pip install towntwin[backtest]") from error
    schema = pa.schema(
        {
            "series": pa.dictionary(pa.int32(), pa.string()),
            "time": pa.timestamp("us", "UTC"),
            "value": pa.float64(),
            "flag": pa.uint8(),
            "rules": pa.dictionary(pa.int32(), pa.string()),
            "expected": pa.float32(),
            "spread": pa.float32(),
            "score": pa.float32(),
        }
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for one in judged:
            distinct_rules, rule_indices = np.unique(one.rules, return_inverse=True)
            columns = [
                pa.DictionaryArray.from_arrays(np.zeros(len(one.time_s), np.int32), [series_name(one)]),
                pa.array(np.rint(one.time_s * 1e6).astype(np.int64), pa.timestamp("us", "UTC")),
                pa.array(one.value, from_pandas=True),
                one.quality,
                pa.DictionaryArray.from_arrays(
                    rule_indices.astype(np.int32), [_rule_names(rules) for rules in distinct_rules]
                ),
                pa.array(one.expected, from_pandas=True),
                pa.array(one.spread, from_pandas=True),
                pa.array(one.score, from_pandas=True),
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _rule_names(rules: int) -> str:
    return "+".join(str(one.name).lower() for one in Rule(int(rules)))


def write_summary(path: Path, found: dict[str, Any]) -> str:
    """Write the summary as JSON and return it as one line."""
    line = json.dumps(found, ensure_ascii=False)
    path.write_text(line + "\n", "utf-8")
    return line
