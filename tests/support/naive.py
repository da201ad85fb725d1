"""Slow twins of the quality checks: one reading after another, obviously right."""

from __future__ import annotations

import math


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
            else _two(abs(value - before[0]) / (time_s - before[1]), suspect_per_s, fail_per_s)
        )
        before = (value, time_s)
    return flags


def spike(values: list[float], *, suspect: float = math.nan, fail: float = math.nan) -> list[int]:
    """QARTOD test 6."""
    there = [index for index, value in enumerate(values) if not math.isnan(value)]
    flags = [9] * len(values)
    for place, index in enumerate(there):
        if place in (0, len(there) - 1):
            flags[index] = 2
        else:
            mean = values[there[place - 1]] / 2 + values[there[place + 1]] / 2
            flags[index] = _two(abs(values[index] - mean), suspect, fail)
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
        lasts_s = time_s - since_s
        flags.append(4 if lasts_s >= fail_s else 3 if lasts_s >= suspect_s else 1)
    return flags


def _two(value: float, suspect: float, fail: float) -> int:
    return 4 if value > fail else 3 if value > suspect else 1
