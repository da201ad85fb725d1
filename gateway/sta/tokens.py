"""Splits the text of an expression into tokens, in time linear in its length."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.sta import geometry
from gateway.sta.nodes import QueryError, Scalar, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_NUMBER = 18
NUMBERISH = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:.-+/_")
BLANKS = " \t\r\n"
WORDS = {"true": True, "false": False, "null": None}
BASIC = re.compile(r"\d{8}T\d{2}")
"""How a time in the basic format of ISO 8601 begins: ``20261127T080000Z``."""
UNTIL = re.compile(r"P(?=\d|T\d)[0-9YMWDTHS.]+/(?=\d{4})")
"""A duration and a slash before a time."""
OFFSET = re.compile(r" (\d{2}(:?\d{2})?)(?=[/\s),]|$)")
"""A plus sign that a form encoder turned into a blank, and the offset from UTC behind it."""
MIDNIGHT = re.compile(r"(T24(:?00){0,2}([.,]0+)?)(?=Z|[+-]|$)")
_NUMBER = r"\d+(?:[.]\d+)?"
UNITS = re.compile(
    r"(?P<sign>-?)P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?"
    rf"(?:(?P<weeks>{_NUMBER})W)?(?:(?P<days>{_NUMBER})D)?"
    rf"(?:T(?=\d)(?:(?P<hours>{_NUMBER})H)?(?:(?P<minutes>{_NUMBER})M)?(?:(?P<seconds>{_NUMBER})S)?)?"
)


@dataclass(frozen=True, slots=True)
class Token:
    """A token: ``(``, ``)``, ``,``, ``-``, ``/``, ``word``, ``literal`` or ``end``."""

    kind: str
    value: Scalar
    at: int


def tokens(text: str, offset: int = 0, option: str = "$filter") -> Iterator[Token]:
    """The tokens of an expression. Raises `QueryError` at the first column that can't be read."""
    at = 0
    while at < len(text):
        character = text[at]
        if character in BLANKS:
            at += 1
            continue
        try:
            kind, value, end = _token(text, at)
        except OverflowError as error:
            detail = f"this time is out of the years {dt.MINYEAR} to {dt.MAXYEAR}"
            raise QueryError(detail, offset + at, option=option) from error
        except ValueError as error:
            raise QueryError(str(error), offset + at, option=option) from error
        yield Token(kind, value, offset + at)
        at = end
    yield Token("end", None, offset + len(text))


def _token(text: str, at: int) -> tuple[str, Scalar, int]:
    character = text[at]
    if character == "'":
        value, end = quoted(text, at)
        return "literal", value, end
    if character.isdecimal():
        return _numberish(text, at)
    if character in "(),/-":
        return character, character, at + 1
    if text[at - 1 : at] != "/" and (found := UNTIL.match(text, at)):
        return _until(text, at, found.end())
    if character.isalpha() or character in "_@$":
        return _word(text, at)
    raise ValueError(f"{character!r} does not belong here")


def quoted(text: str, at: int) -> tuple[str, int]:
    """A text in single quotes, where two mean one; and where it ends. Raises ValueError."""
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
    found = "'".join(pieces)
    if "\0" in found:
        raise ValueError("a text can't hold the character of code 0")
    return found, end + 1


def _word(text: str, at: int) -> tuple[str, Scalar, int]:
    end = at + 1
    while end < len(text) and (text[end].isalnum() or text[end] in "_@.-$"):
        end += 1
    word = text[at:end]
    if end < len(text) and text[end] == "'":
        inside, end = quoted(text, end)
        return "literal", _prefixed(word, inside), end
    if word in WORDS and text[end : end + 1] != "/":
        return "literal", WORDS[word], end
    return "word", word, end


def _prefixed(word: str, inside: str) -> Scalar:
    match word.lower():
        case "geography" | "geometry":
            return geometry.from_wkt(inside)
        case "duration":
            return duration(inside)
        case "datetime" | "datetimeoffset" | "time" | "date":
            return time_value(inside)
    raise ValueError(f"{word}'…' is not known: write geography'POINT (120.7 30.7)' or duration'PT1H'")


