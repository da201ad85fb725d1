"""Slow reference implementations of the quality checks, one reading at a time."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime

Season = tuple[tuple[int, int], tuple[int, int], float, float, float, float]


def gross_range(
    values: list[float],
    *,
    fail_low: float = math.nan,
    fail_high: float = math.nan,
    suspect_low: float = math.nan,
    suspect_high: float = math.nan,
) -> list[int]:
    """QARTOD test 4."""
    flags = []
    for value in values:
        if math.isnan(value):
            flags.append(9)
        elif math.isinf(value) or value < fail_low or value > fail_high:
            flags.append(4)
        elif value < suspect_low or value > suspect_high:
            flags.append(3)
        else:
            flags.append(1)
    return flags


def rate_of_change(
    values: list[float],
    times_s: list[float],
    *,
    suspect_per_s: float = math.nan,
    fail_per_s: float = math.nan,
) -> list[int]:
    """QARTOD test 7."""
    flags = []
    before: tuple[float, float] | None = None
    for value, time_s in zip(values, times_s, strict=True):
        if math.isnan(value):
            flags.append(9)
            continue
        flags.append(
            2
            if before is None
            else _two_limit_flag(abs(value - before[0]) / (time_s - before[1]), suspect_per_s, fail_per_s)
        )
        before = (value, time_s)
    return flags


def spike(values: list[float], *, suspect: float = math.nan, fail: float = math.nan) -> list[int]:
    """QARTOD test 6."""
    present = [index for index, value in enumerate(values) if not math.isnan(value)]
    flags = [9] * len(values)
    for position, index in enumerate(present):
        if position in (0, len(present) - 1):
            flags[index] = 2
        else:
            mean = values[present[position - 1]] / 2 + values[present[position + 1]] / 2
            flags[index] = _two_limit_flag(abs(values[index] - mean), suspect, fail)
    return flags


def flat_line(
    values: list[float],
    times_s: list[float],
    *,
    tolerance: float,
    suspect_s: float = math.nan,
    fail_s: float = math.nan,
) -> list[int]:
    """QARTOD test 8, over runs."""
    flags = []
    run: list[float] = []
    since_s = math.nan
    for value, time_s in zip(values, times_s, strict=True):
        if math.isnan(value):
            flags.append(9)
            continue
        if run and max(*run, value) - min(*run, value) <= tolerance:
            run.append(value)
        else:
            run, since_s = [value], time_s
        run_s = time_s - since_s
        flags.append(4 if run_s >= fail_s else 3 if run_s >= suspect_s else 1)
    return flags


def _two_limit_flag(value: float, suspect: float, fail: float) -> int:
    return 4 if value > fail else 3 if value > suspect else 1


def flat_window(
    values: list[float],
    times_s: list[float],
    *,
    tolerance: float,
    suspect_s: float = math.nan,
    fail_s: float = math.nan,
) -> list[int]:
    """QARTOD test 8, over windows."""
    flags = []
    for i, value in enumerate(values):
        flag = 9 if math.isnan(value) else 1
        for length_s, worse in ((suspect_s, 3), (fail_s, 4)):
            present = [j for j in range(i + 1) if not math.isnan(values[j])]
            old = [j for j in present if times_s[j] <= times_s[i] - length_s]
            if flag != 9 and old:
                window = [values[j] for j in present if j >= old[-1]]
                flag = worse if max(window) - min(window) <= tolerance else flag
        flags.append(flag)
    return flags


def attenuated_signal(
    values: list[float],
    times_s: list[float],
    *,
    period_s: float,
    suspect: float,
    fail: float,
    least_n: int = 2,
    by: str = "deviation",
) -> list[int]:
    """QARTOD test 9."""
    flags = []
    for i, value in enumerate(values):
        window = [
            values[j] for j in range(i + 1) if times_s[j] > times_s[i] - period_s and math.isfinite(values[j])
        ]
        if math.isnan(value):
            flags.append(9)
        elif math.isinf(value) or len(window) < least_n:
            flags.append(2)
        else:
            moves = statistics.pstdev(window) if by == "deviation" else max(window) - min(window)
            flags.append(4 if moves < fail else 3 if moves < suspect else 1)
    return flags


def climatology(
    values: list[float],
    times_s: list[float],
    seasons: list[Season],
    *,
    offset_s: float = 0.0,
) -> list[int]:
    """QARTOD test 5: the last season that contains the month and the hour applies."""
    flags = []
    for value, time_s in zip(values, times_s, strict=True):
        local = datetime.fromtimestamp(time_s + offset_s, UTC)
        flag = 9 if math.isnan(value) else 2
        for (first, last), (begin, end), suspect_low, suspect_high, fail_low, fail_high in seasons:
            limits = (fail_low, fail_high, suspect_low, suspect_high)
            in_season = _in_cyclic_range(local.month, first, last) and _in_cyclic_range(
                local.hour, begin, end
            )
            if in_season and flag != 9:
                names = ("fail_low", "fail_high", "suspect_low", "suspect_high")
                found = gross_range([value], **dict(zip(names, limits, strict=True)))[0]
                flag = 2 if all(math.isnan(limit) for limit in limits) else found
        flags.append(flag)
    return flags


def gap(
    values: list[float], times_s: list[float], *, suspect_s: float = math.nan, fail_s: float = math.nan
) -> list[int]:
    """QARTOD test 1, from the previous reading."""
    flags, before_s = [], math.nan
    for value, time_s in zip(values, times_s, strict=True):
        if math.isnan(value):
            flags.append(9)
            continue
        flags.append(2 if math.isnan(before_s) else _two_limit_flag(time_s - before_s, suspect_s, fail_s))
        before_s = time_s
    return flags


def stuck_clock(
    measured_s: list[float], received_s: list[float], *, suspect_s: float = math.nan, fail_s: float = math.nan
) -> list[int]:
    """Flag times of measurement that do not advance."""
    flags, still_s, since_s = [], math.nan, math.nan
    for measured, received in zip(measured_s, received_s, strict=True):
        if math.isnan(measured):
            flags.append(9)
            continue
        if measured != still_s:
            still_s, since_s = measured, received
        stood_s = received - since_s
        flags.append(4 if stood_s >= fail_s else 3 if stood_s >= suspect_s else 1)
    return flags


def multi_variate(
    values: list[list[float]],
    times_s: list[float],
    *,
    rate_per_s: list[float],
    within_s: float = 0.0,
    least_n: int = 1,
) -> list[list[int]]:
    """QARTOD test 11."""
    own = [rate_of_change(x, times_s, suspect_per_s=rate) for x, rate in zip(values, rate_per_s, strict=True)]
    flags = [list(row) for row in own]
    for j, row in enumerate(own):
        for i, flag in enumerate(row):
            if flag != 3:
                continue
            indices_nearby = [
                k for k in range(len(row)) if times_s[i] - within_s <= times_s[k] <= times_s[i] + within_s
            ]
            flags_nearby = [{other[k] for k in indices_nearby} for m, other in enumerate(own) if m != j]
            if sum(3 in one for one in flags_nearby) >= least_n:
                flags[j][i] = 1
            elif sum(bool(one & {1, 3}) for one in flags_nearby) < least_n:
                flags[j][i] = 2
    return flags


def neighbour(
    values: list[float],
    times_s: list[float],
    others: list[list[float]],
    *,
    lag_s: list[float],
    max_age_s: float,
    suspect: float = math.nan,
    fail: float = math.nan,
    least_n: int = 2,
) -> list[int]:
    """QARTOD test 12."""
    flags = []
    for value, time_s in zip(values, times_s, strict=True):
        neighbour_values = []
        for other, lag in zip(others, lag_s, strict=True):
            at = time_s - lag
            present = [j for j, t in enumerate(times_s) if t <= at and math.isfinite(other[j])]
            neighbour_values += (
                [other[present[-1]]] if present and at - times_s[present[-1]] <= max_age_s else []
            )
        if math.isnan(value):
            flags.append(9)
        else:
            too_few = len(neighbour_values) < least_n
            flags.append(
                2
                if too_few
                else _two_limit_flag(abs(value - statistics.median(neighbour_values)), suspect, fail)
            )
    return flags


def _in_cyclic_range(x: int, first: int, last: int) -> bool:
    return first <= x <= last if first <= last else x >= first or x <= last
