"""Arrow tables of the API's rows, from which CSV and Parquet are made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pyarrow as pa

from edge.wire.quantities import QUANTITIES
from gateway import redaction, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import msgspec
    from numpy.typing import NDArray

    from gateway.known import Known
    from ingest_service.storage.answers import Found
    from ingest_service.storage.model import Bucket, Latest, Series

T = TypeVar("T")
TIME = pa.timestamp("us", "UTC")
NAME = pa.dictionary(pa.int32(), pa.string())
JUDGED = [
    ("measured", TIME),
    ("received", TIME),
    ("value", pa.float64()),
    ("quality", pa.uint8()),
    ("rules", pa.list_(pa.string())),
    ("expected", pa.float32()),
    ("spread", pa.float32()),
]
OF_SERIES = [("series_id", pa.int32()), ("site_id", NAME), ("quantity", NAME), ("unit", NAME)]
READINGS = pa.schema([*OF_SERIES, *JUDGED])
LATEST = pa.schema([*OF_SERIES, *JUDGED, ("age_s", pa.float64())])
BUCKETS = pa.schema(
    [
        *OF_SERIES,
        ("begins", TIME),
        ("count", pa.int32()),
        ("good", pa.int32()),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("mean", pa.float64()),
    ]
)
WORD, NUMBER = pa.string(), pa.float64()
ANOMALIES = pa.schema(
    [
        ("anomaly_id", pa.int64()),
        ("site_id", WORD),
        ("series_id", pa.int32()),
        *((name, WORD) for name in ("device_id", "quantity", "unit", "detector", "version", "state")),
        ("severity", pa.uint8()),
        *((name, TIME) for name in ("start", "end", "peak")),
        *((name, NUMBER) for name in ("observed", "expected", "spread", "score")),
        ("n_readings", pa.int32()),
        *((name, WORD) for name in ("reason_en", "reason_zh", "evidence")),
    ]
)


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """What blocks of some kind are as Arrow batches and as rows of JSON, and how many rows a block has."""

    name: str
    schema: pa.Schema
    batch: Callable[[T], pa.RecordBatch]
    rows: Callable[[T], Sequence[msgspec.Struct]]
    count: Callable[[T], int] = len  # type: ignore[assignment]


def readings(series: Sequence[Series], known: Known, *, name: str = "readings") -> Table[NDArray[np.void]]:
    """READING blocks of some series; their names are dictionaries, the same in every batch."""
    names = _Names(series)

    def batch(block: NDArray[np.void]) -> pa.RecordBatch:
        return pa.record_batch([*names.of(block["series_id"]), *_judged(block)], schema=READINGS)

    return Table(name, READINGS, batch, lambda block: rows.series_readings(block, known))


def latest(series: Sequence[Series], known: Known, now_s: float) -> Table[Sequence[Latest]]:
    """The newest readings of some series, with their age."""
    names = _Names(series)

    def batch(found: Sequence[Latest]) -> pa.RecordBatch:
        ids = np.array([one.series_id for one in found], np.int32)
        columns = [
            _times([one.time_s for one in found]),
            _times([one.received_s for one in found]),
            pa.array([one.value for one in found], pa.float64()),
            pa.array([one.quality for one in found], pa.uint8()),
            pa.array([rows.rules(one.rules) for one in found], pa.list_(pa.string())),
            pa.array([one.expected for one in found], pa.float32()),
            pa.array([one.spread for one in found], pa.float32()),
            pa.array([now_s - one.time_s for one in found], pa.float64()),
        ]
        return pa.record_batch([*names.of(ids), *columns], schema=LATEST)

    return Table("latest", LATEST, batch, lambda found: rows.latest(found, known, now_s))


def buckets(series: Series) -> Table[Sequence[Bucket]]:
    """Buckets of one series."""
    names = _Names([series])

    def batch(found: Sequence[Bucket]) -> pa.RecordBatch:
        columns = [
            _times([one.time_s for one in found]),
            pa.array([one.count for one in found], pa.int32()),
            pa.array([one.good for one in found], pa.int32()),
            pa.array([one.min for one in found], pa.float64()),
            pa.array([one.max for one in found], pa.float64()),
            pa.array([rows.rounded(one.mean) for one in found], pa.float64()),
        ]
        ids = np.full(len(found), series.series_id, np.int32)
        return pa.record_batch([*names.of(ids), *columns], schema=BUCKETS)

    return Table("buckets", BUCKETS, batch, rows.buckets)


def anomalies(known: Known) -> Table[Sequence[Found]]:
    """Anomalies as the reader with a directory may see them; evidence is JSON."""

    def column(name: str, found: Sequence[Found]) -> pa.Array:
        kind = ANOMALIES.field(name).type
        if kind == TIME:
            return _times([getattr(one, f"{name}_s") for one in found])
        if name in ("quantity", "unit"):
            which = ("quantity", "unit").index(name)
            return pa.array([rows.quantity(one.series_id, known)[which] for one in found], kind)
        return pa.array([getattr(one, name) for one in found], kind)

    def batch(found: Sequence[Found]) -> pa.RecordBatch:
        seen = redaction.of_found(found, known)
        return pa.record_batch([column(name, seen) for name in ANOMALIES.names], schema=ANOMALIES)

    def shown(found: Sequence[Found]) -> Sequence[msgspec.Struct]:
        return rows.anomalies(redaction.of_found(found, known), known)

    return Table("anomalies", ANOMALIES, batch, shown)


class _Names:
    """Site, quantity and unit of series as dictionaries of words; made when they are first needed."""

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
        words = (
            [one.site_id for one in self._series],
            [one.quantity for one in self._series],
            [QUANTITIES[one.quantity].unit for one in self._series],
        )
        return [np.unique(np.array(column, str), return_inverse=True) for column in words]

    def of(self, series_id: NDArray[np.int32]) -> list[pa.Array]:
        """Series id, site, quantity and unit of (n,) rows."""
        at = self._order[np.searchsorted(self._ids, series_id, sorter=self._order)]
        dictionaries = [
            pa.DictionaryArray.from_arrays(pa.array(codes[at].astype(np.int32)), pa.array(words.tolist()))
            for words, codes in self._columns
        ]
        return [pa.array(np.ascontiguousarray(series_id)), *dictionaries]


def _judged(block: NDArray[np.void]) -> list[pa.Array]:
    bits, at = np.unique(block["rules"], return_inverse=True)
    lists = pa.array([rows.rules(one) for one in bits.tolist()], pa.list_(pa.string()))
    column: dict[str, Any] = {name: np.ascontiguousarray(block[name]) for name in block.dtype.names or ()}
    return [
        pa.array(column["time_us"]).view(TIME),
        pa.array(column["received_us"]).view(TIME),
        pa.array(column["value"]),
        pa.array(column["quality"]),
        lists.take(pa.array(at)),
        pa.array(column["expected"], from_pandas=True),
        pa.array(column["spread"], from_pandas=True),
    ]


def _times(seconds: Sequence[float | None]) -> pa.Array:
    us = [None if one is None else round(one * 1e6) for one in seconds]
    return pa.array(us, pa.int64()).view(TIME)
