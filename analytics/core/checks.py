"""QARTOD quality checks of one series: arrays in, flags of the same shape out.

Source: IOOS QARTOD manuals (tests 4, 6, 7, 8). Limits rhyme: ``suspect_*`` lies inside ``fail_*``, NaN is no
limit, zero is one. A missing value is flagged MISSING and stands between nobody: its neighbours are the
values before and after it. Slow twins: tests/support/naive.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.flags import Flag

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.uint8]
    Limit = float | Floats


def gross_range(
    values: ArrayLike,
    *,
    fail_low: Limit = np.nan,
    fail_high: Limit = np.nan,
    suspect_low: Limit = np.nan,
    suspect_high: Limit = np.nan,
) -> Flags:
    """Flag values outside of what can be (FAIL) or of what is usual (SUSPECT). QARTOD test 4.

    Parameters
    ----------
    values : (n,) float64, NaN means missing; infinities FAIL
    fail_low, fail_high, suspect_low, suspect_high : limits, themselves inside

    Returns
    -------
    (n,) uint8 of `Flag`

    Examples
    --------
    >>> gross_range([1, 7, 15, np.nan], fail_low=0, fail_high=14, suspect_low=4)
    array([3, 1, 4, 9], dtype=uint8)

    """
    x = np.asarray(values, np.float64)
    flags = np.full(x.shape, Flag.PASS, np.uint8)
    flags[(x < suspect_low) | (x > suspect_high)] = Flag.SUSPECT
    flags[(x < fail_low) | (x > fail_high) | np.isinf(x)] = Flag.FAIL
    flags[np.isnan(x)] = Flag.MISSING
    return flags


def rate_of_change(
    values: ArrayLike, times_s: ArrayLike, *, suspect_per_s: float = np.nan, fail_per_s: float = np.nan
) -> Flags:
    """Flag values that moved faster than the process can. QARTOD test 7.

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
    _check_order("suspect_per_s", suspect_per_s, "fail_per_s", fail_per_s)
    x, t = np.asarray(values, np.float64), np.asarray(times_s, np.float64)
    present = ~np.isnan(x)
    flags = np.full(x.shape, Flag.MISSING, np.uint8)
    flags[present] = rate_flags(
        np.diff(x[present]), np.diff(t[present]), suspect_per_s, fail_per_s, first=True
    )
    return flags


def rate_flags(
    step: Floats, dt_s: Floats, suspect_per_s: Limit, fail_per_s: Limit, *, first: bool = False
) -> Flags:
    """Flags of steps between neighbours; with ``first`` a NOT_EVALUATED one for the value before them."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rate = np.abs(step) / dt_s
    flags = _two_limits(rate, suspect_per_s, fail_per_s)
    return np.concatenate([[np.uint8(Flag.NOT_EVALUATED)], flags])[: len(step) + 1] if first else flags


def spike(values: ArrayLike, *, suspect: float = np.nan, fail: float = np.nan) -> Flags:
    """Flag values that stand off from the mean of their two neighbours. QARTOD test 6.

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
    _check_order("suspect", suspect, "fail", fail)
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
    """Flags of values between their neighbours."""
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.abs(value - (before / 2 + after / 2))
    return _two_limits(distance, suspect, fail)


def flat_line(
    values: ArrayLike,
    times_s: ArrayLike,
    *,
    tolerance: float,
    suspect_s: float = np.nan,
    fail_s: float = np.nan,
) -> Flags:
    """Flag values that have stayed within a tolerance for too long. QARTOD test 8.

    A run begins at a value and goes on while all of it lies within ``tolerance``; the value that leaves it
    begins the next run.

    Parameters
    ----------
    values : (n,) float64, NaN means missing
    times_s : (n,) float64, strictly increasing [s]
    tolerance : largest difference within a run
    suspect_s, fail_s : duration of a run [s]; suspect ≤ fail

    Returns
    -------
    (n,) uint8 of `Flag`

    Raises
    ------
    ValueError
        Naming both limits if suspect exceeds fail.

    Examples
    --------
    >>> flat_line([5, 5, 5, 5, 6], [0, 60, 120, 180, 240], tolerance=0, suspect_s=120, fail_s=180)
    array([1, 1, 3, 4, 1], dtype=uint8)

    """
    _check_order("suspect_s", suspect_s, "fail_s", fail_s)
    x, t = np.asarray(values, np.float64), np.asarray(times_s, np.float64)
    flags = np.full(x.shape, Flag.MISSING, np.uint8)
    run = Run(np.full(1, np.inf), np.full(1, -np.inf), np.full(1, np.nan))
    for i in np.flatnonzero(~np.isnan(x)):  # over one series; the judge goes over all series at once
        run = flat_run(run, x[i : i + 1], t[i : i + 1], tolerance)
        flags[i] = flat_flags(t[i] - run.since, suspect_s, fail_s)[0]
    return flags


class Run(NamedTuple):
    """Values within a tolerance: the lowest, the highest, and since when [s]."""

    low: Floats
    high: Floats
    since: Floats


def flat_run(run: Run, value: Floats, time_s: Floats, tolerance: Limit) -> Run:
    """The runs after one more value each."""
    low, high = np.minimum(run.low, value), np.maximum(run.high, value)
    with np.errstate(over="ignore", invalid="ignore"):
        goes_on = (high - low <= tolerance) & ~np.isnan(run.since)
    return Run(
        np.where(goes_on, low, value), np.where(goes_on, high, value), np.where(goes_on, run.since, time_s)
    )


def flat_flags(duration_s: Floats, suspect_s: Limit, fail_s: Limit) -> Flags:
    """Flags of runs by how long they last."""
    return _two_limits(duration_s, suspect_s, fail_s, reached=True)


def _two_limits(x: Floats, suspect: Limit, fail: Limit, *, reached: bool = False) -> Flags:
    beyond = np.greater_equal if reached else np.greater
    flags = np.full(x.shape, Flag.PASS, np.uint8)
    flags[beyond(x, suspect)] = Flag.SUSPECT
    flags[beyond(x, fail)] = Flag.FAIL
    return flags


def _check_order(low: str, lower: float, high: str, upper: float) -> None:
    if lower > upper:
        raise ValueError(f"{low} {lower:g} is above {high} {upper:g}")
