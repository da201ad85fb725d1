"""Parses and builds the data segment of HJ 212: header fields, then the content between ``CP=&&`` and ``&&``.

Sources: HJ/T 212-2005, HJ 212-2017 section 6.3 and tables 3 and 4, HJ 212-2025 (resend mark ``RF``).
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from gateway.hj212.checksum import hj212_checksum
from gateway.hj212.errors import SegmentError

MAX_STATION_LENGTH = 64  # the standard has 24; longer texts are not identifiers
MAX_KEPT_HEADER = 200  # parsed headers are kept; longer ones don't occur, but could fill the memory
_CONTENT_START = "CP=&&"
_CONTENT_END = "&&"
_REQUEST_START = "QN="
_COMMAND = re.compile(r"[0-9]{4}")
_DIGITS = re.compile(r"[0-9]{1,9}")
_PACKET_FIELDS = re.compile(r"(?:^|[;,])\s*(PNUM|PNO)=([0-9]{1,9})(?=[;,]|$)")
ANSWER_WANTED = 1
HAS_PACKET_NUMBERS = 2
VERSION_MASK = 0b11111100
VERSION_2017 = 4


class Segment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Parsed data segment.

    Attributes
    ----------
    request : QN, time and number of the exchange, 17 digits; "" if missing (2005 edition)
    system : ST, kind of the monitored system ("21" surface water, "32" waste water, "91" interaction)
    command : CN, four digits ("2011" real-time data)
    password : PW
    station : MN, identifier of the station
    flag : Flag, or None; bit 0: an answer is wanted, bit 1: packets are numbered, others: edition
    packets, packet : PNUM and PNO of a split transmission, from 1, or None
    resent : whether the data are marked as sent again (RF=1)
    content : text between ``CP=&&`` and ``&&``

    """

    request: str = ""
    system: str = ""
    command: str = ""
    password: str = ""
    station: str = ""
    flag: int | None = None
    packets: int | None = None
    packet: int | None = None
    resent: bool = False
    content: str = ""

    @property
    def answer_wanted(self) -> bool:
        """Whether the station waits for an answer."""
        return self.flag is not None and bool(self.flag & ANSWER_WANTED)


def decode_text(segment: bytes) -> str:
    """Decode the bytes of a segment: UTF-8 (HJ 212-2017 section 6.3), else GB 18030 as older devices send it.

    Bytes that are neither are replaced, because texts serve display only and numbers are ASCII.
    """
    try:
        return segment.decode("utf-8")
    except UnicodeDecodeError:
        return segment.decode("gb18030", errors="replace")


def parse_segment(text: str) -> Segment:
    """Parse a data segment.

    Raises
    ------
    SegmentError
        If it has no content part, no command or no station.

    Examples
    --------
    >>> parsed = parse_segment("QN=20160801085857223;ST=32;CN=1062;MN=01AC;Flag=5;CP=&&RtdInterval=30&&")
    >>> parsed.command, parsed.station, parsed.answer_wanted, parsed.content
    ('1062', '01AC', True, 'RtdInterval=30')

    """
    header, start, content = text.partition(_CONTENT_START)
    if not start or not content.endswith(_CONTENT_END):
        raise SegmentError("the data segment has no content: send CP=&&…&& after the header fields")
    content = content[: -len(_CONTENT_END)]
    request, rest = "", header
    if header.startswith(_REQUEST_START):
        request, _, rest = header[len(_REQUEST_START) :].partition(";")
    is_kept = len(rest) <= MAX_KEPT_HEADER
    parsed = _parsed_header(rest) if is_kept else _parsed_header.__wrapped__(rest)
    packets, packet = parsed.packets, parsed.packet
    if packet is None and packets is None and "PNO=" in content:
        # Some stations send the numbers in the content.
        numbers = {name: int(number) for name, number in _PACKET_FIELDS.findall(content)}
        packets, packet = numbers.get("PNUM"), numbers.get("PNO")
    return Segment(
        request=request.strip() or parsed.request,
        system=parsed.system,
        command=parsed.command,
        password=parsed.password,
        station=parsed.station,
        flag=parsed.flag,
        packets=packets,
        packet=packet,
        resent=parsed.resent,
        content=content,
    )


def build_frame(segment: Segment) -> bytes:
    r"""Build the frame of a segment, with length, checksum and line end.

    >>> build_frame(Segment(request="20160801085857223", system="91", command="9014", password="123456",
    ...     station="010000A8900016F000169DC0", flag=4))[-10:]
    b'&&&&3240\r\n'
    """
    return frame_of(encode_segment(segment))


def encode_segment(segment: Segment) -> bytes:
    """Return the bytes of a data segment."""
    fields = [
        ("QN", segment.request),
        ("ST", segment.system),
        ("CN", segment.command),
        ("PW", segment.password),
        ("MN", segment.station),
        ("Flag", "" if segment.flag is None else str(segment.flag)),
        ("PNUM", "" if segment.packets is None else str(segment.packets)),
        ("PNO", "" if segment.packet is None else str(segment.packet)),
        ("RF", "1" if segment.resent else ""),
    ]
    header = "".join(f"{name}={value};" for name, value in fields if value)
    return f"{header}{_CONTENT_START}{segment.content}{_CONTENT_END}".encode()


def frame_of(text: bytes) -> bytes:
    """Return the frame of a data segment: length, segment, checksum, line end."""
    return b"##%04d%s%04X\r\n" % (len(text), text, hj212_checksum(text))


@lru_cache(maxsize=8192)
def _parsed_header(header: str) -> Segment:
    """Parse the fields before the content; without QN they are the same in all frames of most stations."""
    fields = _header_fields(header)
    command, station = fields.get("CN", ""), fields.get("MN", "")
    if _COMMAND.fullmatch(command) is None:
        raise SegmentError(f"CN={command[:20]!r} is not a command of four digits, such as CN=2011")
    if not station or len(station) > MAX_STATION_LENGTH or not station.isprintable():
        raise SegmentError(
            f"MN={station[:MAX_STATION_LENGTH]!r} is not a station: give its identifier, at most"
            f" {MAX_STATION_LENGTH} characters"
        )
    return Segment(
        request=fields.get("QN", ""),
        system=fields.get("ST", ""),
        command=command,
        password=fields.get("PW", ""),
        station=station,
        flag=None if (flag := _number(fields.get("FLAG"))) is None else flag & 0xFF,
        packets=_number(fields.get("PNUM")),
        packet=_number(fields.get("PNO")),
        resent=fields.get("RF") == "1",
    )


def _header_fields(header: str) -> dict[str, str]:
    """Return the fields before the content by name, in capitals: some stations write FLAG or stray commas."""
    fields = {}
    for part in header.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            fields[name.strip(" ,").upper()] = value.strip(" ,")
    return fields


def _number(text: str | None) -> int | None:
    if text is None or _DIGITS.fullmatch(text) is None:
        return None
    return int(text)
