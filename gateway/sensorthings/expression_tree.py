"""Defines the syntax tree of $filter and $orderby expressions; every node has its column ``at``."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TypeAlias

from shapely.geometry.base import BaseGeometry

from gateway.api.problems import ProblemError
from gateway.sensorthings.entity_types import ValueType


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """A half-open time interval, ``[start, end)``."""

    start: dt.datetime
    end: dt.datetime


Scalar: TypeAlias = (
    bool | float | str | dt.datetime | dt.date | dt.time | dt.timedelta | TimeInterval | BaseGeometry | None
)


@dataclass(frozen=True, slots=True)
class LiteralValue:
    """A literal value."""

    value: Scalar
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class NamePath:
    """Slash-separated names, before they are resolved to a `PropertyRef`."""

    parts: tuple[str, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """An operator or function with its arguments; ``size`` counts the evaluated nodes."""

    name: str
    args: tuple[ExpressionNode, ...]
    at: int = field(default=0, compare=False)
    subtree_depth: int = field(default=1, compare=False)
    size: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class PropertyRef:
    """A resolved path: links to follow, a property, and the path ``json_path`` inside its JSON value."""

    links: tuple[str, ...]
    name: str
    json_path: tuple[str, ...]
    type: ValueType
    at: int = field(default=0, compare=False)


ExpressionNode: TypeAlias = LiteralValue | NamePath | FunctionCall | PropertyRef


class QueryError(ProblemError):
    """A query that can't be parsed or evaluated; the problem has the option and the column."""

    def __init__(self, detail: str, at: int, *, option: str = "$filter", status: int = 400) -> None:
        super().__init__(status, f"{option}, column {at + 1}: {detail}", where=f"{option}:{at + 1}")
        self.at = at
