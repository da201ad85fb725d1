"""Splits the byte stream of an HJ 212 connection into frames: ``##LLLL<data segment>CCCC<CR><LF>``.

The result depends on the bytes alone, never on how TCP divided them. A frame ends where its length field
places its checksum and is accepted if the checksum fits; otherwise it extends to the next line end or the
next ``##LLLL`` and is rejected whole, with the reason. An encrypted frame has the length of its plain text
(HJ 212-2025) and is therefore delimited by the && that ends its content.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from gateway.hj212.checksum import MAX_SEGMENT_BYTES, hj212_checksum, modbus_checksum

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER_BYTES = 6  # "##" and four digits
CHECKSUM_BYTES = 4
MAX_FRAME_BYTES = HEADER_BYTES + MAX_SEGMENT_BYTES + CHECKSUM_BYTES
MAX_ENCRYPTED_BYTES = 6 * MAX_FRAME_BYTES  # each encrypted byte is written as five characters
_HEADER = re.compile(rb"##(?=\d{4}[A-Za-z])")
_HEADER_LOOKAHEAD = 7  # bytes from which a header is recognised
_LINE_END_OR_HEADER = re.compile(rb"[\r\n]|##(?=\d{4}[A-Za-z])")
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_BLANKS = b"\r\n \x00"
_LEADING_BLANKS = re.compile(rb"[\r\n \x00]*")
CIPHER_START = b"CP=&&{0x"
SEGMENT_END = b"&&"


class ChecksumKind(StrEnum):
    """How the checksum of a frame was computed."""

    HJ212 = "hj212"
    MODBUS = "modbus"
    OF_PLAIN_TEXT = "of_plain_text"  # of an encrypted frame: it can be checked once the frame is decrypted


class RejectReason(StrEnum):
    """Why bytes of a connection are not a frame."""

    GARBAGE = "garbage"
    CHECKSUM = "checksum"
    LENGTH = "length"
    INCOMPLETE = "incomplete"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A delimited frame.

    Attributes
    ----------
    segment : data segment, without header and checksum
    checksum : number sent
    checksum_kind : what the number equals
    note : a deviation that was tolerated, or ""
    wrong_length : what is wrong with its length field, or ""; the checksum alone is too weak to show that all
        of the frame is there, so only stations that are set so may send it

    """

    segment: bytes
    checksum: int
    checksum_kind: ChecksumKind = ChecksumKind.HJ212
    note: str = ""
    wrong_length: str = ""


class RejectedBytes(msgspec.Struct, frozen=True):
    """Bytes that are not a frame, with the kind of the fault and a sentence about it."""

    raw: bytes
    reason: RejectReason
    detail: str


