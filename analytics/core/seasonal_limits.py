"""Reads the limits of climatology (QARTOD test 5) by name, and builds their table by month and hour.

``suspect_high@6-8`` holds from June to August, ``suspect_high@11-2/22-3`` from November to February between
22:00 and 3:59:59 of the local day. Where several apply, the strictest does, so that their order is
irrelevant.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.checks.gross_range_and_climatology import (
    HOURS,
    MONTHS,
    ClimatologyLimits,
    cyclic_range,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SEPARATOR = "@"
NAMES = ClimatologyLimits._fields
"""The limits that can be seasonal, in the order of the table's first axis."""
SHAPE = (len(NAMES), MONTHS, HOURS)
SYNTAX = "suspect_high@6-8 (months), suspect_high@6-8/10-16 (months, and hours of the local day)"
_PATTERN = re.compile(r"(?P<limit>\w+)@(\d{1,2})(?:-(\d{1,2}))?(?:/(\d{1,2})(?:-(\d{1,2}))?)?", re.ASCII)


class SeasonalLimit(NamedTuple):
    """A limit and the cells of the table, months and hours from 0, in which it applies."""

    limit: str
    months: NDArray[np.intp]
    hours: NDArray[np.intp]


def is_seasonal(name: str) -> bool:
    """Whether this is the name of a seasonal limit, valid or not."""
    return SEPARATOR in name


def parse_name(name: str) -> SeasonalLimit:
    """Return a seasonal limit by its name.

    Raises
    ------
    ValueError
        If it is none, with what is wrong and the syntax.

    Examples
    --------
    >>> one = parse_name("fail_low@12-2/6")
    >>> one.limit, one.months.tolist(), one.hours.tolist()
    ('fail_low', [11, 0, 1], [6])

    """
    match = _PATTERN.fullmatch(name)
    if match is None or match["limit"] not in NAMES:
        raise ValueError(f"{name[:80]!r} is no seasonal limit: write {', '.join(NAMES)} as {SYNTAX}")
    first_month = int(match[2])
    last_month, first_hour, last_hour = (None if one is None else int(one) for one in match.groups()[2:])
    months = (first_month, first_month if last_month is None else last_month)
    hours = (0, HOURS - 1)
    if first_hour is not None:
        hours = (first_hour, first_hour if last_hour is None else last_hour)
    return SeasonalLimit(
        match["limit"], cyclic_range("months", months, 1, MONTHS), cyclic_range("hours", hours, 0, HOURS)
    )


def seasonal_table(limits: Mapping[str, float]) -> Floats:
    """Return the seasonal ones of some limits by name as a table of `SHAPE`; NaN where there is none.

    Raises
    ------
    ValueError
        On a name that is no seasonal limit although it has an ``@``.

    """
    table = np.full(SHAPE, np.nan)
    for name, value in limits.items():
        if is_seasonal(name):
            limit, months, hours = parse_name(name)
            strictest = np.fmax if limit.endswith("_low") else np.fmin
            cells = np.ix_(np.array([NAMES.index(limit)]), months, hours)
            table[cells] = strictest(table[cells], value)
    return table


def contradictions(table: Floats) -> list[str]:
    """Return where limits of a table contradict each other, at most one sentence for each pair of limits."""
    problems = []
    of = dict(zip(NAMES, table, strict=True))
    for low, high in (
        ("fail_low", "suspect_low"),
        ("suspect_low", "suspect_high"),
        ("suspect_high", "fail_high"),
        ("fail_low", "fail_high"),
    ):
        for month, hour in np.argwhere(of[low] > of[high])[:1].tolist():
            problems.append(
                f"in month {month + 1} at hour {hour}, {low} {of[low][month, hour]:g} is above "
                f"{high} {of[high][month, hour]:g}"
            )
    return problems
