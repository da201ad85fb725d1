"""Slow twins of `analytics.core.context`: one reading after another, obviously right."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime


def gap(times_s: list[float], *, fail_s: float) -> list[int]:
    """QARTOD test 1."""
    return [2 if i == 0 else 4 if times_s[i] - times_s[i - 1] > fail_s else 1 for i in range(len(times_s))]


def stuck_clock(times_s: list[float], received_s: list[float], *, suspect_s: float) -> list[int]:
    """Measured time stands still."""
    flags, newest, since = [], -math.inf, 0.0
    for time_s, came_s in zip(times_s, received_s, strict=True):
        if time_s > newest:
            newest, since = time_s, came_s
        flags.append(3 if came_s - since >= suspect_s else 1)
    return flags


def attenuated_signal(
    values: list[float], times_s: list[float], *, period_s: float, suspect: float, fail: float
) -> list[int]:
    """QARTOD test 9."""
    flags = []
    for value, time_s in zip(values, times_s, strict=True):
        window = [
            one
            for one, at in zip(values, times_s, strict=True)
            if time_s - period_s < at <= time_s and math.isfinite(one)
        ]
        deviation = statistics.pstdev(window) if window else math.nan
        found = 4 if deviation < fail else 3 if deviation < suspect else 1
        flags.append(found if math.isfinite(value) else 9)
    return flags


def climatology(
    values: list[float], times_s: list[float], low: list[list[float]], high: list[list[float]]
) -> list[int]:
    """QARTOD test 5, in UTC."""
    flags = []
    for value, time_s in zip(values, times_s, strict=True):
        moment = datetime.fromtimestamp(time_s, UTC)
        bottom, top = low[moment.month - 1][moment.hour], high[moment.month - 1][moment.hour]
        if math.isnan(value):
            flags.append(9)
        elif value < bottom or value > top:
            flags.append(3)
        else:
            flags.append(2 if math.isnan(bottom) and math.isnan(top) else 1)
    return flags


def neighbour(
    deviations: list[list[float]], neighbours: list[list[int]], *, suspect: float, least: int
) -> list[list[int]]:
    """QARTOD test 12."""
    rows = []
    for row in deviations:
        flags = []
        for own, of in zip(row, neighbours, strict=True):
            around = [row[one] for one in of if one >= 0 and not math.isnan(row[one])]
            if math.isnan(own):
                flags.append(9)
            elif len(around) < least:
                flags.append(2)
            else:
                flags.append(3 if abs(own - statistics.median(around)) > suspect else 1)
        rows.append(flags)
    return rows