class FrameReader:
    r"""Finds frames in a stream of bytes; keeps at most one incomplete frame.

    Examples
    --------
    >>> reader = FrameReader()
    >>> list(reader.feed(b"\x00\r\n##0019ST=91;CN=9014;CP"))
    []
    >>> [one.segment for one in reader.feed(b"=F")], reader.end().reason.value
    ([], 'incomplete')

    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame | RejectedBytes]:
        """Append received bytes and yield what is complete."""
        self._buffer += data
        while self._skip_blanks() and (found := self._next()) is not None:
            yield found

    def end(self) -> RejectedBytes | None:
        """Return what is left when the connection ends, or None."""
        left = bytes(self._buffer).strip(_BLANKS)
        self._buffer.clear()
        if not left:
            return None
        return RejectedBytes(
            left, RejectReason.INCOMPLETE, f"the connection ended within a frame, after {len(left):,} bytes"
        )

    def _skip_blanks(self) -> bool:
        """Delete line ends, blanks and null bytes between frames; returns whether anything is left."""
        blanks = _LEADING_BLANKS.match(self._buffer)
        if blanks is not None and blanks.end():
            del self._buffer[: blanks.end()]
        return bool(self._buffer)

    def _next(self) -> Frame | RejectedBytes | None:
        if _HEADER.match(self._buffer) is None:
            return self._garbage()
        length = int(self._buffer[2:HEADER_BYTES])
        checksum_at = HEADER_BYTES + length
        ends_at = checksum_at + CHECKSUM_BYTES
        frame = self._whole_frame(checksum_at, ends_at)
        return self._unusual_frame(length, checksum_at, ends_at) if frame is None else frame

    def _unusual_frame(self, length: int, checksum_at: int, ends_at: int) -> Frame | RejectedBytes | None:
        """Take a frame of any kind; None while more bytes are needed."""
        boundary = _LINE_END_OR_HEADER.search(self._buffer, HEADER_BYTES)
        first_boundary = boundary.start() if boundary else None
        # Only up to the boundary: whether bytes after it have come already must not matter.
        cipher_limit = min(ends_at, MAX_FRAME_BYTES, self._end_or(first_boundary))
        if (cipher_at := self._buffer.find(CIPHER_START, HEADER_BYTES, cipher_limit)) >= 0:
            return self._encrypted_frame(cipher_at, first_boundary, length)
        if length > MAX_SEGMENT_BYTES or (first_boundary is not None and first_boundary < ends_at):
            return self._delimited(first_boundary, length, MAX_FRAME_BYTES)
        if len(self._buffer) < ends_at:
            return None
        frame = _frame(self._buffer[HEADER_BYTES:checksum_at], self._buffer[checksum_at:ends_at])
        if frame is None:
            return self._delimited(first_boundary, length, MAX_FRAME_BYTES)
        del self._buffer[:ends_at]
        return frame

    def _whole_frame(self, checksum_at: int, ends_at: int) -> Frame | None:
        """Take a usual frame: complete, no boundary within it, not encrypted, right checksum; else None.

        `_unusual_frame` gives the same result for it by more searches.
        """
        buffer = self._buffer
        if (
            len(buffer) < ends_at
            or checksum_at > HEADER_BYTES + MAX_SEGMENT_BYTES
            or buffer.find(b"\r", HEADER_BYTES, ends_at) >= 0
            or buffer.find(b"\n", HEADER_BYTES, ends_at) >= 0
            or buffer.find(b"##", HEADER_BYTES, ends_at + 1) >= 0
            or buffer.find(CIPHER_START, HEADER_BYTES, ends_at) >= 0
        ):
            return None
        frame = _frame(buffer[HEADER_BYTES:checksum_at], buffer[checksum_at:ends_at])
        if frame is not None:
            del buffer[:ends_at]
        return frame

    def _encrypted_frame(
        self, cipher_at: int, boundary: int | None, length: int
    ) -> Frame | RejectedBytes | None:
        """Take a frame up to the && that ends its content, whatever its length field is."""
        limit = min(self._end_or(boundary), MAX_ENCRYPTED_BYTES)
        cipher_end = self._buffer.find(b"}", cipher_at, limit)
        content_end = self._buffer.find(SEGMENT_END, cipher_end, limit) if cipher_end >= 0 else -1
        checksum_at = content_end + len(SEGMENT_END)
        ends_at = checksum_at + CHECKSUM_BYTES
        if content_end < 0 or ends_at > limit:
            return self._delimited(boundary, length, MAX_ENCRYPTED_BYTES)
        segment, checksum = bytes(self._buffer[HEADER_BYTES:checksum_at]), self._buffer[checksum_at:ends_at]
        if _HEX.fullmatch(checksum) is None:
            return self._delimited(boundary, length, MAX_ENCRYPTED_BYTES)
        del self._buffer[:ends_at]
        return Frame(segment, int(checksum, 16), ChecksumKind.OF_PLAIN_TEXT)

    def _delimited(self, boundary: int | None, length: int, limit: int) -> Frame | RejectedBytes | None:
        """Take a frame up to the next line end or header, whatever its length field is."""
        raw = self._take_to(boundary, limit)
        if raw is None:
            return None
        segment, checksum = raw[HEADER_BYTES:-CHECKSUM_BYTES], raw[-CHECKSUM_BYTES:]
        frame = _frame(segment, checksum) if len(segment) <= MAX_SEGMENT_BYTES else None
        if frame is None:
            return RejectedBytes(raw, *_fault(segment, checksum, length))
        if length == _character_count(segment):
            return msgspec.structs.replace(frame, note="the length counts characters, not bytes")
        detail = f"the length field is {length}, but the data segment has {len(segment)} bytes"
        return msgspec.structs.replace(frame, wrong_length=detail)

    def _end_or(self, boundary: int | None) -> int:
        return len(self._buffer) if boundary is None else boundary

    def _garbage(self) -> RejectedBytes | None:
        """Take the bytes before the next header."""
        header = _HEADER.search(self._buffer)
        raw = self._take_to(header.start() if header else None, MAX_FRAME_BYTES)
        if raw is None:
            return None
        return RejectedBytes(raw, RejectReason.GARBAGE, f"{len(raw):,} bytes before ## belong to no frame")

    def _take_to(self, boundary: int | None, limit: int) -> bytes | None:
        """Take the bytes before a boundary, at most ``limit``; None while the boundary may still come."""
        if boundary is None and len(self._buffer) < limit + _HEADER_LOOKAHEAD:
            return None
        end = limit if boundary is None else min(boundary, limit)
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        return raw


def _frame(segment: bytes | bytearray, checksum: bytes | bytearray) -> Frame | None:
    """Return the frame if its checksum fits, else None."""
    if not segment.endswith(SEGMENT_END) or _HEX.fullmatch(checksum) is None:
        return None
    number, content = int(checksum, 16), bytes(segment)
    if number == hj212_checksum(content):
        return Frame(content, number)
    if number == modbus_checksum(content):
        return Frame(content, number, ChecksumKind.MODBUS)
    return None


def _fault(segment: bytes, checksum: bytes, length: int) -> tuple[RejectReason, str]:
    if len(segment) != length:
        return (
            RejectReason.LENGTH,
            f"the length field is {length}, but {len(segment)} bytes stand before the checksum",
        )
    if not segment.endswith(SEGMENT_END):
        return RejectReason.LENGTH, "the data segment does not end with && where its length field ends"
    if _HEX.fullmatch(checksum) is None:
        return RejectReason.CHECKSUM, f"the checksum {checksum!r} is not four hexadecimal digits"
    return (
        RejectReason.CHECKSUM,
        f"the checksum is {checksum.decode()}, but the data segment gives {hj212_checksum(segment):04X}",
    )


def _character_count(segment: bytes) -> int | None:
    """Return the number of characters of a segment with Chinese text, UTF-8 or GB 18030; None for ASCII."""
    if segment.isascii():
        return None
    for encoding in ("utf-8", "gb18030"):
        try:
            return len(segment.decode(encoding))
        except UnicodeDecodeError:
            continue
    return None
