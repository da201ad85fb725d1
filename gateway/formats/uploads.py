"""Parses an uploaded series: JSON, CSV or Parquet with a column of times and one of values.

`gateway.formats.upload_pool` runs this in a process with limited memory and time, as the size in a file's
metadata may be wrong. Arrow is not accepted: the size of a compressed stream is known only once it is
decompressed.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute as pc
from pyarrow import csv

from gateway.api.problems import ProblemError
from gateway.formats.negotiation import MEDIA_TYPES
from gateway.formats.upload_protocol import UploadedSeries

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAX_ROWS = 500_000  # almost five years at five-minute intervals
MAX_COLUMNS = 200
MAX_HEADER_BYTES = 65_536  # of CSV: the first line ends within so many
THRIFT_BYTES, THRIFT_ITEMS = 1_000_000, 10_000  # limits of one string and one list in Parquet metadata
MAX_UNPACKED_BYTES = 48 * 2**20  # of both columns, decompressed
MIN_TIME_S, MAX_TIME_S = -62_135_596_800.0, 253_402_300_800.0  # the years 1 and 10000
SECONDS_PER_UNIT = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
COLUMN_NAMES = ["time", "value"]
TIME_ADVICE = "times are RFC 3339 with their offset (…+08:00 or …Z), or Unix seconds"
RFC3339_PATTERN = (
    r"^\d{4}-\d{2}-\d{2}[T ]([01]\d|2[0-3])(:[0-5]\d(:[0-5]\d(\.\d+)?)?)?(Z|[+-]\d{2}(:?\d{2})?)$"
)
NUMBER_PATTERN = r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$"
READING_ADVICE = {
    MEDIA_TYPES["json"]: 'send {"time": […], "value": […]} in UTF-8',
    MEDIA_TYPES["csv"]: "send lines of as many columns as the first, which names them, with commas between",
    MEDIA_TYPES["parquet"]: "send a whole file with plain columns time and value",
}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # of UTF-8, as Windows writes it
IS_NUMBER_TYPE = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null)
MAX_QUOTED_TEXT = 60  # characters of an invalid text that the problem repeats
MAX_QUOTED_COLUMNS = 10
MAX_REASON = 200  # characters of the parser's own reason


class JsonColumns(msgspec.Struct, forbid_unknown_fields=True):
    """A series in JSON: times as RFC 3339 or Unix seconds, values with null for missing ones."""

    time: list[str | float]
    value: list[float | None]


def parse_series(body: bytes, media_type: str) -> UploadedSeries:
    """Return the series of a body. Raises `ProblemError` (415, 422, 413)."""
    base_media_type = media_type.split(";", maxsplit=1)[0].strip().lower()
    reader = READERS.get(base_media_type)
    if reader is None:
        raise ProblemError(
            415, f"content-type: send the series as {', '.join(READERS)}", where="content-type"
        )
    try:
        table = reader(body)
        time_s, value = _parse_times(_column(table, "time")), _parse_values(_column(table, "value"))
    except UnicodeDecodeError as error:
        raise _invalid_body("the text is not UTF-8: save it as that (spreadsheets: CSV UTF-8)") from error
    except pa.ArrowMemoryError:
        raise  # `gateway.formats.upload_worker` handles it
    except (pa.ArrowException, msgspec.DecodeError, OSError) as error:
        raise _invalid_body(f"{_reason(error)}: {READING_ADVICE[base_media_type]}") from error
    has_time = (time_s >= MIN_TIME_S) & (time_s < MAX_TIME_S)  # false for NaN
    if len(has_time) and not has_time.any():
        raise _invalid_body(f"{TIME_ADVICE}, and none of the {len(has_time)} rows has one")
    unique_times, first_indices = np.unique(time_s[has_time], return_index=True)
    left_out = {"without_time": int((~has_time).sum()), "repeated": int(has_time.sum() - len(unique_times))}
    return UploadedSeries(unique_times, value[has_time][first_indices], left_out)


def _parse_json(body: bytes) -> pa.Table:
    columns = msgspec.json.decode(body.removeprefix(BYTE_ORDER_MARK), type=JsonColumns)
    if len(columns.time) != len(columns.value):
        raise _invalid_body(
            f"{len(columns.time)} times and {len(columns.value)} values: give as many of both"
        )
    _check_size(len(columns.time))
    if any(isinstance(one, str) for one in columns.time):
        return pa.table({"time": [str(one) for one in columns.time], "value": columns.value})
    return pa.table(
        {"time": pa.array(columns.time, pa.float64()), "value": pa.array(columns.value, pa.float64())}
    )


def _parse_csv(body: bytes) -> pa.Table:
    body.decode()  # raises a clearer error than the CSV parser
    header, _, rows = body[:MAX_HEADER_BYTES].partition(b"\n")
    if not rows and len(body) > len(header) + 1:
        raise _invalid_body(
            f"the first line of the CSV is longer than {MAX_HEADER_BYTES:,} bytes: send two columns"
        )
    _check_columns(header.count(b",") + 1)
    _check_size(max(body.count(b"\n"), body.count(b"\r")) - 1)  # before anything is parsed
    table = csv.read_csv(io.BytesIO(body), csv.ReadOptions(use_threads=False))
    _check_size(len(table))
    return table


def _parse_parquet(body: bytes) -> pa.Table:
    """Read Parquet; the size in its metadata, which may be wrong, is checked before decompression."""
    metadata = _open_parquet(body).metadata
    _check_columns(metadata.num_columns)
    schema = metadata.schema.to_arrow_schema()
    paths = {metadata.schema.column(at).path for at in range(metadata.num_columns)}
    for name in COLUMN_NAMES:
        _check_one_column(schema.names, name)
        if name not in paths:  # nested; its parts have other paths and sizes
            raise _invalid_body(f"{name}: a plain column is wanted, and {schema.field(name).type} was found")
    parquet_file = _open_parquet(body, read_dictionary=COLUMN_NAMES)  # a long repeated text is stored once
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    columns = [group.column(at) for group in groups for at in range(group.num_columns)]
    _check_size(
        metadata.num_rows,
        sum(one.total_uncompressed_size for one in columns if one.path_in_schema in COLUMN_NAMES),
    )
    return parquet_file.read(columns=COLUMN_NAMES, use_threads=False)


def _open_parquet(body: bytes, read_dictionary: list[str] | None = None) -> pq.ParquetFile:
    return pq.ParquetFile(
        io.BytesIO(body),
        read_dictionary=read_dictionary,
        thrift_string_size_limit=THRIFT_BYTES,
        thrift_container_size_limit=THRIFT_ITEMS,
    )


READERS: dict[str, Callable[[bytes], pa.Table]] = {
    MEDIA_TYPES["json"]: _parse_json,
    MEDIA_TYPES["csv"]: _parse_csv,
    MEDIA_TYPES["parquet"]: _parse_parquet,
}


def _check_size(rows: int, unpacked_bytes: int = 0) -> None:
    if rows > MAX_ROWS:
        raise ProblemError(413, f"body: {rows:,} rows are more than {MAX_ROWS:,}: send fewer", where="body")
    if unpacked_bytes > MAX_UNPACKED_BYTES:
        raise ProblemError(
            413,
            f"body: unpacked it has more than {MAX_UNPACKED_BYTES:,} bytes: send fewer rows",
            where="body",
        )


def _check_columns(columns: int) -> None:
    if columns > MAX_COLUMNS:
        detail = f"body: {columns:,} columns are more than {MAX_COLUMNS}: send two, time and value"
        raise ProblemError(413, detail, where="body")


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    _check_one_column(table.schema.names, name)
    return table.column(name)


def _check_one_column(names: list[str], name: str) -> None:
    if names.count(name) != 1:
        found = ", ".join(repr(one[:MAX_QUOTED_TEXT]) for one in names[:MAX_QUOTED_COLUMNS]) or "none"
        more = ", …" if len(names) > MAX_QUOTED_COLUMNS else ""
        raise _invalid_body(f"there must be one column {name!r}, and there are {found}{more}")


def _parse_times(column: pa.ChunkedArray) -> Floats:
    """Return Unix seconds; NaN for missing times."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _parse_dictionary(column, _parse_times)
    if _is_text(kind):
        return _parse_time_text(column.cast(pa.string()).combine_chunks())
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            raise _invalid_body("times need their offset, as 2026-11-23T08:00:00+08:00 or …Z")
        return _to_float64(column.cast(pa.int64())) * SECONDS_PER_UNIT[kind.unit]
    return _parse_values(column, "time")


