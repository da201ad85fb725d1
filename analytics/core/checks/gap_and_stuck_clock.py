"""Gap (QARTOD test 1) and stuck-clock checks."""

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
    """Flag values that came too long after the value before them. QARTOD test 1, looking back.

    Parameters
    ----------
    values : (n,) float64, NaN means missing: a row without a value ends no gap
    times_s : (n,) float64, strictly increasing [s]
    suspect_s, fail_s : longest times without a value [s]; suspect ≤ fail

    Returns
    -------
    (n,) uint8 of `Flag`; the first value is NOT_EVALUATED, where ioos_qc lends it the flag of the second

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
    """Flags of the times since the last value: of series at once, or up to now."""
    return flags_by_two_limits(age_s, suspect_s, fail_s)


def stuck_clock(
    measured_s: ArrayLike, received_s: ArrayLike, *, suspect_s: float = np.nan, fail_s: float = np.nan
) -> Flags:
    """Flag readings whose measured time stands still while they are received ever later.

    Readings received together have one measured time by right, and so has one that is delivered again; hence
    limits of several reporting intervals. A backlog moves on, if late, and passes.

    Parameters
    ----------
    measured_s : (n,) float64, NaN means missing [s]
    received_s : (n,) float64, in the order of reception [s]
    suspect_s, fail_s : times that a clock may stand still [s]; suspect ≤ fail

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
    since = np.flatnonzero(clock_advanced)[
        np.cumsum(clock_advanced) - 1
    ]  # where each one's run of equal times began
    standstill_s = received[present_positions] - received[present_positions[since]]
    flags[present_positions] = flags_by_two_limits(standstill_s, suspect_s, fail_s, reached=True)
    return flags
