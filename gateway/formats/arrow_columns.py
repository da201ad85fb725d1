"""Arrow schemas and batches of readings, buckets and anomalies.

Imported at the first response that is neither JSON nor NDJSON: pyarrow takes 36 MB, and the gateway's own
process seldom writes one (decision 0032).
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from edge.wire.quantities import QUANTITIES
from gateway.api.models import row_models
from gateway.api.models.resource_models import ListedAnomalyResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydantic import BaseModel

    from gateway.api.directory_cache import DirectoryIndex
    from ingest_service.storage.contract.models import AnomalyRow, Bucket, NewestReading, Series

TIME_TYPE = pa.timestamp("us", "UTC")
NAME_TYPE = pa.dictionary(pa.int32(), pa.string())
JUDGED_COLUMNS = [
    ("measured", TIME_TYPE),
    ("received", TIME_TYPE),
    ("value", pa.float64()),
    ("quality", pa.uint8()),
    ("rules", pa.list_(pa.string())),
    ("expected", pa.float32()),
    ("spread", pa.float32()),
]
SERIES_COLUMNS = [
    ("series_id", pa.int32()),
    ("site_id", NAME_TYPE),
    ("quantity", NAME_TYPE),
    ("unit", NAME_TYPE),
]
READINGS_SCHEMA = pa.schema([*SERIES_COLUMNS, *JUDGED_COLUMNS])
LATEST_SCHEMA = pa.schema([*SERIES_COLUMNS, *JUDGED_COLUMNS, ("age_s", pa.float64())])
BUCKETS_SCHEMA = pa.schema(
    [
        *SERIES_COLUMNS,
        ("begins", TIME_TYPE),
        ("count", pa.int32()),
        ("good", pa.int32()),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("mean", pa.float64()),
    ]
)
TEXT_TYPE, NUMBER_TYPE = pa.string(), pa.float64()


def schema_of(model: type[BaseModel], **narrower: pa.DataType) -> pa.Schema:
    """Return the Arrow schema of a documented model; ``narrower`` names the types of single fields.

    Objects are JSON text, as in CSV.
    """
    types = {bool: pa.bool_(), int: pa.int64(), float: NUMBER_TYPE, datetime: TIME_TYPE}
    kinds = {name: row_models.value_kind(field.annotation)[0] for name, field in model.model_fields.items()}
    return pa.schema([(name, narrower.get(name) or types.get(kinds[name], TEXT_TYPE)) for name in kinds])


ANOMALIES_SCHEMA = schema_of(
    ListedAnomalyResponse, series_id=pa.int32(), severity=pa.uint8(), n_readings=pa.int32()
)


class SeriesNameColumns:
    """Dictionary-encoded columns site, quantity and unit of series; built at first use."""

    def __init__(self, series: Sequence[Series]) -> None:
        self._series = series

    @cached_property
    def _ids(self) -> NDArray[np.int32]:
        return np.array([one.series_id for one in self._series], np.int32)

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        return np.argsort(self._ids)

    @cached_property
    def _columns(self) -> list[tuple[NDArray[np.str_], NDArray[np.intp]]]:
        distinct_names = (
            [one.site_id for one in self._series],
            [one.quantity for one in self._series],
            [QUANTITIES[one.quantity].unit for one in self._series],
        )
        return [np.unique(np.array(column, str), return_inverse=True) for column in distinct_names]

    def columns_for(self, series_id: NDArray[np.int32]) -> list[pa.Array]:
        """Return the columns series id, site, quantity and unit of (n,) rows."""
        at = self._order[np.searchsorted(self._ids, series_id, sorter=self._order)]
        dictionaries = [
            pa.DictionaryArray.from_arrays(
                pa.array(codes[at].astype(np.int32)), pa.array(distinct_names.tolist())
            )
            for distinct_names, codes in self._columns
        ]
        return [pa.array(np.ascontiguousarray(series_id)), *dictionaries]


def readings_batch(names: SeriesNameColumns, block: NDArray[np.void]) -> pa.RecordBatch:
    """Return a READING block as a batch; names are dictionary-encoded, the same in every batch."""
    return pa.record_batch(
        [*names.columns_for(block["series_id"]), *_reading_arrays(block)], schema=READINGS_SCHEMA
    )


def latest_batch(
    names: SeriesNameColumns, row_block: Sequence[NewestReading], now_s: float
) -> pa.RecordBatch:
    """Return the newest readings of some series, with their age [s] at ``now_s``."""
    ids = np.array([one.series_id for one in row_block], np.int32)
    columns = [
        _time_array([one.time_s for one in row_block]),
        _time_array([one.received_s for one in row_block]),
        pa.array([one.value for one in row_block], pa.float64()),
        pa.array([one.quality for one in row_block], pa.uint8()),
        pa.array([row_models.rule_names(one.rules) for one in row_block], pa.list_(pa.string())),
        pa.array([one.expected for one in row_block], pa.float32()),
        pa.array([one.spread for one in row_block], pa.float32()),
        pa.array([now_s - one.time_s for one in row_block], pa.float64()),
    ]
    return pa.record_batch([*names.columns_for(ids), *columns], schema=LATEST_SCHEMA)


def buckets_batch(names: SeriesNameColumns, series_id: int, row_block: Sequence[Bucket]) -> pa.RecordBatch:
    """Return the aggregated buckets of one series."""
    columns = [
        _time_array([one.time_s for one in row_block]),
        pa.array([one.count for one in row_block], pa.int32()),
        pa.array([one.good for one in row_block], pa.int32()),
        pa.array([one.min for one in row_block], pa.float64()),
        pa.array([one.max for one in row_block], pa.float64()),
        pa.array([row_models.rounded_mean(one.mean) for one in row_block], pa.float64()),
    ]
    ids = np.full(len(row_block), series_id, np.int32)
    return pa.record_batch([*names.columns_for(ids), *columns], schema=BUCKETS_SCHEMA)


def anomalies_batch(row_block: Sequence[AnomalyRow], directory_index: DirectoryIndex) -> pa.RecordBatch:
    """Return anomalies, which are redacted already."""
    return pa.record_batch(
        [_anomaly_column(name, row_block, directory_index) for name in ANOMALIES_SCHEMA.names],
        schema=ANOMALIES_SCHEMA,
    )


def _anomaly_column(name: str, row_block: Sequence[AnomalyRow], directory_index: DirectoryIndex) -> pa.Array:
    kind = ANOMALIES_SCHEMA.field(name).type
    if kind == TIME_TYPE:
        return _time_array([getattr(one, f"{name}_s") for one in row_block])
    if name in ("quantity", "unit"):
        column_number = ("quantity", "unit").index(name)
        return pa.array(
            [
                row_models.quantity_and_unit(one.series_id, directory_index)[column_number]
                for one in row_block
            ],
            kind,
        )
    if name == "verdict_on_sensor":
        return pa.array([row_models.verdict_name(one) for one in row_block], kind)
    if name == "event_probability":
        return pa.array([row_models.listed_probability(one) for one in row_block], kind)
    return pa.array([getattr(one, name) for one in row_block], kind)


def _reading_arrays(block: NDArray[np.void]) -> list[pa.Array]:
    bits, at = np.unique(block["rules"], return_inverse=True)
    lists = pa.array([row_models.rule_names(one) for one in bits.tolist()], pa.list_(pa.string()))
    column: dict[str, Any] = {name: np.ascontiguousarray(block[name]) for name in block.dtype.names or ()}
    return [
        pa.array(column["time_us"]).view(TIME_TYPE),
        pa.array(column["received_us"]).view(TIME_TYPE),
        pa.array(column["value"]),
        pa.array(column["quality"]),
        lists.take(pa.array(at)),
        pa.array(column["expected"], from_pandas=True),
        pa.array(column["spread"], from_pandas=True),
    ]


def _time_array(seconds: Sequence[float | None]) -> pa.Array:
    times_us = [None if one is None else round(one * 1e6) for one in seconds]
    return pa.array(times_us, pa.int64()).view(TIME_TYPE)
