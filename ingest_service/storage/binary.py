"""Converts PostgreSQL's binary COPY format to and from structured arrays, without a loop over rows.

A row of ``reading`` has no NULL, so every row has the same length, and a whole batch is one big-endian
array with the field lengths between the fields (PostgreSQL documentation, COPY, "Binary Format").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ingest_service.storage.model import READING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from psycopg import Cursor

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
ARRAY_HEAD = 20  # bytes
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
OF_ONE = tuple(one for one in COLUMNS if one[0] != "series_id")
ROW = np.dtype(
    [("fields", ">i2")]
    + [part for name, kind in COLUMNS for part in ((f"{name}_length", ">i4"), (name, kind))]
)


def encode(rows: NDArray[np.void]) -> bytes:
    """Encode READING rows as the complete input of ``COPY reading FROM STDIN (FORMAT binary)``.

    Parameters
    ----------
    rows : (n,) READING

    """
    out = np.zeros(len(rows), ROW)
    out["fields"] = len(COLUMNS)
    for name, kind in COLUMNS:
        out[f"{name}_length"] = np.dtype(kind).itemsize
        out[name] = rows[name] - POSTGRES_EPOCH_US if name.endswith("_us") else rows[name]
    return HEADER + out.tobytes() + TRAILER


def decode(
    chunks: Iterable[bytes | bytearray | memoryview], *, block_rows: int = 200_000
) -> Iterator[NDArray[np.void]]:
    """Yield READING blocks of about ``block_rows`` from ``COPY (SELECT …) TO STDOUT (FORMAT binary)``."""
    held = bytearray()
    began = False
    for chunk in chunks:
        held += chunk
        if not began and len(held) >= len(HEADER):
            del held[: len(HEADER)]
            began = True
        if len(held) >= block_rows * ROW.itemsize:
            yield _rows(held)
    rows = _rows(held)
    if len(rows):
        yield rows


def arrays(cursor: Cursor[Any], series_id: int) -> NDArray[np.void]:
    """Decode one row of array columns to READING rows of one series; empty if they are NULL.

    An array without NULL is a header of 20 bytes, then the length and value of each element (PostgreSQL's
    ``array_send``). This is ten times as fast as one result row per reading.
    """
    result = cursor.pgresult
    first = result.get_value(0, 0) if result is not None else None
    if result is None or first is None:
        return np.empty(0, READING)
    n = (len(first) - ARRAY_HEAD) // (4 + np.dtype(OF_ONE[0][1]).itemsize)
    out = np.empty(n, READING)
    out["series_id"] = series_id
    for at, (name, kind) in enumerate(OF_ONE):
        element = np.dtype([("length", ">i4"), ("value", kind)])
        values = np.frombuffer(result.get_value(0, at) or b"", element, n, ARRAY_HEAD)["value"]
        out[name] = values + POSTGRES_EPOCH_US if name.endswith("_us") else values
    return out


def word(cursor: Cursor[Any]) -> str:
    """Return the text column that follows the array columns in the same result."""
    result = cursor.pgresult
    said = result.get_value(0, len(OF_ONE)) if result is not None else None
    return (said or b"").decode()


def _rows(held: bytearray) -> NDArray[np.void]:
    """Decode the complete rows in a buffer and remove them from it."""
    n = len(held) // ROW.itemsize
    read = np.frombuffer(bytes(held[: n * ROW.itemsize]), ROW)
    del held[: n * ROW.itemsize]
    out = np.empty(n, READING)
    for name, _ in COLUMNS:
        out[name] = read[name] + POSTGRES_EPOCH_US if name.endswith("_us") else read[name]
    return out
