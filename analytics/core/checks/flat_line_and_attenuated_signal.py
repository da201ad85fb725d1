"""Flags constant values (QARTOD test 8, flat line) and too little variation (test 9, attenuated signal)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from analytics.core.checks import windows
from analytics.core.checks.limits import aligned_arrays, check_limit_order, check_minimum, flags_by_two_limits
from analytics.core.flags import Flag

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.uint8]
    Limit = float | Floats

_SPREAD_MEASURES = {"deviation": windows.window_deviations, "range": windows.window_ranges}


def flat_line(
    values: ArrayLike,
    times_s: ArrayLike,
    *,
    tolerance: float,
    suspect_s: float = np.nan,
    fail_s: float = np.nan,
) -> Flags:
    """Flag values that have stayed within a tolerance for too long. QARTOD test 8.

    A run begins at a value and continues while its range is at most ``tolerance``; the first value outside
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
    check_limit_order(suspect_s=suspect_s, fail_s=fail_s)
    x, t = aligned_arrays(values, times_s)
    flags = np.full(x.shape, Flag.MISSING, np.uint8)
    run = FlatRun(np.full(1, np.inf), np.full(1, -np.inf), np.full(1, np.nan))
    for i in np.flatnonzero(~np.isnan(x)):  # over one series; the judge goes over all series at once
        run = extend_flat_run(run, x[i : i + 1], t[i : i + 1], tolerance)
        flags[i] = flat_line_flags(t[i] - run.since, suspect_s, fail_s)[0]
    return flags


class FlatRun(NamedTuple):
    """Current runs of values within a tolerance, (k,) each: lowest and highest value, and begin [s]."""

    low: Floats
    high: Floats
    since: Floats


def extend_flat_run(run: FlatRun, value: Floats, time_s: Floats, tolerance: Limit) -> FlatRun:
    """Return the runs after one more value each, (k,)."""
    low, high = np.minimum(run.low, value), np.maximum(run.high, value)
    with np.errstate(over="ignore", invalid="ignore"):
        is_continued = (high - low <= tolerance) & ~np.isnan(run.since)
    return FlatRun(
        np.where(is_continued, low, value),
        np.where(is_continued, high, value),
        np.where(is_continued, run.since, time_s),
    )


def flat_line_flags(duration_s: Floats, suspect_s: Limit, fail_s: Limit) -> Flags:
    """Return flags of runs by their duration, (k,) uint8."""
    return flags_by_two_limits(duration_s, suspect_s, fail_s, reached=True)


def flat_window(
    values: ArrayLike,
    times_s: ArrayLike,
    *,
    tolerance: float,
    suspect_s: float = np.nan,
    fail_s: float = np.nan,
) -> Flags:
    """Flag values where the range of the preceding window is within a tolerance. QARTOD test 8.

    The window of each value reaches back to the last value that is at least ``suspect_s`` (``fail_s``) older.
    `flat_line` starts a new run at the first value outside of a run, although values before it may lie within
    the tolerance of it too; so all that it flags is flagged here, and some more, earlier. At a regular
    interval without missing values the flags equal those of ioos_qc, whose windows have a fixed number of
    rows; there a window may hold a single value, and a tolerance of 0 flags nothing, as a difference must be
    below it.

    Parameters
    ----------
    values : (n,) float64, NaN means missing
    times_s : (n,) float64, strictly increasing [s]
    tolerance : largest difference within a window
    suspect_s, fail_s : length of a window [s]; suspect ≤ fail

    Returns
    -------
    (n,) uint8 of `Flag`

    Raises
    ------
    ValueError
        Naming both limits if suspect exceeds fail.

    Examples
    --------
    >>> flat_window([5, 5, 5, 5, 6], [0, 60, 120, 180, 240], tolerance=0, suspect_s=120, fail_s=180)
    array([1, 1, 3, 4, 1], dtype=uint8)

    """
    check_limit_order(suspect_s=suspect_s, fail_s=fail_s)
    x, t = aligned_arrays(values, times_s)
    present = ~np.isnan(x)
    flags = np.full(x.shape, Flag.MISSING, np.uint8)
    flags[present] = Flag.PASS
    present_positions = np.flatnonzero(present)
    for length_s, flag in ((suspect_s, Flag.SUSPECT), (fail_s, Flag.FAIL)):
        if np.isnan(length_s):
            continue
        begin = np.searchsorted(t[present_positions], t[present_positions] - length_s, side="right") - 1
        window_range = windows.window_ranges(
            x[present_positions], np.maximum(begin, 0), np.arange(1, len(present_positions) + 1)
        )
        flags[present_positions[(begin >= 0) & (window_range <= tolerance)]] = flag
    return flags


def attenuated_signal(
    values: ArrayLike,
    times_s: ArrayLike,
    *,
    period_s: float,
    suspect: float = np.nan,
    fail: float = np.nan,
    least_n: int = 2,
    by: Literal["deviation", "range"] = "deviation",
) -> Flags:
    """Flag values where the series varied less than a working sensor does. QARTOD test 9.

    The variation is the (population) standard deviation or the range of the values of the last ``period_s``,
    without infinite ones.

    Parameters
    ----------
    values : (n,) float64, NaN means missing
    times_s : (n,) float64, strictly increasing [s]
    period_s : a window holds the values that are less than this older than its last one [s]
    suspect, fail : deviations or ranges below these are flagged; fail ≤ suspect
    least_n : a window with fewer values is not judged; the variation of one value is always 0
    by : measure of variation

    Returns
    -------
    (n,) uint8 of `Flag`; NOT_EVALUATED where a window has too few values, and infinite values

    Raises
    ------
    ValueError
        Naming both limits if fail exceeds suspect; on an invalid ``period_s``, ``least_n`` or ``by``.

    Examples
    --------
    >>> attenuated_signal([1, 9, 5, 5, 5], [0, 60, 120, 180, 240], period_s=180, fail=0.1)
    array([2, 1, 1, 1, 4], dtype=uint8)

    """
    check_limit_order(fail=fail, suspect=suspect)
    check_minimum(2, least_n=least_n)
    if not period_s > 0:
        raise ValueError(f"period_s {period_s:g} must be above 0")
    if by not in _SPREAD_MEASURES:
        raise ValueError(f"by {by!r} is none of {', '.join(_SPREAD_MEASURES)}")
    x, t = aligned_arrays(values, times_s)
    finite_positions = np.flatnonzero(np.isfinite(x))
    begin = np.searchsorted(t[finite_positions], t[finite_positions] - period_s, side="right")
    spread_of_window = _SPREAD_MEASURES[by](
        x[finite_positions], begin, np.arange(1, len(finite_positions) + 1)
    )
    window_flags = np.full(len(finite_positions), Flag.PASS, np.uint8)
    window_flags[spread_of_window < suspect] = Flag.SUSPECT
    window_flags[spread_of_window < fail] = Flag.FAIL
    window_flags[np.arange(1, len(finite_positions) + 1) - begin < least_n] = Flag.NOT_EVALUATED
    flags = np.full(x.shape, Flag.NOT_EVALUATED, np.uint8)
    flags[np.isnan(x)] = Flag.MISSING
    flags[finite_positions] = window_flags
    return flags
