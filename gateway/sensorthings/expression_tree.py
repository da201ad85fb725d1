"""The syntax tree of an expression; every node has its column in the query."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TypeAlias

from shapely.geometry.base import BaseGeometry

from gateway.api.problems import ProblemError
from gateway.sensorthings.entity_types import ValueType


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """A stretch of time, ``[start, end)``."""

    start: dt.datetime
    end: dt.datetime


Scalar: TypeAlias = (
    bool | float | str | dt.datetime | dt.date | dt.time | dt.timedelta | TimeInterval | BaseGeometry | None
)


@dataclass(frozen=True, slots=True)
class LiteralValue:
    """A value that stands in the query."""

    value: Scalar
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class NamePath:
    """Names between slashes, as they stand in the query."""

    parts: tuple[str, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """An operator or function."""

    name: str
    args: tuple[ExpressionNode, ...]
    at: int = field(default=0, compare=False)
    depth_below: int = field(default=1, compare=False)
    size: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class PropertyRef:
    """A path that was found: links to follow, a property, and the way into its JSON."""

    links: tuple[str, ...]
    name: str
    inside: tuple[str, ...]
    type: ValueType
    at: int = field(default=0, compare=False)


ExpressionNode: TypeAlias = LiteralValue | NamePath | FunctionCall | PropertyRef


class QueryError(ProblemError):
    """A query that can't be read or answered; says the option and the column."""

    def __init__(self, detail: str, at: int, *, option: str = "$filter", status: int = 400) -> None:
        super().__init__(status, f"{option}, column {at + 1}: {detail}", where=f"{option}:{at + 1}")
        self.at = at
