"""Splits the text of a $filter or $orderby expression into tokens, in linear time."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.sensorthings import geometry
from gateway.sensorthings.expression_tree import QueryError, Scalar, TimeInterval

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NUMBER_DIGITS = 18
NUMBER_CHARACTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:.-+/_")
WHITESPACE = " \t\r\n"
KEYWORDS = {"true": True, "false": False, "null": None}
BASIC_FORMAT_PATTERN = re.compile(r"\d{8}T\d{2}")
"""Start of a time in the basic format of ISO 8601: ``20261127T080000Z``."""
DURATION_FIRST_PATTERN = re.compile(r"P(?=\d|T\d)[0-9YMWDTHS.]+/(?=\d{4})")
"""A duration and a slash before a time: the start of an interval."""
LOST_PLUS_PATTERN = re.compile(r" (\d{2}(:?\d{2})?)(?=[/\s),]|$)")
"""A plus sign that form encoding turned into a blank, and the UTC offset after it."""
END_OF_DAY_PATTERN = re.compile(r"(T24(:?00){0,2}([.,]0+)?)(?=Z|[+-]|$)")
_NUMBER_PATTERN = r"\d+(?:[.]\d+)?"
DURATION_PATTERN = re.compile(
    r"(?P<sign>-?)P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?"
    rf"(?:(?P<weeks>{_NUMBER_PATTERN})W)?(?:(?P<days>{_NUMBER_PATTERN})D)?"
    rf"(?:T(?=\d)(?:(?P<hours>{_NUMBER_PATTERN})H)?(?:(?P<minutes>{_NUMBER_PATTERN})M)?(?:(?P<seconds>{_NUMBER_PATTERN})S)?)?"
)


@dataclass(frozen=True, slots=True)
class ExpressionToken:
    """A token of kind ``(``, ``)``, ``,``, ``-``, ``/``, ``word``, ``literal`` or ``end``."""

    kind: str
    value: Scalar
    at: int


def tokenize(text: str, offset: int = 0, option: str = "$filter") -> Iterator[ExpressionToken]:
    """Yield the tokens of an expression. Raises `QueryError` with the column of the first error."""
    at = 0
    while at < len(text):
        character = text[at]
        if character in WHITESPACE:
            at += 1
            continue
        try:
            kind, value, end = _read_token(text, at)
        except OverflowError as error:
            detail = f"this time is out of the years {dt.MINYEAR} to {dt.MAXYEAR}"
            raise QueryError(detail, offset + at, option=option) from error
        except ValueError as error:
            raise QueryError(str(error), offset + at, option=option) from error
        yield ExpressionToken(kind, value, offset + at)
        at = end
    yield ExpressionToken("end", None, offset + len(text))


def _read_token(text: str, at: int) -> tuple[str, Scalar, int]:
    character = text[at]
    if character == "'":
        value, end = read_quoted(text, at)
        return "literal", value, end
    if character.isdecimal():
        return _read_number_or_time(text, at)
    if character in "(),/-":
        return character, character, at + 1
    if text[at - 1 : at] != "/" and (matched := DURATION_FIRST_PATTERN.match(text, at)):
        return _read_duration_first(text, at, matched.end())
    if character.isalpha() or character in "_@$":
        return _read_word(text, at)
    raise ValueError(f"{character!r} does not belong here")


def read_quoted(text: str, at: int) -> tuple[str, int]:
    """Return a text in single quotes (doubled inside), and the position after it. Raises ValueError."""
    pieces: list[str] = []
    begin = at + 1
    while True:
        end = text.find("'", begin)
        if end < 0:
            raise ValueError("this text in quotes does not end: a quote inside of it is written twice")
        pieces.append(text[begin:end])
        if text[end + 1 : end + 2] != "'":
            break
        begin = end + 2
    matched = "'".join(pieces)
    if "\0" in matched:
        raise ValueError("a text can't hold the character of code 0")
    return matched, end + 1


def _read_word(text: str, at: int) -> tuple[str, Scalar, int]:
    end = at + 1
    while end < len(text) and (text[end].isalnum() or text[end] in "_@.-$"):
        end += 1
    text_part = text[at:end]
    if end < len(text) and text[end] == "'":
        quoted_text, end = read_quoted(text, end)
        return "literal", _parse_prefixed_literal(text_part, quoted_text), end
    if text_part in KEYWORDS and text[end : end + 1] != "/":
        return "literal", KEYWORDS[text_part], end
    return "word", text_part, end


def _parse_prefixed_literal(text_part: str, quoted_text: str) -> Scalar:
    match text_part.lower():
        case "geography" | "geometry":
            return geometry.from_wkt(quoted_text)
        case "duration":
            return parse_duration(quoted_text)
        case "datetime" | "datetimeoffset" | "time" | "date":
            return parse_time_value(quoted_text)
    raise ValueError(f"{text_part}'…' is not known: write geography'POINT (120.7 30.7)' or duration'PT1H'")


def _read_duration_first(text: str, at: int, duration_end: int) -> tuple[str, Scalar, int]:
    """Read an interval that starts with its duration: ``PT6H/2026-11-27T00:00:00Z``."""
    _, _, end = _read_number_or_time(text, duration_end)
    return "literal", _parse_interval(*text[at:end].split("/")), end


def _read_number_or_time(text: str, at: int) -> tuple[str, Scalar, int]:
    end = at + 1
    while end < len(text) and text[end] in NUMBER_CHARACTERS:
        end += 1
        if "T" in text[at:end] and LOST_PLUS_PATTERN.match(text, end):
            end += 1
    text_part = text[at:end].replace(" ", "+")
    if (
        (text_part[:4].isdecimal() and text_part[4:5] == "-")
        or ":" in text_part
        or BASIC_FORMAT_PATTERN.match(text_part)
    ):
        return "literal", parse_time_value(text_part), end
    if "_" in text_part:
        raise ValueError(f"{text_part} is no number")
    try:
        return "literal", float(text_part), end
    except ValueError:
        raise ValueError(f"{text_part} is neither a number nor a time like 2026-11-23T08:00:00Z") from None


def parse_time_value(text_part: str) -> Scalar:
    """Parse a time, an interval, a date or a time of day. Raises ValueError."""
    if "/" in text_part:
        return _parse_interval(*text_part.split("/"))
    if "T" in text_part.upper():
        return parse_datetime(text_part)
    return dt.time.fromisoformat(text_part) if ":" in text_part else dt.date.fromisoformat(text_part)


def parse_datetime(text_part: str) -> dt.datetime:
    """Parse a time; without an offset it is in UTC, and 24:00 is the end of a day. Raises ValueError.

    >>> parse_datetime("2026-11-26T24:00:00Z") == parse_datetime("20261127T080000+08")
    True
    """
    text_part = LOST_PLUS_PATTERN.sub(r"+\1", text_part.upper())
    is_end_of_day = END_OF_DAY_PATTERN.search(text_part)
    if is_end_of_day:
        text_part = text_part.replace(
            is_end_of_day.group(1),
            "T00:00" if ":" in is_end_of_day.group(1) or "-" in text_part[:8] else "T0000",
        )
    matched = dt.datetime.fromisoformat(text_part) + dt.timedelta(days=bool(is_end_of_day))
    return matched if matched.tzinfo else matched.replace(tzinfo=dt.UTC)


def _parse_interval(*ends: str) -> TimeInterval:
    if len(ends) != 2:
        raise ValueError("an interval has one slash: start/end")
    first, duration_end = ends
    if first.startswith("P"):
        end = parse_datetime(duration_end)
        return TimeInterval(_shift_by_duration(end, first, -1), end)
    start = parse_datetime(first)
    end = (
        _shift_by_duration(start, duration_end, 1)
        if duration_end.startswith("P")
        else parse_datetime(duration_end)
    )
    if end < start:
        raise ValueError("this interval ends before it begins")
    return TimeInterval(start, end)


def _shift_by_duration(at: dt.datetime, text_part: str, sign: int) -> dt.datetime:
    """Return a time shifted by a duration; calendar months, clipped to the last day of the month."""
    months, days_and_time = _parse_duration_parts(text_part)
    year, month = divmod(12 * at.year + at.month - 1 + sign * months, 12)
    if not dt.MINYEAR <= year <= dt.MAXYEAR:
        raise ValueError(f"{text_part!r} leads out of the years {dt.MINYEAR} to {dt.MAXYEAR}")
    day = min(at.day, calendar.monthrange(year, month + 1)[1])
    return at.replace(year=year, month=month + 1, day=day) + sign * days_and_time


def parse_duration(text_part: str) -> dt.timedelta:
    """Parse a duration of weeks to seconds (ISO 8601). Raises ValueError, OverflowError.

    >>> parse_duration("P1DT2H0.5S")
    datetime.timedelta(days=1, seconds=7200, microseconds=500000)
    """
    months, days_and_time = _parse_duration_parts(text_part)
    if months:
        detail = "months and years are of different lengths: write days, or an interval like 2026-11-01/P1M"
        raise ValueError(f"{text_part!r}: {detail}")
    return days_and_time


def _parse_duration_parts(text_part: str) -> tuple[int, dt.timedelta]:
    """Return the months and the rest of a duration. Raises ValueError, OverflowError."""
    matched = DURATION_PATTERN.fullmatch(text_part.upper())
    parts = {} if matched is None else {name: one for name, one in matched.groupdict().items() if one}
    sign = -1 if parts.pop("sign", "") else 1
    if not parts:
        raise ValueError(f"{text_part!r} is no duration: write days, hours, minutes, seconds, as in P1DT2H")
    if max(map(len, parts.values())) > MAX_NUMBER_DIGITS:
        raise ValueError("this duration is longer than all times that there are")
    months = 12 * int(parts.pop("years", 0)) + int(parts.pop("months", 0))
    return sign * months, sign * dt.timedelta(**{name: float(one) for name, one in parts.items()})