def _until(text: str, at: int, second: int) -> tuple[str, Scalar, int]:
    """An interval that begins with its duration: ``PT6H/2026-11-27T00:00:00Z``."""
    _, _, end = _numberish(text, second)
    return "literal", _span(*text[at:end].split("/")), end


def _numberish(text: str, at: int) -> tuple[str, Scalar, int]:
    end = at + 1
    while end < len(text) and text[end] in NUMBERISH:
        end += 1
        if "T" in text[at:end] and OFFSET.match(text, end):
            end += 1
    word = text[at:end].replace(" ", "+")
    if (word[:4].isdecimal() and word[4:5] == "-") or ":" in word or BASIC.match(word):
        return "literal", time_value(word), end
    if "_" in word:
        raise ValueError(f"{word} is no number")
    try:
        return "literal", float(word), end
    except ValueError:
        raise ValueError(f"{word} is neither a number nor a time like 2026-11-23T08:00:00Z") from None


def time_value(word: str) -> Scalar:
    """A moment, an interval, a day or a time of day. Raises ValueError."""
    if "/" in word:
        return _span(*word.split("/"))
    if "T" in word.upper():
        return moment(word)
    return dt.time.fromisoformat(word) if ":" in word else dt.date.fromisoformat(word)


def moment(word: str) -> dt.datetime:
    """A moment; without an offset it is in UTC, and 24:00 is the end of a day. Raises ValueError.

    >>> moment("2026-11-26T24:00:00Z") == moment("20261127T080000+08")
    True
    """
    word = OFFSET.sub(r"+\1", word.upper())
    late = MIDNIGHT.search(word)
    if late:
        word = word.replace(late.group(1), "T00:00" if ":" in late.group(1) or "-" in word[:8] else "T0000")
    found = dt.datetime.fromisoformat(word) + dt.timedelta(days=bool(late))
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _span(*ends: str) -> Span:
    if len(ends) != 2:
        raise ValueError("an interval has one slash: start/end")
    first, second = ends
    if first.startswith("P"):
        end = moment(second)
        return Span(_shifted(end, first, -1), end)
    start = moment(first)
    end = _shifted(start, second, 1) if second.startswith("P") else moment(second)
    if end < start:
        raise ValueError("this interval ends before it begins")
    return Span(start, end)


def _shifted(at: dt.datetime, word: str, sign: int) -> dt.datetime:
    """A moment and a duration; months are those of the calendar, and end with its last day."""
    months, rest = _parts(word)
    year, month = divmod(12 * at.year + at.month - 1 + sign * months, 12)
    if not dt.MINYEAR <= year <= dt.MAXYEAR:
        raise ValueError(f"{word!r} leads out of the years {dt.MINYEAR} to {dt.MAXYEAR}")
    day = min(at.day, calendar.monthrange(year, month + 1)[1])
    return at.replace(year=year, month=month + 1, day=day) + sign * rest


def duration(word: str) -> dt.timedelta:
    """A duration of weeks, days, hours, minutes and seconds (ISO 8601). Raises ValueError, OverflowError.

    >>> duration("P1DT2H0.5S")
    datetime.timedelta(days=1, seconds=7200, microseconds=500000)
    """
    months, rest = _parts(word)
    if months:
        detail = "months and years are of different lengths: write days, or an interval like 2026-11-01/P1M"
        raise ValueError(f"{word!r}: {detail}")
    return rest


def _parts(word: str) -> tuple[int, dt.timedelta]:
    """The months and the rest of a duration. Raises ValueError, OverflowError."""
    found = UNITS.fullmatch(word.upper())
    parts = {} if found is None else {name: one for name, one in found.groupdict().items() if one}
    sign = -1 if parts.pop("sign", "") else 1
    if not parts:
        raise ValueError(f"{word!r} is no duration: write days, hours, minutes, seconds, as in P1DT2H")
    if max(map(len, parts.values())) > LONGEST_NUMBER:
        raise ValueError("this duration is longer than all times that there are")
    months = 12 * int(parts.pop("years", 0)) + int(parts.pop("months", 0))
    return sign * months, sign * dt.timedelta(**{name: float(one) for name, one in parts.items()})
