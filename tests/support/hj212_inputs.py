"""Feeds arbitrary bytes to all stages that read HJ 212: frames, data segments, SM4, and uploads.

A checksum stops almost all random bytes. So the first byte selects how far the others come by themselves: as
the stream, as the segment of a right frame, as the content of an upload, or as that of an encrypted upload.
"""

from __future__ import annotations

from contextlib import suppress

from gateway.hj212.checksum import hj212_checksum
from gateway.hj212.ciphers import encrypt_segment
from gateway.hj212.errors import Hj212Error
from gateway.hj212.frames import FrameReader
from gateway.hj212.segment import decode_text, frame_of, parse_segment
from gateway.hj212.session import FrameOutcome, StationSession
from gateway.hj212.stations import Station

KEY = "30" * 16
STATIONS = {
    "A1": Station(station="A1", area="a", device="d", key=KEY, modbus_checksum=True, wrong_length=True)
}
COMMANDS = (b"2011", b"2051", b"2061", b"2031", b"1013", b"9011")
WAYS = 4
HEADER = b"QN=20260101000000000;ST=21;CN=%s;MN=A1;Flag=%d;CP=&&"


def receive_hj212(data: bytes) -> list[FrameOutcome]:
    """Return what a session of a station makes of bytes that come in two parts.

    Only `Hj212Error` of a segment that is parsed alone is expected; a session turns it into a dead letter.
    """
    kind, rest = (data[0], data[1:]) if data else (0, b"")
    raw = _stream(kind, rest)
    with suppress(Hj212Error):
        parse_segment(decode_text(rest))
    reader, session = FrameReader(), StationSession(STATIONS)
    cut = len(raw) * (kind // 8) // 32
    outcomes = [session.receive(one) for part in (raw[:cut], raw[cut:]) for one in reader.feed(part)]
    left = reader.end()
    return outcomes if left is None else [*outcomes, session.receive(left)]


def _stream(kind: int, content: bytes) -> bytes:
    way = kind % WAYS
    if way == 0:
        return content
    if way == 1:
        return frame_of(content)
    segment = HEADER % (COMMANDS[kind // WAYS % len(COMMANDS)], kind) + content + b"&&"
    if way == 2:
        return (
            frame_of(segment) * 2
        )  # twice: the second is read by the layout of the first, or is a repetition
    encrypted = encrypt_segment(segment, bytes.fromhex(KEY))
    return b"##%04d%s%04X\r\n" % (len(segment) % 10_000, encrypted, hj212_checksum(segment))
