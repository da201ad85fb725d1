"""Conditions on observations, as values: what a filter comes down to before it is SQL."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TypeAlias

Plain: TypeAlias = bool | float | str | dt.datetime | dt.date | dt.time | None
"""What a condition can hold; durations are seconds [s], intervals are two moments."""


@dataclass(frozen=True, slots=True)
class Value:
    """Something that is the same for every observation."""

    value: Plain


@dataclass(frozen=True, slots=True)
class Given:
    """Something that is the same for every observation of a series: a column of the `Scope`."""

    column: int


@dataclass(frozen=True, slots=True)
class Own:
    """Something of the observation itself, by the names of `compiling.OWN`."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operation on terms, by the name that its SQL has."""

    name: str
    args: tuple[Term, ...]


Term: TypeAlias = Value | Given | Own | Call


@dataclass(frozen=True, slots=True)
class Order:
    """One key to sort by; nulls first where it ascends, last where it descends."""

    term: Term
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """Series, and what is known of each beforehand: ``columns[k][i]`` belongs to ``series_ids[i]``."""

    series_ids: list[int]
    columns: tuple[list[Plain], ...] = ()

    def part(self, begin: int, end: int) -> Scope:
        """Some of the series."""
        return Scope(self.series_ids[begin:end], tuple(one[begin:end] for one in self.columns))


def kind_of(value: Plain) -> str:
    """The kind of a value.

    >>> kind_of(1.0), kind_of(True), kind_of(None)
    ('number', 'truth', 'null')
    """
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "truth"),
        ((int, float), "number"),
        (str, "text"),
        (dt.datetime, "moment"),
        (dt.date, "day"),
        (dt.time, "clock"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")
