"""Worker process that parses uploaded series within a memory limit.

Not meant to be run by hand: `gateway.formats.upload_pool` starts it. It reads pairs of media type and body
from standard input, each length-prefixed, and writes "ready", then one `ParsedUpload` for each pair to
standard output. It ends when its input ends.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import msgspec
import pyarrow as pa

from gateway.api.problems import ProblemError
from gateway.formats import uploads
from gateway.formats.upload_protocol import (
    OUT_OF_MEMORY_DETAIL,
    ParsedUpload,
    receive_part,
    send_parts,
)

# Beyond the memory of the idle process: a body, its columns, some copies of them.
MAX_EXTRA_MEMORY_BYTES = 256 * 2**20


def parse_upload(media_type: str, body: bytes) -> ParsedUpload:
    """Return the series of a body, or the problem to respond with."""
    try:
        series = uploads.parse_series(body, media_type)
    except ProblemError as error:
        return ParsedUpload(status=error.status, detail=str(error), where=error.where)
    except (MemoryError, pa.ArrowMemoryError):
        return ParsedUpload(status=413, detail=OUT_OF_MEMORY_DETAIL, where="body")
    except Exception as error:  # noqa: BLE001 - a file that a library fails on is no reason to end
        detail = f"body: {media_type} that can't be read ({type(error).__name__}): write it anew"
        return ParsedUpload(status=422, detail=detail, where="body")
    return ParsedUpload(series.time_s.tobytes(), series.value.tobytes(), series.left_out)


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
