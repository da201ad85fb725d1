"""Flags single outliers (QARTOD test 6, spike) and changes that are too fast (test 7, rate of change)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analytics.core.checks.limits import aligned_arrays, check_limit_order, flags_by_two_limits
from analytics.core.flags import Flag

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.uint8]
    Limit = float | Floats


def rate_of_change(
    values: ArrayLike, times_s: ArrayLike, *, suspect_per_s: float = np.nan, fail_per_s: float = np.nan
) -> Flags:
    """Flag values that changed faster than the process can. QARTOD test 7.

    Parameters
    ----------
    values : (n,) float64, NaN means missing
    times_s : (n,) float64, strictly increasing [s]
    suspect_per_s, fail_per_s : limits [1/s]; suspect ≤ fail

    Returns
    -------
    (n,) uint8 of `Flag`; the first value is NOT_EVALUATED

    Raises
    ------
    ValueError
        Naming both limits if suspect exceeds fail.

    Examples
    --------
    >>> rate_of_change([0, 1, 9], [0, 1, 2], suspect_per_s=2, fail_per_s=5)
    array([2, 1, 4], dtype=uint8)

    """
    check_limit_order(suspect_per_s=suspect_per_s, fail_per_s=fail_per_s)
    x, t = aligned_arrays(values, times_s)
    present = ~np.isnan(x)
    flags = np.full(x.shape, Flag.MISSING, np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):
        step = np.diff(x[present])
    flags[present] = rate_of_change_flags(step, np.diff(t[present]), suspect_per_s, fail_per_s, first=True)
    return flags


def rate_of_change_flags(
    step: Floats, dt_s: Floats, suspect_per_s: Limit, fail_per_s: Limit, *, first: bool = False
) -> Flags:
    """Return flags of steps between neighbours; with ``first`` preceded by a NOT_EVALUATED."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rate = np.abs(step) / dt_s
    flags = flags_by_two_limits(rate, suspect_per_s, fail_per_s)
    return np.concatenate([[np.uint8(Flag.NOT_EVALUATED)], flags])[: len(step) + 1] if first else flags


def spike(values: ArrayLike, *, suspect: float = np.nan, fail: float = np.nan) -> Flags:
    """Flag values far from the mean of their two neighbours. QARTOD test 6.

    Parameters
    ----------
    values : (n,) float64, NaN means missing
    suspect, fail : distances; suspect ≤ fail

    Returns
    -------
    (n,) uint8 of `Flag`; the first and the last value are NOT_EVALUATED

    Raises
    ------
    ValueError
        Naming both limits if suspect exceeds fail.

    Examples
    --------
    >>> spike([1, 1, 9, 1, 1], suspect=3, fail=6)
    array([2, 3, 4, 3, 2], dtype=uint8)

    """
    check_limit_order(suspect=suspect, fail=fail)
    x = np.asarray(values, np.float64)
    present = ~np.isnan(x)
    flags = np.full(x.shape, Flag.MISSING, np.uint8)
    inner = np.full(int(present.sum()), Flag.NOT_EVALUATED, np.uint8)
    y = x[present]
    if len(y) > 2:
        inner[1:-1] = spike_flags(y[:-2], y[1:-1], y[2:], suspect, fail)
    flags[present] = inner
    return flags


def spike_flags(before: Floats, value: Floats, after: Floats, suspect: Limit, fail: Limit) -> Flags:
    """Return flags of values by their distance from the mean of both neighbours, (k,) uint8."""
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.abs(value - (before / 2 + after / 2))
    return flags_by_two_limits(distance, suspect, fail)
