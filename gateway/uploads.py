"""A series that is posted: JSON, CSV, Arrow or Parquet with a column of times and one of values."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from gateway.forms import MEDIA
from gateway.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_ROWS = 2_000_000
LAST_S = 253_402_300_800.0  # the year 10000
TO_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class Columns(msgspec.Struct, forbid_unknown_fields=True):
    """A series in JSON: times as RFC 3339 or Unix seconds, values with null for what is missing."""

    time: list[str | float]
    value: list[float | None]


class Posted(NamedTuple):
    """Readings by strictly increasing time [s], NaN for missing values, and how many rows were left out."""

    time_s: Floats
    value: Floats
    left_out: dict[str, int]


def read(body: bytes, media_type: str) -> Posted:
    """The series of a body. Raises `ProblemError` saying what is wrong, and where."""
    reader = READERS.get(media_type.split(";", maxsplit=1)[0].strip().lower())
    if reader is None:
        raise ProblemError(
            415, f"content-type: send the series as {', '.join(READERS)}", where="content-type"
        )
    try:
        table = reader(body)
    except (pa.ArrowException, msgspec.DecodeError, OSError) as error:
        raise _wrong(str(error).splitlines()[0]) from error
    if len(table) > MOST_ROWS:
        raise ProblemError(
            413, f"body: {len(table):,} rows are more than {MOST_ROWS:,}: send fewer", where="body"
        )
    time_s, value = _times(_column(table, "time")), _values(_column(table, "value"))
    known = np.isfinite(time_s) & (np.abs(time_s) < LAST_S)
    increasing, first = np.unique(time_s[known], return_index=True)
    left_out = {"without_time": int((~known).sum()), "repeated": int(known.sum() - len(increasing))}
    return Posted(increasing, value[known][first], left_out)


def _of_json(body: bytes) -> pa.Table:
    columns = msgspec.json.decode(body, type=Columns)
    if len(columns.time) != len(columns.value):
        raise _wrong(f"{len(columns.time)} times and {len(columns.value)} values: give as many of both")
    if any(isinstance(one, str) for one in columns.time):
        return pa.table({"time": [str(one) for one in columns.time], "value": columns.value})
    return pa.table(
        {"time": pa.array(columns.time, pa.float64()), "value": pa.array(columns.value, pa.float64())}
    )


def _of_csv(body: bytes) -> pa.Table:
    return csv.read_csv(io.BytesIO(body))


def _of_arrow(body: bytes) -> pa.Table:
    return pa.ipc.open_stream(body).read_all()


def _of_parquet(body: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(body), columns=["time", "value"])


READERS: dict[str, Callable[[bytes], pa.Table]] = {
    MEDIA["json"]: _of_json,
    MEDIA["csv"]: _of_csv,
    MEDIA["arrow"]: _of_arrow,
    MEDIA["parquet"]: _of_parquet,
}


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if table.schema.names.count(name) != 1:
        raise _wrong(f"there must be one column {name!r}, and there are {', '.join(table.schema.names)}")
    return table.column(name)


def _times(column: pa.ChunkedArray) -> Floats:
    """Unix seconds; NaN where there is none."""
    kind = column.type
    if pa.types.is_string(kind):
        column, kind = _parsed(column)
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            raise _wrong("times need their offset, as 2026-11-23T08:00:00+08:00 or …Z")
        return _floats(column.cast(pa.int64())) * TO_S[kind.unit]
    return _values(column)


def _parsed(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Any]:
    kind = pa.timestamp("us", "UTC")
    try:
        return column.cast(kind), kind
    except pa.ArrowInvalid as error:
        raise _wrong(f"times are RFC 3339 with their offset, or Unix seconds: {error}") from error


def _values(column: pa.ChunkedArray) -> Floats:
    if not (
        pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)
    ):
        raise _wrong(f"a column of numbers is wanted, and {column.type} was found")
    return _floats(column)


def _floats(column: pa.ChunkedArray) -> Floats:
    numbers: Floats = column.cast(pa.float64(), safe=False).to_numpy()
    return numbers


def _wrong(why: str) -> ProblemError:
    return ProblemError(422, f"body: {why}", where="body")
