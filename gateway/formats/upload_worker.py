"""Worker process that parses uploaded series within a memory limit.

Not meant to be run by hand: `gateway.formats.upload_pool` starts it. It reads pairs of media type and body
from standard input, each length-prefixed, and writes "ready", then one `ParsedUpload` for each pair to
standard output. It ends when its input ends.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
from pathlib import Path
from typing import IO

import msgspec
import pyarrow as pa

from gateway.api.problems import ProblemError
from gateway.formats import uploads

LENGTH_PREFIX = struct.Struct(">Q")
# Beyond the memory of the idle process: a body, its columns, some copies of them.
MAX_EXTRA_MEMORY_BYTES = 256 * 2**20
OUT_OF_MEMORY_DETAIL = (
    "body: it takes more memory to unpack than it may have: send fewer rows, in two columns"
)


class ParsedUpload(msgspec.Struct):
    """Two float64 columns as bytes, or the problem to respond with."""

    time_s: bytes = b""
    value: bytes = b""
    left_out: dict[str, int] = {}
    status: int = 200
    detail: str = ""
    where: str | None = None


def parse_upload(media_type: str, body: bytes) -> ParsedUpload:
    """Return the series of a body, or the problem to respond with."""
    try:
        series = uploads.parse_series(body, media_type)
    except ProblemError as error:
        return ParsedUpload(status=error.status, detail=str(error), where=error.where)
    except (MemoryError, pa.ArrowMemoryError):
        return ParsedUpload(status=413, detail=OUT_OF_MEMORY_DETAIL, where="body")
    return ParsedUpload(series.time_s.tobytes(), series.value.tobytes(), series.left_out)


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


def main() -> None:
    """Parse uploads until standard input ends."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    parse_upload("text/csv", b"time,value\n0,1\n")  # loads the libraries before the memory limit is set
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    memory_limit_bytes = (
        pages * os.sysconf("SC_PAGE_SIZE") + MAX_EXTRA_MEMORY_BYTES if pages else 4 * MAX_EXTRA_MEMORY_BYTES
    )
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, output = sys.stdin.buffer, sys.stdout.buffer
    send_parts(output, b"ready")
    while (media_type := receive_part(source)) is not None and (body := receive_part(source)) is not None:
        result = parse_upload(media_type.decode(), body)
        del body
        send_parts(output, msgspec.msgpack.encode(result))
        if result.detail == OUT_OF_MEMORY_DETAIL:
            return  # the failed allocation may have left less memory for the next body


if __name__ == "__main__":
    main()
