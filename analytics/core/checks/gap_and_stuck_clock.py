"""Flags values after a time gap (QARTOD test 1), and readings from a device whose clock stands still."""

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


def gap(values: ArrayLike, times_s: ArrayLike, *, suspect_s: float = np.nan, fail_s: float = np.nan) -> Flags:
    """Flag values too long after the value before them. QARTOD test 1, applied to the past.

    Parameters
    ----------
    values : (n,) float64, NaN means missing and does not end a gap
    times_s : (n,) float64, strictly increasing [s]
    suspect_s, fail_s : longest permitted times without a value [s]; suspect ≤ fail

    Returns
    -------
    (n,) uint8 of `Flag`; the first value is NOT_EVALUATED (ioos_qc copies the flag of the second)

    Raises
    ------
    ValueError
        Naming both limits if suspect exceeds fail.

    Examples
    --------
    >>> gap([1, 1, np.nan, 1], [0, 60, 120, 240], suspect_s=60, fail_s=150)
    array([2, 1, 9, 4], dtype=uint8)

    """
    check_limit_order(suspect_s=suspect_s, fail_s=fail_s)
    x, t = aligned_arrays(values, times_s)
    flags = np.full(x.shape, Flag.MISSING, np.uint8)
    present_positions = np.flatnonzero(~np.isnan(x))
    flags[present_positions[1:]] = gap_flags(np.diff(t[present_positions]), suspect_s, fail_s)
    flags[present_positions[:1]] = Flag.NOT_EVALUATED
    return flags


def gap_flags(age_s: Floats, suspect_s: Limit, fail_s: Limit) -> Flags:
    """Return flags by the time since the last value of each series, (k,) uint8."""
    return flags_by_two_limits(age_s, suspect_s, fail_s)


def stuck_clock(
    measured_s: ArrayLike, received_s: ArrayLike, *, suspect_s: float = np.nan, fail_s: float = np.nan
) -> Flags:
    """Flag readings whose measured time stays constant while their received time advances.

    Readings received together may have the same measured time, and so has one that is delivered again; hence
    limits should be several reporting intervals. The measured time of a backlog advances, so it passes.

    Parameters
    ----------
    measured_s : (n,) float64, NaN means missing [s]
    received_s : (n,) float64, in the order of reception [s]
    suspect_s, fail_s : times for which a clock may stand still [s]; suspect ≤ fail

    Returns
    -------
    (n,) uint8 of `Flag`

    Raises
    ------
    ValueError
        Naming both limits if suspect exceeds fail.

    Examples
    --------
    >>> stuck_clock([0, 60, 60, 60], [1, 61, 121, 181], suspect_s=60, fail_s=120)
    array([1, 1, 3, 4], dtype=uint8)

    """
    check_limit_order(suspect_s=suspect_s, fail_s=fail_s)
    measured, received = aligned_arrays(measured_s, received_s)
    flags = np.full(measured.shape, Flag.MISSING, np.uint8)
    present_positions = np.flatnonzero(~np.isnan(measured))
    clock_advanced = np.ones(len(present_positions), np.bool_)
    clock_advanced[1:] = measured[present_positions[1:]] != measured[present_positions[:-1]]
    # Position at which the run of equal times of each reading began.
    since = np.flatnonzero(clock_advanced)[np.cumsum(clock_advanced) - 1]
    standstill_s = received[present_positions] - received[present_positions[since]]
    flags[present_positions] = flags_by_two_limits(standstill_s, suspect_s, fail_s, reached=True)
    return flags
