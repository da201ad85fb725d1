"""Converts PostgreSQL's binary COPY format to and from structured arrays, without a loop over rows.

A row of ``reading`` has no NULL, so every row has the same length, and a whole batch is one big-endian
array with the field lengths between the fields (PostgreSQL documentation, COPY, "Binary Format").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ingest_service.storage.contract.models import READING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from psycopg import Cursor

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
ARRAY_HEADER_BYTES = 20  # bytes
POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01 in Unix microseconds [us]

# The columns of table `reading`, in its order, with their binary types.
COLUMNS = (
    ("time_us", ">i8"),
    ("received_us", ">i8"),
    ("value", ">f8"),
    ("series_id", ">i4"),
    ("expected", ">f4"),
    ("spread", ">f4"),
    ("quality", ">i2"),
    ("rules", ">i2"),
)
SERIES_COLUMNS = tuple(one for one in COLUMNS if one[0] != "series_id")
COPY_ROW = np.dtype(
    [("fields", ">i2")]
    + [part for name, kind in COLUMNS for part in ((f"{name}_length", ">i4"), (name, kind))]
)
EMPTY_ROW = np.array(
    (len(COLUMNS), *(part for _, kind in COLUMNS for part in (np.dtype(kind).itemsize, 0))), COPY_ROW
)
"""What is the same in every row: the number of fields and their lengths."""


def encode_copy(rows: NDArray[np.void]) -> memoryview:
    """Encode READING rows as the complete input of ``COPY reading FROM STDIN (FORMAT binary)``.

    Each column is written once, at its place in the input; this is on the way of every commit.

    Parameters
    ----------
    rows : (n,) READING

    """
    copy_input = bytearray(len(HEADER) + len(rows) * COPY_ROW.itemsize + len(TRAILER))
    copy_input[: len(HEADER)] = HEADER
    copy_input[-len(TRAILER) :] = TRAILER
    encoded = np.frombuffer(copy_input, COPY_ROW, len(rows), len(HEADER))
    encoded[:] = EMPTY_ROW
    for name, _ in COLUMNS:
        if name.endswith("_us"):
            np.subtract(rows[name], POSTGRES_EPOCH_US, out=encoded[name])
        else:
            encoded[name] = rows[name]
    return memoryview(copy_input)  # psycopg writes slices of it, which are no copies


def decode_copy(
    chunks: Iterable[bytes | bytearray | memoryview], *, block_rows: int = 200_000
) -> Iterator[NDArray[np.void]]:
    """Yield READING blocks of about ``block_rows`` from ``COPY (SELECT …) TO STDOUT (FORMAT binary)``."""
    buffer = bytearray()
    header_read = False
    for chunk in chunks:
        buffer += chunk
        if not header_read and len(buffer) >= len(HEADER):
            del buffer[: len(HEADER)]
            header_read = True
        if len(buffer) >= block_rows * COPY_ROW.itemsize:
            yield _take_rows(buffer)
    rows = _take_rows(buffer)
    if len(rows):
        yield rows


def read_arrays(cursor: Cursor[Any], series_id: int) -> NDArray[np.void]:
    """Decode one row of array columns to READING rows of one series; empty if they are NULL.

    An array without NULL is a header of 20 bytes, then the length and value of each element (PostgreSQL's
    ``array_send``). This is ten times as fast as one result row per reading.
    """
    result = cursor.pgresult
    first = result.get_value(0, 0) if result is not None else None
    if result is None or first is None:
        return np.empty(0, READING)
    n = (len(first) - ARRAY_HEADER_BYTES) // (4 + np.dtype(SERIES_COLUMNS[0][1]).itemsize)
    encoded = np.empty(n, READING)
    encoded["series_id"] = series_id
    for at, (name, kind) in enumerate(SERIES_COLUMNS):
        element = np.dtype([("length", ">i4"), ("value", kind)])
        values = np.frombuffer(result.get_value(0, at) or b"", element, n, ARRAY_HEADER_BYTES)["value"]
        encoded[name] = values + POSTGRES_EPOCH_US if name.endswith("_us") else values
    return encoded


def read_snapshot_text(cursor: Cursor[Any]) -> str:
    """Return the text column that follows the array columns in the same result."""
    result = cursor.pgresult
    raw_text = result.get_value(0, len(SERIES_COLUMNS)) if result is not None else None
    return (raw_text or b"").decode()


def _take_rows(buffer: bytearray) -> NDArray[np.void]:
    """Decode the complete rows in a buffer and remove them from it."""
    n = len(buffer) // COPY_ROW.itemsize
    read = np.frombuffer(bytes(buffer[: n * COPY_ROW.itemsize]), COPY_ROW)
    del buffer[: n * COPY_ROW.itemsize]
    encoded = np.empty(n, READING)
    for name, _ in COLUMNS:
        encoded[name] = read[name] + POSTGRES_EPOCH_US if name.endswith("_us") else read[name]
    return encoded
