"""Abstract syntax tree of filters and orders of observations, before they are compiled to SQL."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TypeAlias

ScalarValue: TypeAlias = bool | float | str | dt.datetime | dt.date | dt.time | None
"""Types of constants; durations are seconds [s], intervals are two times."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant."""

    value: ScalarValue


@dataclass(frozen=True, slots=True)
class SeriesColumn:
    """A value that is constant per series: a column of the `SeriesScope`."""

    column: int


@dataclass(frozen=True, slots=True)
class ObservationField:
    """A field of the observation, by the keys of `observation_filters.FIELD_KINDS`."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation on terms, by the name of its SQL statement."""

    name: str
    args: tuple[FilterTerm, ...]


FilterTerm: TypeAlias = Constant | SeriesColumn | ObservationField | Operation


@dataclass(frozen=True, slots=True)
class SortKey:
    """A sort key; nulls first if ascending, last if descending."""

    term: FilterTerm
    descending: bool = False


@dataclass(frozen=True, slots=True)
class SeriesScope:
    """Series, and values constant per series: ``columns[k][i]`` belongs to ``series_ids[i]``."""

    series_ids: list[int]
    columns: tuple[list[ScalarValue], ...] = ()

    def slice_of(self, begin: int, end: int) -> SeriesScope:
        """Return the scope of the series ``begin`` to ``end``."""
        return SeriesScope(self.series_ids[begin:end], tuple(one[begin:end] for one in self.columns))


def value_kind(value: ScalarValue) -> str:
    """Return the kind of a value.

    >>> value_kind(1.0), value_kind(True), value_kind(None)
    ('number', 'truth', 'null')
    """
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "truth"),
        ((int, float), "number"),
        (str, "text"),
        (dt.datetime, "timestamp"),
        (dt.date, "day"),
        (dt.time, "clock"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")
