"""Parses the line protocol of InfluxDB and Telegraf: measurement, tags, fields, time.

Source: InfluxData, Line protocol reference, https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

import re

import msgspec

from edge.wire.errors import PayloadError

_PART = r"(?:\\.|[^\\,= ])+"
_MEASUREMENT = re.compile(r"(?:\\.|[^\\, ])+")
_TAG = re.compile(rf",({_PART})=({_PART})")
_FIELD = re.compile(rf'({_PART})=("(?:\\.|[^"\\])*"|[^, ]+)')
_ESCAPED = re.compile(r"\\([,= ])")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?\d+[iu]")


class InfluxPoint(msgspec.Struct, frozen=True):
    """One line: measurement, tags, numeric fields, and its time in the sender's precision, or None."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, float]
    time: int | None


def parse_lines(text: str) -> list[InfluxPoint]:
    r"""Parse lines; comments and blank lines are ignored, fields of strings and booleans left out.

    Raises
    ------
    PayloadError
        With the number of the line that can't be parsed.

    Examples
    --------
    >>> point = parse_lines(r'river,site=West\ bridge ph=7.1,n=3i,ok=true 1700000000')[0]
    >>> point.tags, point.fields, point.time
    ({'site': 'West bridge'}, {'ph': 7.1, 'n': 3.0}, 1700000000)

    """
    return [
        _point(line, number)
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _point(line: str, number: int) -> InfluxPoint:
    line = line.strip("\r ")
    found = _MEASUREMENT.match(line)
    if found is None:
        raise PayloadError(f"line {number} has no measurement: it is no line protocol")
    measurement, at = found[0], found.end()
    tags: dict[str, str] = {}
    while tag := _TAG.match(line, at):
        tags[_plain(tag[1])] = _plain(tag[2])
        at = tag.end()
    fields: dict[str, float] = {}
    if not line.startswith(" ", at):
        raise PayloadError(f"line {number}: no field follows the tags")
    at += 1
    while True:
        field = _FIELD.match(line, at)
        if field is None:
            raise PayloadError(f"line {number}: no field name=value at column {at + 1}")
        if _NUMBER.fullmatch(field[2]):
            fields[_plain(field[1])] = float(field[2].rstrip("iu"))
        at = field.end()
        if not line.startswith(",", at):
            break
        at += 1
    rest = line[at:].strip()
    if rest and not re.fullmatch(r"-?\d{1,19}", rest, re.ASCII):
        raise PayloadError(f"line {number}: {rest[:40]!r} is no time")
    return InfluxPoint(_plain(measurement), tags, fields, int(rest) if rest else None)


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)
