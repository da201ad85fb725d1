"""Compiled checks of one reading that need no later one; spike and gap are in `kernel`.

They equal those of `analytics.core.checks`: gross range, rate of change, flat line, attenuated signal.

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
    if np.isnan(r[s, k.ATTENUATED_MEAN]):
        gain, off = 1.0, 0.0
        r[s, k.ATTENUATED_MEAN] = v
    else:
        gain = dt / (dt + p[s, k.ATTENUATED])
        off = v - r[s, k.ATTENUATED_MEAN]
        r[s, k.ATTENUATED_MEAN] += gain * off
    r[s, k.ATTENUATED_VAR] = (1 - gain) * (r[s, k.ATTENUATED_VAR] + gain * off * off)
    if t - r[s, k.FIRST_TIME] >= p[s, k.ATTENUATED]:
        if r[s, k.ATTENUATED_VAR] < p[s, k.ATTENUATED_FAIL] * p[s, k.ATTENUATED_FAIL]:
            return k.FAIL
        if r[s, k.ATTENUATED_VAR] < p[s, k.ATTENUATED_SUSPECT] * p[s, k.ATTENUATED_SUSPECT]:
            return k.SUSPECT
    return k.PASS


@inlined_kernel
def run_checks(r: NDArray[Any], p: NDArray[Any], s: int, t: float, v: float, dt: float) -> tuple[int, int]:
    """Return flag and rules of the checks of a present value, and update the run of constant values."""
    quality, rules = k.PASS, 0
    if v < p[s, k.SUSPECT_LOW] or v > p[s, k.SUSPECT_HIGH]:
        quality, rules = k.SUSPECT, k.GROSS_RULE
    if v < p[s, k.FAIL_LOW] or v > p[s, k.FAIL_HIGH] or np.isinf(v):
        quality, rules = k.FAIL, k.GROSS_RULE
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
    if (p[s, k.ATTENUATED_SUSPECT] >= 0 or p[s, k.ATTENUATED_FAIL] >= 0) and abs(v) <= k.LARGEST_USABLE_VALUE:
        attenuated = _attenuated_signal_flag(r, p, s, t, v, dt)
        if attenuated >= k.SUSPECT:
            quality, rules = max(quality, attenuated), rules | k.ATTENUATED_RULE
    flat_for_s = t - r[s, k.FLAT_SINCE]
    if flat_for_s >= p[s, k.FLAT_SUSPECT] or flat_for_s >= p[s, k.FLAT_FAIL]:
        quality = max(quality, k.FAIL if flat_for_s >= p[s, k.FLAT_FAIL] else k.SUSPECT)
        rules |= k.FLAT_RULE
    return quality, rules
