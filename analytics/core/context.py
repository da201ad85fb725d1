"""QARTOD checks that look beyond a value and its neighbours: arrays in, flags of the same shape out.

Source: IOOS QARTOD manuals (tests 1, 5, 9, 11, 12). Limits rhyme as in `analytics.core.checks`: NaN is no
limit, zero is one, a missing value is flagged MISSING. Slow twins: tests/support/naive_context.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analytics.core.flags import Flag

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.uint8]

HOUR_S, DAY_S = 3_600.0, 86_400.0
MONTHS = 12
MAD_TO_SIGMA = 1.4826


def gap(times_s: ArrayLike, *, fail_s: float) -> Flags:
    """Flag values that come after too long a silence. QARTOD test 1.

    Parameters
    ----------
    times_s : (n,) float64, increasing [s]
    fail_s : longest time between two values [s]

    Returns
    -------
    (n,) uint8 of `Flag`; the first is NOT_EVALUATED

    Examples
    --------
    >>> gap([0, 60, 900], fail_s=300)
    array([2, 1, 4], dtype=uint8)

    """
    t = np.asarray(times_s, np.float64)
    flags = np.where(np.diff(t, prepend=np.nan) > fail_s, Flag.FAIL, Flag.PASS).astype(np.uint8)
    flags[:1] = Flag.NOT_EVALUATED
    return flags


def stuck_clock(times_s: ArrayLike, received_s: ArrayLike, *, suspect_s: float) -> Flags:
    """Flag values whose measured time stands still while they go on arriving.

    Parameters
    ----------
    times_s, received_s : (n,) float64, when measured and when received, in the order of receipt [s]
    suspect_s : time of arrivals without a later measured time [s]

    Returns
    -------
    (n,) uint8 of `Flag`

    Examples
    --------
    >>> stuck_clock([0, 60, 60, 60], [1, 61, 121, 400], suspect_s=120)
    array([1, 1, 1, 3], dtype=uint8)

    """
    t, received = np.asarray(times_s, np.float64), np.asarray(received_s, np.float64)
    moved = np.diff(np.maximum.accumulate(t), prepend=-np.inf) > 0
    since = received[np.maximum.accumulate(np.where(moved, np.arange(len(t)), 0))] if len(t) else received
    return np.where(received - since >= suspect_s, Flag.SUSPECT, Flag.PASS).astype(np.uint8)


def attenuated_signal(
    values: ArrayLike,
    times_s: ArrayLike,
    *,
    period_s: float,
    suspect: float = np.nan,
    fail: float = np.nan,
) -> Flags:
    """Flag values around which a signal moves less than a living sensor does. QARTOD test 9.

    The standard deviation (over n, not n − 1) of the values in ``(t − period_s, t]`` is compared.

    Parameters
    ----------
    values : (n,) float64, NaN means missing
    times_s : (n,) float64, strictly increasing [s]
    period_s : of the window [s]
    suspect, fail : smallest standard deviations; fail ≤ suspect

    Returns
    -------
    (n,) uint8 of `Flag`

    Raises
    ------
    ValueError
        Naming both limits if fail exceeds suspect.

    Examples
    --------
    >>> attenuated_signal([1, 9, 5, 5, 5], [0, 60, 120, 180, 240], period_s=121, suspect=1)
    array([3, 1, 1, 1, 3], dtype=uint8)

    """
    if fail > suspect:
        raise ValueError(f"fail {fail:g} is above suspect {suspect:g}")
    x, t = np.asarray(values, np.float64), np.asarray(times_s, np.float64)
    present = np.isfinite(x)
    middle = np.median(x[present]) if present.any() else 0.0
    off = np.where(present, x - middle, 0.0)  # sums of squares lose digits far from zero
    first = np.searchsorted(t, t - period_s, side="right")
    count, total, square = (
        _over(np.concatenate([[0.0], np.cumsum(part)]), first) for part in (present * 1.0, off, off * off)
    )
    mean = total / np.maximum(count, 1)
    deviation = np.sqrt(np.maximum(square / np.maximum(count, 1) - mean * mean, 0.0))
    flags = np.full(x.shape, Flag.PASS, np.uint8)
    flags[deviation < suspect] = Flag.SUSPECT
    flags[deviation < fail] = Flag.FAIL
    flags[~present] = Flag.MISSING
    return flags


def climatology(
    values: ArrayLike, times_s: ArrayLike, *, low: ArrayLike, high: ArrayLike, offset_s: float = 0.0
) -> Flags:
    """Flag values beyond what the month and the hour of the day have seen. QARTOD test 5.

    Parameters
    ----------
    values : (n,) float64, NaN means missing
    times_s : (n,) float64, Unix seconds [s]
    low, high : (12, 24) float64, limits by month and hour, themselves inside; NaN where nothing is known
    offset_s : local time less UTC [s]

    Returns
    -------
    (n,) uint8 of `Flag`; NOT_EVALUATED where neither limit is known

    Raises
    ------
    ValueError
        If a table is not (12, 24).

    Examples
    --------
    >>> low, high = np.full((12, 24), 4.0), np.full((12, 24), 9.0)
    >>> climatology([3, 5, np.nan], [0, 0, 0], low=low, high=high)
    array([3, 1, 9], dtype=uint8)

    """
    x, t = np.asarray(values, np.float64), np.asarray(times_s, np.float64) + offset_s
    lows, highs = np.asarray(low, np.float64), np.asarray(high, np.float64)
    for name, table in (("low", lows), ("high", highs)):
        if table.shape != (MONTHS, 24):
            raise ValueError(f"{name} has shape {table.shape}, not (12, 24): a row a month, a column an hour")
    month = t.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % MONTHS
    hour = np.floor(t % DAY_S / HOUR_S).astype(np.intp)
    bottom, top = lows[month, hour], highs[month, hour]
    flags = np.full(x.shape, Flag.PASS, np.uint8)
    flags[np.isnan(bottom) & np.isnan(top)] = Flag.NOT_EVALUATED
    flags[(x < bottom) | (x > top)] = Flag.SUSPECT
    flags[np.isnan(x)] = Flag.MISSING
    return flags


def multi_variate(steps: ArrayLike, *, suspect: float, company: float) -> Flags:
    """Flag a step of one quantity that no other quantity of the site joins. QARTOD test 11.

    Parameters
    ----------
    steps : (n_ticks, n_quantities) float64, steps in usual steps of each quantity; NaN means missing
    suspect : a step so large wants company
    company : a step of another so large is company

    Returns
    -------
    (n_ticks, n_quantities) uint8 of `Flag`; NOT_EVALUATED where nothing else was measured

    Examples
    --------
    >>> multi_variate([[9, 0.2], [9, 3]], suspect=5, company=2)
    array([[3, 1],
           [1, 1]], dtype=uint8)

    """
    far = np.abs(np.asarray(steps, np.float64))
    measured = ~np.isnan(far)
    joins = measured & (far >= company)
    others_join = joins.sum(axis=1, keepdims=True) - joins > 0
    others = measured.sum(axis=1, keepdims=True) - measured > 0
    flags = np.where((far >= suspect) & ~others_join, Flag.SUSPECT, Flag.PASS).astype(np.uint8)
    flags[~others] = Flag.NOT_EVALUATED
    flags[~measured] = Flag.MISSING
    return flags


def neighbour(deviations: ArrayLike, neighbours: ArrayLike, *, suspect: float, least: int = 2) -> Flags:
    """Flag what is far from what the neighbours say. QARTOD test 12.

    Parameters
    ----------
    deviations : (n_ticks, n_series) float64, in spreads of each series; NaN means missing
    neighbours : (n_series, k) int, columns of each series' neighbours, lag taken off; −1 is none
    suspect : distance from the neighbours' median [spreads]
    least : neighbours that must have a value

    Returns
    -------
    (n_ticks, n_series) uint8 of `Flag`; NOT_EVALUATED where too few neighbours have a value

    Examples
    --------
    >>> neighbour([[0.1, 0.3, 8.0]], [[1, 2], [0, 2], [0, 1]], suspect=5)
    array([[1, 1, 3]], dtype=uint8)

    """
    z, of = np.asarray(deviations, np.float64), np.asarray(neighbours, np.intp)
    around = np.where(of >= 0, z[:, of], np.nan)
    known = (~np.isnan(around)).sum(axis=2)
    enough = known >= least
    median = np.nanmedian(np.where(enough[:, :, None], around, 0.0), axis=2)
    flags = np.where(np.abs(z - median) > suspect, Flag.SUSPECT, Flag.PASS).astype(np.uint8)
    flags[~enough] = Flag.NOT_EVALUATED
    flags[np.isnan(z)] = Flag.MISSING
    return flags


def _over(sums: Floats, first: NDArray[np.intp]) -> Floats:
    """Sums over windows that end at each place."""
    windows: Floats = sums[1:] - sums[first]
    return windows
