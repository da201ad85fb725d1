"""Frames are found in any stream of bytes, and the result never depends on how the stream was divided."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hj212.checksum import MAX_SEGMENT_BYTES, hj212_checksum, modbus_checksum
from gateway.hj212.frames import ChecksumKind, Frame, FrameReader, RejectedBytes, RejectReason
from tests.support import hj212_frames as samples

ENCRYPTED = (
    b"##0060ST=21;CN=2011;MN=A1;CP=&&{0x11,0x22,0x33,0x44,0x55,0x66,0x77,0x88,0x11,0x22,0x33,0x44,0x55,0x66,"
    b"0x77,0x88}g=N&&2200\r\n"
)
MODBUS = b"##%04d%s%04X\r\n" % (
    len(samples.FLAG_9) - 12,
    samples.FLAG_9[6:-6],
    modbus_checksum(samples.FLAG_9[6:-6]),
)
CHINESE = "ST=21;CN=3020;MN=A1;CP=&&info=水质正常&&".encode("gb18030")
IN_CHARACTERS = b"##%04d%s%04X" % (len(CHINESE.decode("gb18030")), CHINESE, hj212_checksum(CHINESE))
PIECES = (
    *samples.GOOD,
    samples.WRONG_CHECKSUM,
    samples.TORN,
    samples.LENGTH_TOO_LARGE,
    samples.LENGTH_TOO_SMALL,
    ENCRYPTED,
    ENCRYPTED.rstrip(),
    ENCRYPTED[:-8],
    MODBUS,
    IN_CHARACTERS,
    b"AT+OK",
    b"#",
    b"##",
    b"##12",
    b"##9999A",
    b"\r\n",
    b"\x00",
    b"x" * (MAX_SEGMENT_BYTES + 30),
)


def read(*chunks: bytes) -> list[Frame | RejectedBytes]:
    reader = FrameReader()
    found = [one for chunk in chunks for one in reader.feed(chunk)]
    rest = reader.end()
    return found if rest is None else [*found, rest]


def slow_checksum(segment: bytes) -> int:
    register = 0xFFFF
    for byte in segment:
        register = (register >> 8) ^ byte
        for _ in range(8):
            register = (register >> 1) ^ 0xA001 if register & 1 else register >> 1
    return register


@given(st.binary(max_size=300))
def test_the_checksum_equals_the_loop_of_annex_a(segment: bytes) -> None:
    assert hj212_checksum(segment) == slow_checksum(segment)


@pytest.mark.parametrize("raw", samples.GOOD)
def test_a_published_frame_is_accepted(raw: bytes) -> None:
    (frame,) = read(raw)
    assert isinstance(frame, Frame)
    assert frame.segment == raw.rstrip()[6:-4]
    assert frame.checksum_kind is ChecksumKind.HJ212


def test_frames_that_stick_together_are_separated() -> None:
    assert [one.segment for one in read(b"".join(samples.GOOD)) if isinstance(one, Frame)] == [
        raw.rstrip()[6:-4] for raw in samples.GOOD
    ]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (samples.WRONG_CHECKSUM, RejectReason.CHECKSUM),
        (samples.TORN, RejectReason.LENGTH),
        (samples.LENGTH_TOO_LARGE.replace(b"Interval=30", b"Interval=31"), RejectReason.LENGTH),
        (samples.LENGTH_TOO_SMALL.replace(b"Interval=30", b"Interval=31"), RejectReason.LENGTH),
        (b"RING,12", RejectReason.GARBAGE),
        (b"##99999", RejectReason.GARBAGE),
    ],
)
def test_the_frame_after_a_faulty_one_is_found_and_the_faulty_one_kept_whole(
    raw: bytes, reason: RejectReason
) -> None:
    rejected, frame = read(raw + samples.SURFACE_WATER)
    assert isinstance(rejected, RejectedBytes)
    assert (rejected.raw, rejected.reason) == (raw.rstrip(), reason)
    assert isinstance(frame, Frame)


def test_a_modbus_checksum_is_recognised() -> None:
    segment = samples.SET_INTERVAL[6:-6]
    (frame,) = read(b"##%04d%s%04X" % (len(segment), segment, modbus_checksum(segment)))
    assert isinstance(frame, Frame)
    assert frame.checksum_kind is ChecksumKind.MODBUS


@pytest.mark.parametrize("raw", [samples.LENGTH_TOO_LARGE, samples.LENGTH_TOO_SMALL])
def test_a_wrong_length_with_a_right_checksum_is_marked(raw: bytes) -> None:
    wrong, right = read(raw + samples.SURFACE_WATER)
    assert isinstance(wrong, Frame)
    assert isinstance(right, Frame)
    assert wrong.segment == raw.rstrip()[6:-4]
    assert "101 bytes" in wrong.wrong_length
    assert not right.wrong_length


def test_a_length_in_characters_is_tolerated_with_a_note() -> None:
    text = "QN=20160801085857223;ST=21;CN=3020;MN=A1;CP=&&info=水质&&"
    segment = text.encode()
    (frame,) = read(b"##%04d%s%04X\r\n" % (len(text), segment, hj212_checksum(segment)))
    assert isinstance(frame, Frame)
    assert frame.note


@pytest.mark.parametrize("line_end", [b"\r\n", b""])
def test_an_encrypted_frame_ends_with_its_content_whatever_its_length_is(line_end: bytes) -> None:
    reader = FrameReader()
    (frame,) = reader.feed(ENCRYPTED.rstrip() + line_end)
    (following,) = reader.feed(samples.SET_INTERVAL)
    assert isinstance(frame, Frame)
    assert frame.checksum_kind is ChecksumKind.OF_PLAIN_TEXT
    assert frame.segment == ENCRYPTED[6:-6]
    assert isinstance(following, Frame)


@given(st.lists(st.sampled_from(PIECES), max_size=6), st.lists(st.integers(0, 6000), max_size=12))
def test_any_division_of_the_stream_gives_the_same_result(pieces: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pieces)
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunks = [stream[first:last] for first, last in pairwise(places)]
    assert read(*chunks) == read(stream)


@given(st.lists(st.sampled_from([one for one in PIECES if len(one) < 200]), max_size=4))
def test_a_stream_byte_by_byte_gives_the_same_result(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    assert read(*(stream[place : place + 1] for place in range(len(stream)))) == read(stream)


@given(st.binary(max_size=2000))
def test_no_byte_is_lost_but_blanks(noise: bytes) -> None:
    kept = b"".join(one.raw if isinstance(one, RejectedBytes) else one.segment for one in read(noise))
    assert kept.translate(None, b"\r\n \x00") == noise.translate(None, b"\r\n \x00")
