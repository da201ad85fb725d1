"""What the pool and its workers exchange about an uploaded series; only the workers import pyarrow."""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LENGTH_PREFIX = struct.Struct(">Q")
OUT_OF_MEMORY_DETAIL = (
    "body: it takes more memory to unpack than it may have: send fewer rows, in two columns"
)


class UploadedSeries(NamedTuple):
    """Readings by strictly increasing time [s], NaN for missing values, and how many rows were left out."""

    time_s: Floats
    value: Floats
    left_out: dict[str, int]


class ParsedUpload(msgspec.Struct):
    """Two float64 columns as bytes, or the problem to respond with."""

    time_s: bytes = b""
    value: bytes = b""
    left_out: dict[str, int] = {}
    status: int = 200
    detail: str = ""
    where: str | None = None


def send_parts(output: IO[bytes], *parts: bytes) -> None:
    """Write length-prefixed parts. Raises OSError if the reader has closed."""
    for part in parts:
        output.write(LENGTH_PREFIX.pack(len(part)))
        output.write(part)
    output.flush()


def receive_part(source: IO[bytes]) -> bytes | None:
    """Return the next length-prefixed part; None at the end of file."""
    length_bytes = source.read(LENGTH_PREFIX.size)
    if len(length_bytes) < LENGTH_PREFIX.size:
        return None
    (length,) = LENGTH_PREFIX.unpack(length_bytes)
    body = source.read(length)
    return body if len(body) == length else None
