"""The process that parses uploads, with a limit of memory.

Not for people; `gateway.upload_pool` starts it. On its standard input come pairs of media type and body,
each with its length before it; on its standard output goes "ready", then a
`Parsed` for each. It ends when its input does.
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

from gateway import uploads
from gateway.problems import ProblemError

LENGTH = struct.Struct(">Q")
MEMORY_BYTES = (
    256 * 2**20
)  # beyond what the process has when it begins: a body, its columns, some copies of them
TOO_MUCH = "body: it takes more memory to unpack than it may have: send fewer rows, in two columns"


class Parsed(msgspec.Struct):
    """Two columns of float64 as bytes, or what is wrong."""

    time_s: bytes = b""
    value: bytes = b""
    left_out: dict[str, int] = {}
    status: int = 200
    detail: str = ""
    where: str | None = None


def parsed(media_type: str, body: bytes) -> Parsed:
    """The series of a body, or the problem that it is."""
    try:
        found = uploads.read(body, media_type)
    except ProblemError as error:
        return Parsed(status=error.status, detail=str(error), where=error.where)
    except (MemoryError, pa.ArrowMemoryError):
        return Parsed(status=413, detail=TOO_MUCH, where="body")
    return Parsed(found.time_s.tobytes(), found.value.tobytes(), found.left_out)


def send(to: IO[bytes], *parts: bytes) -> None:
    """Write parts, each with its length before it. Raises OSError where nobody reads."""
    for part in parts:
        to.write(LENGTH.pack(len(part)))
        to.write(part)
    to.flush()


def receive(source: IO[bytes]) -> bytes | None:
    """The next part; None at the end."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = source.read(length)
    return body if len(body) == length else None


def main() -> None:
    """Parse until the input ends."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    parsed(
        "text/csv", b"time,value\n0,1\n"
    )  # what is loaded with the first use is loaded before the limit stands
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES if pages else 4 * MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, to = sys.stdin.buffer, sys.stdout.buffer
    send(to, b"ready")
    while (media_type := receive(source)) is not None and (body := receive(source)) is not None:
        answer = parsed(media_type.decode(), body)
        del body
        send(to, msgspec.msgpack.encode(answer))
        if answer.detail == TOO_MUCH:
            return  # what did not fit may have left less for the next one


if __name__ == "__main__":
    main()
