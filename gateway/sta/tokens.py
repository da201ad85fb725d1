"""From the text of an expression to tokens, one character after the other: linear in its length."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.sta import geometry
from gateway.sta.nodes import QueryError, Scalar, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERISH = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:.-+/_")
BLANKS = " \t\r\n"
WORDS = {"true": True, "false": False, "null": None}


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
        except (ValueError, OverflowError) as error:
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


def _numberish(text: str, at: int) -> tuple[str, Scalar, int]:
    end = at + 1
    while end < len(text) and text[end] in NUMBERISH:
        end += 1
        if text[end : end + 1] == " " and _offset_follows(text, at, end):
            end += 1  # a plus sign that a form encoder turned into a blank
    word = text[at:end].replace(" ", "+")
    if (word[:4].isdecimal() and word[4:5] == "-") or ":" in word:
        return "literal", time_value(word), end
    if "_" in word:
        raise ValueError(f"{word} is no number")
    try:
        return "literal", float(word), end
    except ValueError:
        raise ValueError(f"{word} is neither a number nor a time like 2026-11-23T08:00:00Z") from None


def _offset_follows(text: str, at: int, end: int) -> bool:
    after = text[end + 1 : end + 6]
    return "T" in text[at:end] and len(after) == 5 and after[2] == ":" and (after[:2] + after[3:]).isdecimal()


def time_value(word: str) -> Scalar:
    """A moment, an interval, a day or a time of day. Raises ValueError."""
    if "/" in word:
        return _span(*word.split("/"))
    if "T" in word.upper():
        return moment(word)
    return dt.time.fromisoformat(word) if ":" in word else dt.date.fromisoformat(word)


def moment(word: str) -> dt.datetime:
    """A moment; without an offset it is in UTC. Raises ValueError."""
    found = dt.datetime.fromisoformat(word.upper())
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _span(*ends: str) -> Span:
    if len(ends) != 2:
        raise ValueError("an interval has one slash: start/end")
    first, second = ends
    if first.startswith("P"):
        end = moment(second)
        return Span(end - duration(first), end)
    start = moment(first)
    end = start + duration(second) if second.startswith("P") else moment(second)
    if end < start:
        raise ValueError("this interval ends before it begins")
    return Span(start, end)


def duration(word: str) -> dt.timedelta:
    """A duration of days, hours, minutes and seconds (ISO 8601). Raises ValueError.

    >>> duration("P1DT2H0.5S")
    datetime.timedelta(days=1, seconds=7200, microseconds=500000)
    """
    wrong = ValueError(f"{word!r} is no duration: write days, hours, minutes, seconds, as in P1DT2H")
    sign, rest = (-1, word[1:]) if word.startswith("-") else (1, word)
    days, _, clock = rest[1:].partition("T")
    if rest[:1] != "P" or (not days and not clock):
        raise wrong
    seconds = 0.0
    for part, units in ((days, {"W": 604_800, "D": 86_400}), (clock, {"H": 3600, "M": 60, "S": 1})):
        digits = ""
        for character in part:
            if character in units:
                seconds, digits = seconds + float(digits or "x") * units[character], ""
            else:
                digits += character
        if digits:
            raise wrong
    return dt.timedelta(seconds=sign * seconds)
