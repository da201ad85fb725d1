"""Flags values by other quantities of the site (QARTOD test 11) or by neighbouring sites (test 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analytics.core.checks.limits import aligned_arrays, check_limit_order, check_minimum, flags_by_two_limits
from analytics.core.checks.spike_and_rate_of_change import rate_of_change
from analytics.core.flags import Flag

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.uint8]
    Limit = float | Floats


def multi_variate(
    values: ArrayLike,
    times_s: ArrayLike,
    *,
    rate_per_s: ArrayLike,
    within_s: float = 0.0,
    least_n: int = 1,
) -> Flags:
    """Flag a quantity that changes alone where others should change with it. QARTOD test 11.

    A quantity that changes faster than its rate is SUSPECT unless ``least_n`` others of its site do so too,
    within ``within_s``: a real change of the water shows in several quantities. This test never sets FAIL.

    Parameters
    ----------
    values : (m, n) float64, m quantities of one site; NaN means missing
    times_s : (n,) float64, strictly increasing [s]
    rate_per_s : (m,) or one for all: rates above which others should change too [1/s]
    within_s : largest time difference of the change of another quantity [s]
    least_n : number of others that must change

    Returns ------- (m, n) uint8 of `Flag`; the first value of each quantity is NOT_EVALUATED, and so is one
    that changes where fewer than ``least_n`` others have a rate at all

    Raises
    ------
    ValueError
        If shapes do not match, or a parameter is below its minimum, naming both.

    Examples
    --------
    >>> multi_variate([[1, 9, 9, 1], [2, 2, 2, 8]], [0, 1, 2, 3], rate_per_s=3)
    array([[2, 3, 1, 1],
           [2, 1, 1, 1]], dtype=uint8)

    """
    check_minimum(1, least_n=least_n)
    check_minimum(0, within_s=within_s)
    x, t = aligned_arrays(np.atleast_2d(np.asarray(values, np.float64)), times_s)
    limits = np.broadcast_to(np.asarray(rate_per_s, np.float64), x.shape[:1])
    flags = np.array(
        [rate_of_change(one, t, suspect_per_s=limit) for one, limit in zip(x, limits.tolist(), strict=True)],
        np.uint8,
    ).reshape(x.shape)
    begin = np.searchsorted(t, t - within_s, side="left")
    end = np.searchsorted(t, t + within_s, side="right")
    fast_change_nearby = _any_in(flags == Flag.SUSPECT, begin, end)
    rate_known_nearby = _any_in((flags == Flag.SUSPECT) | (flags == Flag.PASS), begin, end)
    is_fast_change = flags == Flag.SUSPECT
    is_corroborated = fast_change_nearby.sum(axis=0) - fast_change_nearby >= least_n
    flags[is_fast_change & (rate_known_nearby.sum(axis=0) - rate_known_nearby < least_n)] = Flag.NOT_EVALUATED
    flags[is_fast_change & is_corroborated] = Flag.PASS
    return flags


def neighbour(
    values: ArrayLike,
    times_s: ArrayLike,
    others: ArrayLike,
    *,
    lag_s: ArrayLike = 0.0,
    max_age_s: float,
    suspect: float = np.nan,
    fail: float = np.nan,
    least_n: int = 2,
) -> Flags:
    """Flag values far from the lagged values of neighbouring sites. QARTOD test 12.

    The reference is the median of the neighbours' latest values up to ``t − lag_s``, so that of three
    neighbours one faulty sensor has no effect.

    Parameters
    ----------
    values : (n,) float64, NaN means missing
    times_s : (n,) float64, strictly increasing [s]
    others : (m, n) float64, the neighbours at the same times; NaN and infinities mean missing
    lag_s : (m,) or one for all: travel time of their water (or traffic); negative downstream [s]
    max_age_s : a neighbour's value that is older than this at ``t − lag_s`` is ignored [s]
    suspect, fail : distances; suspect ≤ fail
    least_n : with fewer neighbours a value is NOT_EVALUATED

    Returns
    -------
    (n,) uint8 of `Flag`

    Raises
    ------
    ValueError
        Naming both limits if suspect exceeds fail; if shapes do not match.

    Examples
    --------
    >>> neighbour([5, 5, 9], [0, 60, 120], [[5, 5, 5], [5, 6, 5]], lag_s=60, max_age_s=0, suspect=2)
    array([2, 1, 3], dtype=uint8)

    """
    check_limit_order(suspect=suspect, fail=fail)
    check_minimum(1, least_n=least_n)
    check_minimum(0, max_age_s=max_age_s)
    x, t = aligned_arrays(values, times_s)
    neighbour_values, _ = aligned_arrays(np.atleast_2d(np.asarray(others, np.float64)), t)
    lags = np.broadcast_to(np.asarray(lag_s, np.float64), neighbour_values.shape[:1])
    lagged_values = np.empty_like(neighbour_values)
    for j, lag in enumerate(lags):  # over the few neighbours of one site
        lagged_values[j] = _latest(neighbour_values[j], t, t - lag, max_age_s)
    count = np.isfinite(lagged_values).sum(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.abs(x - _median(lagged_values, count))
    flags = flags_by_two_limits(distance, suspect, fail)
    flags[count < least_n] = Flag.NOT_EVALUATED
    flags[np.isnan(x)] = Flag.MISSING
    return flags


def _any_in(occurred: NDArray[np.bool_], begin: NDArray[np.intp], end: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return whether anything occurred in each window ``begin ≤ i < end``, 0 or 1, (m, n)."""
    total = np.zeros((occurred.shape[0], occurred.shape[1] + 1), np.intp)
    np.cumsum(occurred, axis=1, out=total[:, 1:])
    return (total[:, end] > total[:, begin]).astype(np.intp)


def _latest(x: Floats, t: Floats, at: Floats, max_age_s: float) -> Floats:
    """Return the latest finite value up to each time; NaN where there is none of at most ``max_age_s``."""
    finite_positions = np.flatnonzero(np.isfinite(x))
    latest_index = np.searchsorted(t[finite_positions], at, side="right") - 1
    latest = np.full(at.shape, np.nan)
    has_value = np.flatnonzero(latest_index >= 0)
    has_value = has_value[at[has_value] - t[finite_positions[latest_index[has_value]]] <= max_age_s]
    latest[has_value] = x[finite_positions[latest_index[has_value]]]
    return latest


def _median(x: Floats, count: NDArray[np.intp]) -> Floats:
    """Return the medians of columns with ``count`` values each, ignoring NaN; NaN where there is none."""
    if not len(x):
        return np.full(count.shape, np.nan)
    ordered = np.sort(x, axis=0)  # NaN last
    column = np.arange(x.shape[1])
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(x) - 1)
    median: Floats = ordered[low, column] / 2 + ordered[high, column] / 2
    return median
