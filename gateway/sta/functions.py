"""Operators and functions of 18-088, clause 9.3.3.5, with argument and result types.

A function of null gives null. A comparison is never null: with null on one side, values are unequal, and
neither is less (OData 4.0, part 2, 5.1.1.1). Intervals are half-open.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shapely.geometry.base import BaseGeometry

from gateway.sta import geometry
from gateway.sta.kinds import Type
from gateway.sta.nodes import Scalar, Span

if TYPE_CHECKING:
    from collections.abc import Callable

BLANKS = " \t\n\r\f\v"
EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)
LATEST = dt.datetime.max.replace(tzinfo=dt.UTC)

TRUTH, NUMBER, TEXT = (Type.TRUTH,), (Type.NUMBER,), (Type.TEXT, Type.KEY)
TIME, INSTANT = (Type.MOMENT, Type.SPAN), (Type.MOMENT, Type.SPAN, Type.DAY)
CLOCKED, SHAPE = (Type.MOMENT, Type.SPAN, Type.CLOCK), (Type.SHAPE,)
AMOUNT = (Type.NUMBER, Type.MOMENT, Type.SPAN, Type.DAY, Type.DURATION)


@dataclass(frozen=True, slots=True)
class Function:
    """What a function takes, argument by argument; what it gives; and how."""

    takes: tuple[tuple[Type, ...], ...]
    gives: Type
    apply: Callable[..., Scalar]
    optional: int = 0


def start(value: Any) -> Any:
    """Where a time begins."""
    return value.start if isinstance(value, Span) else value


def end(value: Any) -> Any:
    """Where a time ends; a moment ends where it begins."""
    return value.end if isinstance(value, Span) else value


def half_up(value: float) -> float:
    """To the nearest whole number, halves away from zero.

    >>> half_up(2.5), half_up(-2.5)
    (3.0, -3.0)
    """
    return math.copysign(math.floor(abs(value) + 0.5), value)


def plus(one: Any, other: Any) -> Any:
    """The sum; None where there is none. An interval is shifted by a duration, a day from its begin."""
    if type_of(other) in {Type.SPAN, Type.DAY}:
        one, other = other, one
    if isinstance(one, Span):
        return _computed(lambda: Span(one.start + other, one.end + other))
    if type_of(one) is Type.DAY:
        moment = plus(begin_of(one), other)
        return moment and moment.date()
    return _computed(lambda: one + other)


def minus(one: Any, other: Any) -> Any:
    """The difference; None where there is none. Of an interval or a day and a duration as in `plus`."""
    if type_of(one) in {Type.SPAN, Type.DAY} and isinstance(other, dt.timedelta):
        return plus(one, -other)
    return _computed(lambda: one - other)


def times(one: Any, other: Any) -> Any:
    """The product; None where there is none."""
    return _computed(lambda: one * other)


def over(one: Any, other: Any) -> Any:
    """The quotient; None where the divisor is zero."""
    return _computed(lambda: one / other)


def remainder(one: Any, other: Any) -> Any:
    """The remainder with the sign of the dividend; None where the divisor is zero."""
    return _computed(lambda: one - other * math.trunc(one / other))


def _computed(what: Callable[[], Any]) -> Any:
    try:
        return what()
    except (TypeError, ZeroDivisionError, OverflowError, ValueError):
        return None


def _substring(text: str, begin: float, count: float | None = None) -> str:
    first, n = (int(min(max(one, 0), len(text))) for one in (begin, len(text) if count is None else count))
    return text[first : first + n]


def _day(value: Any) -> dt.date:
    return value if type_of(value) is Type.DAY else start(value).date()  # type: ignore[no-any-return]


def _before(one: Any, other: Any) -> bool:
    if isinstance(one, Span):
        return end(one) <= start(other)  # type: ignore[no-any-return]
    return start(one) < start(other)  # type: ignore[no-any-return]


def _during(one: Any, other: Span) -> bool:
    return other.start <= start(one) < other.end and end(one) <= other.end  # type: ignore[no-any-return]


def _overlap(one: Any, other: Any) -> bool:
    if start(one) == start(other):
        return True
    first, second = sorted((one, other), key=start)
    return start(second) < end(first)  # type: ignore[no-any-return]


def _meets(one: Any, other: Any) -> bool:
    if not isinstance(one, Span) and not isinstance(other, Span):
        return bool(one == other)
    return bool(end(one) == start(other) or start(one) == end(other))


def _text(apply: Callable[[str, str], Scalar], gives: Type = Type.TRUTH) -> Function:
    return Function((TEXT, TEXT), gives, apply)


def _part(name: str, takes: tuple[Type, ...]) -> Function:
    return Function((takes,), Type.NUMBER, lambda value: float(getattr(start(value), name)))


def _times(apply: Callable[[Any, Any], bool]) -> Function:
    return Function((TIME, TIME), Type.TRUTH, apply)


def _shapes(name: str) -> Function:
    return Function((SHAPE, SHAPE), Type.TRUTH, lambda one, other: geometry.related(name, one, other))


ARITHMETIC = {"add": plus, "sub": minus, "mul": times, "div": over, "mod": remainder}

FUNCTIONS: dict[str, Function] = {
    "neg": Function(((Type.NUMBER, Type.DURATION),), Type.ANY, lambda value: -value),
    "substringof": _text(lambda part, text: part in text),
    "contains": _text(lambda text, part: part in text),
    "startswith": _text(str.startswith),
    "endswith": _text(str.endswith),
    "indexof": _text(lambda text, part: float(text.find(part)), Type.NUMBER),
    "concat": _text(lambda one, other: one + other, Type.TEXT),
    "length": Function((TEXT,), Type.NUMBER, lambda text: float(len(text))),
    "substring": Function((TEXT, NUMBER, NUMBER), Type.TEXT, _substring, optional=1),
    "tolower": Function((TEXT,), Type.TEXT, str.lower),
    "toupper": Function((TEXT,), Type.TEXT, str.upper),
    "trim": Function((TEXT,), Type.TEXT, lambda text: text.strip(BLANKS)),
    **{name: _part(name, INSTANT) for name in ("year", "month", "day")},
    **{name: _part(name, CLOCKED) for name in ("hour", "minute", "second")},
    "fractionalseconds": Function((CLOCKED,), Type.NUMBER, lambda value: start(value).microsecond / 1e6),
    "date": Function((INSTANT,), Type.DAY, _day),
    "time": Function((TIME,), Type.CLOCK, lambda value: start(value).time()),
    "totaloffsetminutes": Function(
        (TIME,), Type.NUMBER, lambda value: start(value).utcoffset().total_seconds() / 60
    ),
    "mindatetime": Function((), Type.MOMENT, lambda: EARLIEST),
    "maxdatetime": Function((), Type.MOMENT, lambda: LATEST),
    "now": Function((), Type.MOMENT, lambda: dt.datetime.now(dt.UTC)),
    "before": _times(_before),
    "after": _times(lambda one, other: _before(other, one)),
    "meets": _times(_meets),
    "during": Function((TIME, (Type.SPAN,)), Type.TRUTH, _during),
    "overlaps": _times(_overlap),
    "starts": _times(lambda one, other: bool(start(one) == start(other))),
    "finishes": _times(lambda one, other: bool(end(one) == end(other))),
    "round": Function((NUMBER,), Type.NUMBER, half_up),
    "floor": Function((NUMBER,), Type.NUMBER, lambda value: float(math.floor(value))),
    "ceiling": Function((NUMBER,), Type.NUMBER, lambda value: float(math.ceil(value))),
    "geo.distance": Function((SHAPE, SHAPE), Type.NUMBER, lambda one, other: one.distance(other)),
    "geo.length": Function((SHAPE,), Type.NUMBER, lambda line: line.length),
    "geo.intersects": _shapes("intersects"),
    **{f"st_{name}": _shapes(name) for name in geometry.PREDICATES},
    "st_relate": Function((SHAPE, SHAPE, TEXT), Type.TRUTH, geometry.relate),
}

_CLASSES: dict[Type, type | tuple[type, ...]] = {
    Type.TRUTH: bool,
    Type.NUMBER: (int, float),
    Type.TEXT: str,
    Type.MOMENT: dt.datetime,
    Type.SPAN: Span,
    Type.DAY: dt.date,
    Type.CLOCK: dt.time,
    Type.DURATION: dt.timedelta,
    Type.SHAPE: BaseGeometry,
}


def type_of(value: object) -> Type:
    """The type of a value.

    >>> type_of(True), type_of(1.0)
    (<Type.TRUTH: 1>, <Type.NUMBER: 2>)
    """
    if value is None:
        return Type.NULL
    return next((one for one, classes in _CLASSES.items() if isinstance(value, classes)), Type.JSON)


def call(name: str, values: list[Any]) -> Scalar:
    """A function of values; None where one of them is null or of another type."""
    function = FUNCTIONS[name]
    if any(value is None for value in values):
        return None
    if any(type_of(value) not in takes for takes, value in zip(function.takes, values, strict=False)):
        return None
    return _computed(lambda: function.apply(*values))


def compare(name: str, one: Any, other: Any) -> bool:
    """A comparison by name: eq, ne, lt, le, gt, ge."""
    if name in {"gt", "ge"}:
        return compare("lt" if name == "gt" else "le", other, one)
    if name == "ne":
        return not compare("eq", one, other)
    return _compare(name, one, other)


def _compare(name: str, one: Any, other: Any) -> bool:
    if one is None or other is None:
        return name == "eq" and one is None and other is None
    one, other = _moment_beside(one, other), _moment_beside(other, one)
    types = {type_of(one), type_of(other)}
    if types <= {Type.MOMENT, Type.SPAN} and Type.SPAN in types:
        return _compare_spans(name, one, other)
    if len(types) > 1 or types & {Type.JSON}:
        return False
    if types & {Type.SHAPE}:
        return name == "eq" and bool(one.equals(other))
    return bool({"eq": one == other, "lt": one < other, "le": one <= other}[name])


def begin_of(day: dt.date) -> dt.datetime:
    """The moment in which a day begins."""
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def _moment_beside(one: Any, other: Any) -> Any:
    """A day beside a moment is its begin."""
    beside = type_of(one) is Type.DAY and type_of(other) in {Type.MOMENT, Type.SPAN}
    return begin_of(one) if beside else one


def _compare_spans(name: str, one: Any, other: Any) -> bool:
    match name:
        case "eq":
            return bool(start(one) == start(other) and end(one) == end(other))
        case "lt":
            return _before(one, other)
    return bool(start(one) <= start(other) and end(one) <= end(other))
