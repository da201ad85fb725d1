"""Tests the driver of lines from standard input: bounded, lossless, refusals reported, prompt to stop."""

from __future__ import annotations

import os
import tracemalloc
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.line_driver import LINE_BYTES, LineDriver, LineSplitter, RefusalLog, read_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD = b'[{"n":"ph","u":"pH","v":7.1}]'


def values(lines: LineDriver) -> list[float | None]:
    return [record.value for pack in lines.packs() if pack for record in pack.records]


def test_the_last_line_without_an_end_is_not_lost() -> None:
    assert values(LineDriver([GOOD + b"\n" + GOOD[:9], GOOD[9:]])) == [7.1, 7.1]


def test_a_hundred_megabytes_without_a_newline_are_not_held() -> None:
    refused: list[str] = []
    chunk = b"x" * 65_536
    endless = (chunk for _ in range(1600))

    def stream() -> Iterator[bytes]:
        yield GOOD + b"\n"
        yield from endless
        yield b"\n" + GOOD + b"\n"

    tracemalloc.start()
    assert values(LineDriver(stream(), on_refused=refused.append)) == [7.1, 7.1]
    assert tracemalloc.get_traced_memory()[1] < 10 * LINE_BYTES
    tracemalloc.stop()
    assert refused == [f"line 2: it is longer than {LINE_BYTES:,} bytes: send smaller packs"]


def test_a_refused_line_is_shown_at_once_not_at_the_end() -> None:
    refused: list[str] = []
    packs = LineDriver([b"no SenML\n", GOOD + b"\n"], on_refused=refused.append).packs()
    assert next(packs) is None
    assert len(refused) == 1
    assert next(packs) is not None


def test_a_stream_that_never_gives_a_line_leaves_room_for_a_stop() -> None:
    packs = LineDriver(b"x" * 1000 for _ in range(10)).packs()
    assert [next(packs) for _ in range(10)] == [None] * 10


def test_a_quiet_pipe_returns_control_and_its_end_is_noticed() -> None:
    reading, writing = os.pipe()
    chunks = read_chunks(reading, poll_s=0.01)
    assert next(chunks) == b""
    os.write(writing, b"a\n")
    assert next(chunks) == b"a\n"
    os.close(writing)
    assert list(chunks) == []
    os.close(reading)


def test_refusals_are_rate_limited_and_all_counted() -> None:
    refusals = RefusalLog(at_once=5, per_s=1)
    shown = [refusals.note("no SenML", number / 100) for number in range(1000)]
    assert refusals.count == 1000
    assert 5 <= len([one for one in shown if one]) <= 5 + 11


@given(st.lists(st.binary(max_size=6).map(lambda part: part.replace(b"x", b"\n")), max_size=20))
def test_however_a_stream_is_cut_into_chunks_its_lines_are_the_same(chunks: list[bytes]) -> None:
    splitter = LineSplitter(longest_bytes=1000)
    found = [line for chunk in chunks for line in splitter.feed(chunk)]
    assert [*found, splitter.last_line()] == b"".join(chunks).split(b"\n")


@given(st.lists(st.binary(max_size=8), max_size=20))
def test_each_line_that_is_too_long_is_refused_once(chunks: list[bytes]) -> None:
    splitter = LineSplitter(longest_bytes=3)
    found = [line for chunk in chunks for line in splitter.feed(chunk)]
    *all_bytes, last = b"".join(chunks).split(b"\n")
    expected = [line if len(line) <= 3 else None for line in all_bytes]
    assert found == ([*expected, None] if len(last) > 3 else expected)