def _parse_time_text(text: pa.Array) -> Floats:
    """Return Unix seconds of RFC 3339 or of numbers; NaN for all else, as a leap second or 30 February."""
    time_s = np.full(len(text), np.nan)
    for pattern, kind, scale in (
        (RFC3339_PATTERN, pa.timestamp("us", "UTC"), SECONDS_PER_UNIT["us"]),
        (NUMBER_PATTERN, pa.float64(), 1.0),
    ):
        matches = pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False)
        at = np.flatnonzero(matches == True)  # noqa: E712 - None where the text is missing
        time_s[at] = _cast_each(text.take(pa.array(at)), kind) * scale
    return time_s


def _cast_each(text: pa.Array, kind: pa.DataType) -> Floats:
    """Cast texts of the right form; NaN for those which are none all the same, found by bisection."""
    try:
        cast = text.cast(kind)
    except pa.ArrowInvalid:
        if len(text) == 1:
            return np.full(1, np.nan)
        half = len(text) // 2
        return np.concatenate([_cast_each(text[:half], kind), _cast_each(text[half:], kind)])
    numbers = cast.cast(pa.int64()) if pa.types.is_timestamp(kind) else cast
    return np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)


def _parse_values(column: pa.ChunkedArray, name: str = "value") -> Floats:
    """Return numbers; NaN for missing values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _parse_dictionary(column, _parse_values)
    if _is_text(kind):
        column = _cast_text(column, pa.float64(), "values are numbers")
    elif not any(one(kind) for one in IS_NUMBER_TYPE):
        expectation = TIME_ADVICE if name == "time" else "a column of numbers is wanted"
        raise _invalid_body(f"{name}: {expectation}, and {kind} was found")
    return _to_float64(column)


def _parse_dictionary(column: pa.ChunkedArray, read: Callable[[pa.ChunkedArray], Floats]) -> Floats:
    """Parse a dictionary-encoded column: each distinct entry once."""
    array = column.combine_chunks()
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    parsed_chunks = [
        pa.array(read(pa.chunked_array([one.dictionary]))).take(one.indices).to_numpy(zero_copy_only=False)
        for one in chunks
    ]
    return np.concatenate([np.empty(0), *parsed_chunks])


def _is_text(kind: pa.DataType) -> bool:
    return any(one(kind) for one in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _cast_text(column: pa.ChunkedArray, kind: pa.DataType, expectation: str) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string()).cast(kind)
    except pa.ArrowInvalid as error:
        match = re.search(r"string: '(.*?)' as", str(error), re.DOTALL)
        raise _invalid_body(
            f"{expectation}, and {match[1][:MAX_QUOTED_TEXT]!r} is not" if match else expectation
        ) from error


def _to_float64(column: pa.ChunkedArray) -> Floats:
    numbers: Floats = column.cast(pa.float64(), safe=False).to_numpy()
    return numbers


def _reason(error: Exception) -> str:
    """Return the parser's own reason: its first line, which may quote the whole row."""
    line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".: ")
    return line if len(line) <= MAX_REASON else f"{line[:MAX_REASON]}…"


def _invalid_body(reason: str) -> ProblemError:
    return ProblemError(422, f"body: {reason}", where="body")
