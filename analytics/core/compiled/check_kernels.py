"""Compiled checks of one reading that need no later one; spike and gap are in `kernel`.

They equal those of `analytics.core.checks`: gross range, climatology, rate of change, flat line, attenuated
signal.

The parameters ``r, p, s, t, v, dt`` are explained in `analytics.core.compiled.kernel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.core.compiled import constants as k
from analytics.core.compiled.constants import inlined_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@inlined_kernel
def flag_by_two_limits(x: float, suspect: float, fail: float) -> int:
    """Return the flag of a distance by two limits."""
    if x > fail:
        return k.FAIL
    return k.SUSPECT if x > suspect else k.PASS


@inlined_kernel
def _attenuated_signal_flag(r: NDArray[Any], p: NDArray[Any], s: int, t: float, v: float, dt: float) -> int:
    """Return the flag of too small a standard deviation (QARTOD test 9), and update its means."""
    interval = dt if np.isnan(r[s, k.INTERVAL]) else r[s, k.INTERVAL]
    memory = (
        p[s, k.ATTENUATED] if np.isinf(interval) else max(p[s, k.ATTENUATED], k.MEMORY_READINGS * interval)
    )
    if np.isnan(r[s, k.ATTENUATED_MEAN]):
        gain, off = 1.0, 0.0
        r[s, k.ATTENUATED_MEAN] = v
    else:
        gain = dt / (dt + memory)
        off = v - r[s, k.ATTENUATED_MEAN]
        r[s, k.ATTENUATED_MEAN] += gain * off
    r[s, k.ATTENUATED_VAR] = (1 - gain) * (r[s, k.ATTENUATED_VAR] + gain * off * off)
    if t - r[s, k.FIRST_TIME] >= memory:
        if r[s, k.ATTENUATED_VAR] < p[s, k.ATTENUATED_FAIL] * p[s, k.ATTENUATED_FAIL]:
            return k.FAIL
        if r[s, k.ATTENUATED_VAR] < p[s, k.ATTENUATED_SUSPECT] * p[s, k.ATTENUATED_SUSPECT]:
            return k.SUSPECT
    return k.PASS


@inlined_kernel
def _month_of(local: float) -> int:
    """Return the month, from 0, of a local time [s since 1970]; civil calendar by eras of 400 years."""
    # Years begin in March here, so that the leap day is the last one of a year.
    day = int(np.floor(local * k.PER_DAY)) + k.DAYS_TO_1970
    day_of_era = day - day // k.DAYS_IN_ERA * k.DAYS_IN_ERA
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    return month_from_march + 2 if month_from_march < 10 else month_from_march - 10


@inlined_kernel
def _climatology_flag(p: NDArray[Any], seasonal: NDArray[Any], table: int, s: int, t: float, v: float) -> int:
    """Return the flag by the limits of the month and the hour of the local day (QARTOD test 5)."""
    local = np.floor(t + p[s, k.DAY_OFFSET])
    hour = int((local - k.DAY_S * np.floor(local * k.PER_DAY)) * k.PER_HOUR)
    month = _month_of(local)
    if v < seasonal[table, k.SEASONAL_FAIL_LOW, month, hour] or (
        v > seasonal[table, k.SEASONAL_FAIL_HIGH, month, hour]
    ):
        return k.FAIL
    if v < seasonal[table, k.SEASONAL_SUSPECT_LOW, month, hour] or (
        v > seasonal[table, k.SEASONAL_SUSPECT_HIGH, month, hour]
    ):
        return k.SUSPECT
    return k.PASS


@inlined_kernel
def run_checks(  # noqa: C901 - check by check
    r: NDArray[Any],
    p: NDArray[Any],
    seasonal: NDArray[Any],
    seasonal_of: NDArray[np.intp],
    s: int,
    t: float,
    v: float,
    dt: float,
    usable: bool,
) -> tuple[int, int]:
    """Return flag and rules of the checks of a present value, and update the run of constant values."""
    quality, rules = k.PASS, 0
    if v < p[s, k.SUSPECT_LOW] or v > p[s, k.SUSPECT_HIGH]:
        quality, rules = k.SUSPECT, k.GROSS_RULE
    if v < p[s, k.FAIL_LOW] or v > p[s, k.FAIL_HIGH] or (not usable and np.isinf(v)):
        quality, rules = k.FAIL, k.GROSS_RULE
    if seasonal_of[s] >= 0:
        by_season = _climatology_flag(p, seasonal, seasonal_of[s], s, t, v)
        if by_season >= k.SUSPECT:
            quality, rules = max(quality, by_season), k.GROSS_RULE
    if p[s, k.RATE_SUSPECT] >= 0 or p[s, k.RATE_FAIL] >= 0:
        rate = flag_by_two_limits(abs(v - r[s, k.VALUE_1]) / dt, p[s, k.RATE_SUSPECT], p[s, k.RATE_FAIL])
        if rate >= k.SUSPECT:
            quality, rules = max(quality, rate), rules | k.RATE_RULE
    low = min(r[s, k.FLAT_LOW], v)
    high = max(r[s, k.FLAT_HIGH], v)
    if high - low <= p[s, k.FLAT_TOLERANCE] and not np.isnan(r[s, k.FLAT_SINCE]):
        r[s, k.FLAT_LOW], r[s, k.FLAT_HIGH] = low, high
    else:
        r[s, k.FLAT_LOW], r[s, k.FLAT_HIGH], r[s, k.FLAT_SINCE] = v, v, t
    if (p[s, k.ATTENUATED_SUSPECT] >= 0 or p[s, k.ATTENUATED_FAIL] >= 0) and usable:
        attenuated = _attenuated_signal_flag(r, p, s, t, v, dt)
        if attenuated >= k.SUSPECT:
            quality, rules = max(quality, attenuated), rules | k.ATTENUATED_RULE
    flat_for_s = t - r[s, k.FLAT_SINCE]
    if flat_for_s >= p[s, k.FLAT_SUSPECT] or flat_for_s >= p[s, k.FLAT_FAIL]:
        quality = max(quality, k.FAIL if flat_for_s >= p[s, k.FLAT_FAIL] else k.SUSPECT)
        rules |= k.FLAT_RULE
    return quality, rules
