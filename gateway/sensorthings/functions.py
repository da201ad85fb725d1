"""Implements the operators and functions of $filter (18-088, 9.3.3.5) with argument and result types.

A function of null returns null. A comparison is never null: with null on one side the values are unequal, and
neither is less (OData 4.0, part 2, 5.1.1.1). Intervals are half-open.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shapely.geometry.base import BaseGeometry

from gateway.sensorthings import geometry
from gateway.sensorthings.entity_types import ValueType
from gateway.sensorthings.expression_tree import Scalar, TimeInterval

if TYPE_CHECKING:
    from collections.abc import Callable

WHITESPACE = " \t\n\r\f\v"
MIN_DATETIME = dt.datetime.min.replace(tzinfo=dt.UTC)
MAX_DATETIME = dt.datetime.max.replace(tzinfo=dt.UTC)

BOOLEAN_ARGS, NUMBER_ARGS, TEXT_ARGS = (
    (ValueType.BOOLEAN,),
    (ValueType.NUMBER,),
    (ValueType.TEXT, ValueType.ID),
)
TIME_ARGS, DATE_ARGS = (
    (ValueType.DATETIME, ValueType.INTERVAL),
    (ValueType.DATETIME, ValueType.INTERVAL, ValueType.DATE),
)
CLOCK_ARGS, GEOMETRY_ARGS = (
    (ValueType.DATETIME, ValueType.INTERVAL, ValueType.TIME_OF_DAY),
    (ValueType.GEOMETRY,),
)
ARITHMETIC_ARGS = (
    ValueType.NUMBER,
    ValueType.DATETIME,
    ValueType.INTERVAL,
    ValueType.DATE,
    ValueType.DURATION,
)


@dataclass(frozen=True, slots=True)
class QueryFunction:
    """A function: accepted types of each argument, result type, implementation, count of optional ones."""

    arg_types: tuple[tuple[ValueType, ...], ...]
    returned_type: ValueType
    apply: Callable[..., Scalar]
    optional: int = 0


def start_of(value: Any) -> Any:
    """Return the start of an interval; a single time unchanged."""
    return value.start if isinstance(value, TimeInterval) else value


def end_of(value: Any) -> Any:
    """Return the end of an interval; a single time unchanged."""
    return value.end if isinstance(value, TimeInterval) else value


def round_half_up(value: float) -> float:
    """Round to the nearest whole number, halves away from zero.

    >>> round_half_up(2.5), round_half_up(-2.5)
    (3.0, -3.0)
    """
    return math.copysign(math.floor(abs(value) + 0.5), value)


def add(one: Any, other: Any) -> Any:
    """Return the sum, or None. A duration shifts an interval, and a date from its start in UTC."""
    if value_type(other) in {ValueType.INTERVAL, ValueType.DATE}:
        one, other = other, one
    if isinstance(one, TimeInterval):
        return _or_none(lambda: TimeInterval(one.start + other, one.end + other))
    if value_type(one) is ValueType.DATE:
        start_time = add(start_of_day(one), other)
        return start_time and start_time.date()
    return _or_none(lambda: one + other)


def subtract(one: Any, other: Any) -> Any:
    """Return the difference, or None. A duration shifts an interval or a date as in `add`."""
    if value_type(one) in {ValueType.INTERVAL, ValueType.DATE} and isinstance(other, dt.timedelta):
        return add(one, -other)
    return _or_none(lambda: one - other)


def multiply(one: Any, other: Any) -> Any:
    """Return the product; None if it is undefined."""
    return _or_none(lambda: one * other)


def divide(one: Any, other: Any) -> Any:
    """Return the quotient; None if the divisor is zero."""
    return _or_none(lambda: one / other)


def remainder(one: Any, other: Any) -> Any:
    """Return the remainder with the sign of the dividend; None if the divisor is zero."""
    return _or_none(lambda: one - other * math.trunc(one / other))


def _or_none(operation: Callable[[], Any]) -> Any:
    try:
        return operation()
    except (TypeError, ZeroDivisionError, OverflowError, ValueError):
        return None


def _substring(text: str, begin: float, count: float | None = None) -> str:
    first, n = (int(min(max(one, 0), len(text))) for one in (begin, len(text) if count is None else count))
    return text[first : first + n]


def _date_of(value: Any) -> dt.date:
    return value if value_type(value) is ValueType.DATE else start_of(value).date()  # type: ignore[no-any-return]


def _before(one: Any, other: Any) -> bool:
    if isinstance(one, TimeInterval):
        return end_of(one) <= start_of(other)  # type: ignore[no-any-return]
    return start_of(one) < start_of(other)  # type: ignore[no-any-return]


def _during(one: Any, other: TimeInterval) -> bool:
    return other.start <= start_of(one) < other.end and end_of(one) <= other.end  # type: ignore[no-any-return]


def _overlap(one: Any, other: Any) -> bool:
    if start_of(one) == start_of(other):
        return True
    first, second = sorted((one, other), key=start_of)
    return start_of(second) < end_of(first)  # type: ignore[no-any-return]


def _meets(one: Any, other: Any) -> bool:
    if not isinstance(one, TimeInterval) and not isinstance(other, TimeInterval):
        return bool(one == other)
    return bool(end_of(one) == start_of(other) or start_of(one) == end_of(other))


def _text_function(
    apply: Callable[[str, str], Scalar], returned_type: ValueType = ValueType.BOOLEAN
) -> QueryFunction:
    return QueryFunction((TEXT_ARGS, TEXT_ARGS), returned_type, apply)


def _date_part_function(name: str, arg_types: tuple[ValueType, ...]) -> QueryFunction:
    return QueryFunction((arg_types,), ValueType.NUMBER, lambda value: float(getattr(start_of(value), name)))


def _time_relation(apply: Callable[[Any, Any], bool]) -> QueryFunction:
    return QueryFunction((TIME_ARGS, TIME_ARGS), ValueType.BOOLEAN, apply)


def _spatial_relation(name: str) -> QueryFunction:
    return QueryFunction(
        (GEOMETRY_ARGS, GEOMETRY_ARGS),
        ValueType.BOOLEAN,
        lambda one, other: geometry.spatial_relation(name, one, other),
    )


ARITHMETIC_OPERATORS = {"add": add, "sub": subtract, "mul": multiply, "div": divide, "mod": remainder}

QUERY_FUNCTIONS: dict[str, QueryFunction] = {
    "neg": QueryFunction(((ValueType.NUMBER, ValueType.DURATION),), ValueType.ANY, lambda value: -value),
    "substringof": _text_function(lambda part, text: part in text),
    "contains": _text_function(lambda text, part: part in text),
    "startswith": _text_function(str.startswith),
    "endswith": _text_function(str.endswith),
    "indexof": _text_function(lambda text, part: float(text.find(part)), ValueType.NUMBER),
    "concat": _text_function(lambda one, other: one + other, ValueType.TEXT),
    "length": QueryFunction((TEXT_ARGS,), ValueType.NUMBER, lambda text: float(len(text))),
    "substring": QueryFunction((TEXT_ARGS, NUMBER_ARGS, NUMBER_ARGS), ValueType.TEXT, _substring, optional=1),
    "tolower": QueryFunction((TEXT_ARGS,), ValueType.TEXT, str.lower),
    "toupper": QueryFunction((TEXT_ARGS,), ValueType.TEXT, str.upper),
    "trim": QueryFunction((TEXT_ARGS,), ValueType.TEXT, lambda text: text.strip(WHITESPACE)),
    **{name: _date_part_function(name, DATE_ARGS) for name in ("year", "month", "day")},
    **{name: _date_part_function(name, CLOCK_ARGS) for name in ("hour", "minute", "second")},
    "fractionalseconds": QueryFunction(
        (CLOCK_ARGS,), ValueType.NUMBER, lambda value: start_of(value).microsecond / 1e6
    ),
    "date": QueryFunction((DATE_ARGS,), ValueType.DATE, _date_of),
    "time": QueryFunction((TIME_ARGS,), ValueType.TIME_OF_DAY, lambda value: start_of(value).time()),
    "totaloffsetminutes": QueryFunction(
        (TIME_ARGS,), ValueType.NUMBER, lambda value: start_of(value).utcoffset().total_seconds() / 60
    ),
    "mindatetime": QueryFunction((), ValueType.DATETIME, lambda: MIN_DATETIME),
    "maxdatetime": QueryFunction((), ValueType.DATETIME, lambda: MAX_DATETIME),
    "now": QueryFunction((), ValueType.DATETIME, lambda: dt.datetime.now(dt.UTC)),
    "before": _time_relation(_before),
    "after": _time_relation(lambda one, other: _before(other, one)),
    "meets": _time_relation(_meets),
    "during": QueryFunction((TIME_ARGS, (ValueType.INTERVAL,)), ValueType.BOOLEAN, _during),
    "overlaps": _time_relation(_overlap),
    "starts": _time_relation(lambda one, other: bool(start_of(one) == start_of(other))),
    "finishes": _time_relation(lambda one, other: bool(end_of(one) == end_of(other))),
    "round": QueryFunction((NUMBER_ARGS,), ValueType.NUMBER, round_half_up),
    "floor": QueryFunction((NUMBER_ARGS,), ValueType.NUMBER, lambda value: float(math.floor(value))),
    "ceiling": QueryFunction((NUMBER_ARGS,), ValueType.NUMBER, lambda value: float(math.ceil(value))),
    "geo.distance": QueryFunction(
        (GEOMETRY_ARGS, GEOMETRY_ARGS), ValueType.NUMBER, lambda one, other: one.distance(other)
    ),
    "geo.length": QueryFunction((GEOMETRY_ARGS,), ValueType.NUMBER, lambda line: line.length),
    "geo.intersects": _spatial_relation("intersects"),
    **{f"st_{name}": _spatial_relation(name) for name in geometry.SPATIAL_PREDICATES},
    "st_relate": QueryFunction(
        (GEOMETRY_ARGS, GEOMETRY_ARGS, TEXT_ARGS), ValueType.BOOLEAN, geometry.matches_de9im
    ),
}

_CLASSES_BY_TYPE: dict[ValueType, type | tuple[type, ...]] = {
    ValueType.BOOLEAN: bool,
    ValueType.NUMBER: (int, float),
    ValueType.TEXT: str,
    ValueType.DATETIME: dt.datetime,
    ValueType.INTERVAL: TimeInterval,
    ValueType.DATE: dt.date,
    ValueType.TIME_OF_DAY: dt.time,
    ValueType.DURATION: dt.timedelta,
    ValueType.GEOMETRY: BaseGeometry,
}


def value_type(value: object) -> ValueType:
    """Return the type of a value.

    >>> value_type(True), value_type(1.0)
    (<ValueType.BOOLEAN: 1>, <ValueType.NUMBER: 2>)
    """
    if value is None:
        return ValueType.NULL
    return next(
        (one for one, classes in _CLASSES_BY_TYPE.items() if isinstance(value, classes)), ValueType.JSON
    )


def call_function(name: str, values: list[Any]) -> Scalar:
    """Call a function; None if an argument is null or of a wrong type."""
    function = QUERY_FUNCTIONS[name]
    if any(value is None for value in values):
        return None
    if any(
        value_type(value) not in arg_types
        for arg_types, value in zip(function.arg_types, values, strict=False)
    ):
        return None
    return _or_none(lambda: function.apply(*values))


def compare_values(name: str, one: Any, other: Any) -> bool:
    """Compare two values by ``eq``, ``ne``, ``lt``, ``le``, ``gt`` or ``ge``."""
    if name in {"gt", "ge"}:
        return compare_values("lt" if name == "gt" else "le", other, one)
    if name == "ne":
        return not compare_values("eq", one, other)
    return _compare(name, one, other)


def _compare(name: str, one: Any, other: Any) -> bool:
    if one is None or other is None:
        return name == "eq" and one is None and other is None
    one, other = _day_to_datetime(one, other), _day_to_datetime(other, one)
    types = {value_type(one), value_type(other)}
    if types <= {ValueType.DATETIME, ValueType.INTERVAL} and ValueType.INTERVAL in types:
        return _compare_intervals(name, one, other)
    if len(types) > 1 or types & {ValueType.JSON}:
        return False
    if types & {ValueType.GEOMETRY}:
        return name == "eq" and bool(one.equals(other))
    return bool({"eq": one == other, "lt": one < other, "le": one <= other}[name])


def start_of_day(day: dt.date) -> dt.datetime:
    """Return the start of a date in UTC."""
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def _day_to_datetime(one: Any, other: Any) -> Any:
    """Return a date that is compared with a time or an interval as its start; else the value unchanged."""
    is_compared_with_time = value_type(one) is ValueType.DATE and value_type(other) in {
        ValueType.DATETIME,
        ValueType.INTERVAL,
    }
    return start_of_day(one) if is_compared_with_time else one


def _compare_intervals(name: str, one: Any, other: Any) -> bool:
    match name:
        case "eq":
            return bool(start_of(one) == start_of(other) and end_of(one) == end_of(other))
        case "lt":
            return _before(one, other)
    return bool(start_of(one) <= start_of(other) and end_of(one) <= end_of(other))
