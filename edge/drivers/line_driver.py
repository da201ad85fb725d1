"""Driver that reads one SenML JSON pack per line from standard input, a pipe or a file.

``my_sensor.py | towntwin edge --area 330483-d1 --device wz-01`` makes any script an edge device.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from edge.drivers import Pack
from edge.wire import senml
from edge.wire.boot_clock import boot_clock_s
from edge.wire.errors import PayloadError
from edge.wire.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CHUNK_BYTES = 65_536  # capacity of a pipe
LINE_BYTES = 1 << 20  # about 20,000 readings; many brokers accept no larger message
POLL_S = 0.1
MAX_SHOWN_AT_ONCE = 20
MAX_SHOWN_PER_S = 1


def read_chunks(descriptor: int, *, poll_s: float = POLL_S) -> Iterator[bytes]:
    """Yield the bytes of a pipe, a terminal or a file as they arrive.

    Yields ``b""`` after each ``poll_s`` [s] without data, and ends when the other side closes.
    """
    while True:
        ready, _, _ = select.select([descriptor], [], [], poll_s)
        data = b""
        if ready:
            with suppress(BlockingIOError):  # another process has read them
                data = os.read(descriptor, CHUNK_BYTES)
                if not data:
                    return
        yield data


class LineSplitter:
    r"""Splits chunks of bytes into lines, with a bounded buffer.

    Examples
    --------
    >>> splitter = LineSplitter(longest_bytes=5)
    >>> list(splitter.feed(b"one\ntw")), list(splitter.feed(b"o\n123456")), list(splitter.feed(b"789\nend"))
    ([b'one'], [b'two', None], [])
    >>> splitter.last_line()
    b'end'

    """

    def __init__(self, longest_bytes: int = LINE_BYTES) -> None:
        self._longest_bytes = longest_bytes
        self._buffer = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """Yield the lines that end in a chunk, and None once for each line that has become too long."""
        *complete_parts, incomplete_part = chunk.split(b"\n")
        for part in complete_parts:
            if self._append_part(part):
                yield None
            if not self._skipping:
                yield bytes(self._buffer)
            self._buffer.clear()
            self._skipping = False
        if self._append_part(incomplete_part):
            yield None

    def last_line(self) -> bytes:
        """Return the last line, which has no line end."""
        return bytes(self._buffer)

    def _append_part(self, part: bytes) -> bool:
        """Append a part of a line to the buffer; returns whether the line has just become too long."""
        if self._skipping:
            return False
        self._skipping = len(self._buffer) + len(part) > self._longest_bytes
        if self._skipping:
            self._buffer.clear()
        else:
            self._buffer += part
        return self._skipping


class RefusalLog:
    """Counts refused lines, and limits the rate at which they are shown.

    Examples
    --------
    >>> refusals = RefusalLog(at_once=2)
    >>> [refusals.note(f"line {number}: no SenML", 0.0) for number in (1, 2, 3, 4)]
    ['line 1: no SenML', 'line 2: no SenML', None, None]
    >>> refusals.note("line 5: no SenML", 1.0), refusals.count
    ('line 5: no SenML (and 2 before it that were not shown)', 5)

    """

    def __init__(self, *, at_once: int = MAX_SHOWN_AT_ONCE, per_s: float = MAX_SHOWN_PER_S) -> None:
        self.count = 0
        self._bucket = TokenBucket(per_s=per_s, burst=at_once)
        self._suppressed = 0

    def note(self, sentence: str, now_s: float) -> str | None:
        """Count a refused line; returns the text to show, or None above the rate."""
        self.count += 1
        if self._bucket.tokens_at(now_s) < 1:
            self._suppressed += 1
            return None
        self._bucket.spend(1)
        suppressed, self._suppressed = self._suppressed, 0
        return f"{sentence} (and {suppressed:,} before it that were not shown)" if suppressed else sentence


class LineDriver:
    r"""Decodes chunks of bytes to packs; a line that is not SenML is reported and skipped.

    Parameters
    ----------
    chunks : bytes as they arrive, ``b""`` if none arrived for a while: `read_chunks`, or any binary file
    clock : returns the reference of relative times, Unix seconds [s]
    on_refused : called with a sentence for each refused line

    Examples
    --------
    >>> import io
    >>> lines = LineDriver(io.BytesIO(b'[{"n":"ph","u":"pH","v":7.1}]\n'), clock=lambda: 1700000000.0)
    >>> [record.value for pack in lines.packs() if pack for record in pack.records]
    [7.1]

    """

    perishable = True

    def __init__(
        self,
        chunks: Iterable[bytes],
        *,
        clock: Callable[[], float] = time.time,
        on_refused: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        self._chunks = chunks
        self._clock = clock
        self._on_refused = on_refused
        self._splitter = LineSplitter()
        self._number = 0

    def packs(self) -> Iterator[Pack | None]:
        """Yield one pack per line, due at once, and None after a chunk without one; ends with the stream."""
        for chunk in self._chunks:
            packs = 0
            for line in self._splitter.feed(chunk):
                pack = self._pack(line)
                if pack is not None:
                    packs += 1
                    yield pack
            if not packs:
                yield None
        last = self._pack(self._splitter.last_line())
        if last is not None:
            yield last

    def _pack(self, line: bytes | None) -> Pack | None:
        """Decode a line to a pack; None if the line is blank or refused."""
        self._number += 1
        if line is None:
            self._on_refused(
                f"line {self._number}: it is longer than {LINE_BYTES:,} bytes: send smaller packs"
            )
            return None
        if not line.strip():
            return None
        now_s = self._clock()
        try:
            records = senml.decode(line.strip(), content_type=senml.CONTENT_TYPE_JSON, now_s=now_s)
        except PayloadError as error:
            self._on_refused(f"line {self._number}: {error}")
            return None
        except Exception as error:  # noqa: BLE001 - no content of a line may affect the other lines
            self._on_refused(f"line {self._number}: it can't be read ({type(error).__name__}: {error})")
            return None
        return Pack(due_s=now_s, records=records, taken_s=boot_clock_s())
