"""Converts readings, buckets and anomalies to JSON rows, and to Arrow batches for CSV, Arrow and Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.api.models import row_models
from gateway.auth import evidence_redaction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import msgspec
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from gateway.api.directory_cache import DirectoryIndex
    from gateway.formats.arrow_columns import SeriesNameColumns
    from ingest_service.storage.contract.models import AnomalyRow, Bucket, NewestReading, Series

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ArrowTable(Generic[T]):
    """How to convert one kind of block to an Arrow batch and to JSON rows, and to count its rows.

    ``load_schema`` and ``batch`` import pyarrow, the others do not.
    """

    name: str
    load_schema: Callable[[], pa.Schema]
    batch: Callable[[T], pa.RecordBatch]
    rows: Callable[[T], Sequence[msgspec.Struct]]
    count: Callable[[T], int] = len  # type: ignore[assignment]


def readings_schema() -> pa.Schema:
    """Return the Arrow schema of readings."""
    from gateway.formats import arrow_columns  # noqa: PLC0415 - pyarrow

    return arrow_columns.READINGS_SCHEMA


def readings_table(
    series: Sequence[Series], directory_index: DirectoryIndex, *, name: str = "readings"
) -> ArrowTable[NDArray[np.void]]:
    """Return the table of READING blocks; names are dictionary-encoded, the same in every batch."""
    names = _name_columns(series)

    def batch(block: NDArray[np.void]) -> pa.RecordBatch:
        from gateway.formats import arrow_columns  # noqa: PLC0415 - pyarrow

        return arrow_columns.readings_batch(names(), block)

    return ArrowTable(
        name, readings_schema, batch, lambda block: row_models.series_reading_rows(block, directory_index)
    )


def latest_table(
    series: Sequence[Series], directory_index: DirectoryIndex, now_s: float
) -> ArrowTable[Sequence[NewestReading]]:
    """Return the table of the newest readings of some series, with their age [s] at ``now_s``."""
    names = _name_columns(series)

    def schema() -> pa.Schema:
        from gateway.formats import arrow_columns  # noqa: PLC0415 - pyarrow

        return arrow_columns.LATEST_SCHEMA

    def batch(row_block: Sequence[NewestReading]) -> pa.RecordBatch:
        from gateway.formats import arrow_columns  # noqa: PLC0415 - pyarrow

        return arrow_columns.latest_batch(names(), row_block, now_s)

    return ArrowTable(
        "latest", schema, batch, lambda row_block: row_models.latest_rows(row_block, directory_index, now_s)
    )


def buckets_table(series: Series) -> ArrowTable[Sequence[Bucket]]:
    """Return the table of aggregated buckets of one series."""
    names = _name_columns([series])

    def schema() -> pa.Schema:
        from gateway.formats import arrow_columns  # noqa: PLC0415 - pyarrow

        return arrow_columns.BUCKETS_SCHEMA

    def batch(row_block: Sequence[Bucket]) -> pa.RecordBatch:
        from gateway.formats import arrow_columns  # noqa: PLC0415 - pyarrow

        return arrow_columns.buckets_batch(names(), series.series_id, row_block)

    return ArrowTable("buckets", schema, batch, row_models.bucket_rows)


def anomalies_table(directory_index: DirectoryIndex) -> ArrowTable[Sequence[AnomalyRow]]:
    """Return the table of anomalies, their evidence (JSON) redacted to the areas of a directory."""

    def schema() -> pa.Schema:
        from gateway.formats import arrow_columns  # noqa: PLC0415 - pyarrow

        return arrow_columns.ANOMALIES_SCHEMA

    def batch(row_block: Sequence[AnomalyRow]) -> pa.RecordBatch:
        from gateway.formats import arrow_columns  # noqa: PLC0415 - pyarrow

        redacted = evidence_redaction.redact_rows(row_block, directory_index)
        return arrow_columns.anomalies_batch(redacted, directory_index)

    def to_json_rows(row_block: Sequence[AnomalyRow]) -> Sequence[msgspec.Struct]:
        return row_models.anomaly_rows(
            evidence_redaction.redact_rows(row_block, directory_index), directory_index
        )

    return ArrowTable("anomalies", schema, batch, to_json_rows)


def _name_columns(series: Sequence[Series]) -> Callable[[], SeriesNameColumns]:
    """Return a function that builds the columns of names at its first call."""

    @cache
    def build() -> SeriesNameColumns:
        from gateway.formats import arrow_columns  # noqa: PLC0415 - pyarrow

        return arrow_columns.SeriesNameColumns(series)

    return build
