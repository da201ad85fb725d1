"""Parses and builds the data segment of HJ 212: header fields, then the content between ``CP=&&`` and ``&&``.

Sources: HJ/T 212-2005, HJ 212-2017 section 6.3 and tables 3 and 4, HJ 212-2025 (resend mark ``RF``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.hj212.checksum import hj212_checksum
from gateway.hj212.errors import SegmentError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_STATION_LENGTH = 64  # the standard has 24; longer texts are not identifiers
_CONTENT_START = "CP=&&"
_CONTENT_END = "&&"
_COMMAND = re.compile(r"\d{4}")
_DIGITS = re.compile(r"\d{1,9}")
_PACKET_FIELDS = re.compile(r"(?:^|[;,])\s*(PNUM|PNO)=(\d{1,9})(?=[;,]|$)")
ANSWER_WANTED = 1
HAS_PACKET_NUMBERS = 2
VERSION_MASK = 0b11111100
VERSION_2017 = 4


class Segment(msgspec.Struct, frozen=True, kw_only=True):
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


class Item(NamedTuple):
    """One ``name=value`` of the content."""

    name: str
    value: str


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
    start = text.find(_CONTENT_START)
    content_at = start + len(_CONTENT_START)
    if start < 0 or not text.endswith(_CONTENT_END) or len(text) < content_at + len(_CONTENT_END):
        raise SegmentError("the data segment has no content: send CP=&&…&& after the header fields")
    content = text[content_at : -len(_CONTENT_END)]
    fields = dict(_header_items(text[:start]))
    packet_numbers = _packet_numbers(fields, content)
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
        flag=_flag(fields.get("Flag")),
        packets=packet_numbers.get("PNUM"),
        packet=packet_numbers.get("PNO"),
        resent=fields.get("RF") == "1",
        content=content,
    )


def content_groups(content: str) -> Iterator[list[Item]]:
    """Yield the groups of a content: ``;`` separates groups, ``,`` the items of one factor.

    Blanks around names and values, and parts without "=", are left out.

    >>> list(content_groups("DataTime=20210320013400;w01001-Rtd=7.4, w01001-Flag=N;"))
    ... # doctest: +NORMALIZE_WHITESPACE
    [[Item(name='DataTime', value='20210320013400')],
     [Item(name='w01001-Rtd', value='7.4'), Item(name='w01001-Flag', value='N')]]
    """
    for group in content.split(";"):
        items = [
            Item(name.strip(), value.strip())
            for name, equals, value in (part.partition("=") for part in group.split(","))
            if equals
        ]
        if items:
            yield items


def build_frame(segment: Segment) -> bytes:
    r"""Build the frame of a segment, with length, checksum and line end.

    >>> build_frame(Segment(request="20160801085857223", system="91", command="9014", password="123456",
    ...     station="010000A8900016F000169DC0", flag=4))[-10:]
    b'&&&&3240\r\n'
    """
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
    text = f"{header}{_CONTENT_START}{segment.content}{_CONTENT_END}".encode()
    return b"##%04d%s%04X\r\n" % (len(text), text, hj212_checksum(text))


def _header_items(header: str) -> Iterator[tuple[str, str]]:
    for part in header.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            yield name.strip(), value.strip()


def _flag(text: str | None) -> int | None:
    if text is None or _DIGITS.fullmatch(text) is None:
        return None
    return int(text) & 0xFF


def _packet_numbers(fields: dict[str, str], content: str) -> dict[str, int]:
    """Return PNUM and PNO, from the header or, as some stations send them, from the content."""
    found = {name: int(fields[name]) for name in ("PNUM", "PNO") if _DIGITS.fullmatch(fields.get(name, ""))}
    if not found and "PNO=" in content:
        found = {name: int(number) for name, number in _PACKET_FIELDS.findall(content)}
    return found
