"""Validates the limits and arrays given to the checks, and flags distances by a suspect and a fail limit."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from analytics.core.flags import Flag

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.uint8]
    Limit = float | Floats


def flags_by_two_limits(x: Floats, suspect: Limit, fail: Limit, *, reached: bool = False) -> Flags:
    """Return uint8 flags of distances above their limits, or if ``reached`` at or above; NaN passes."""
    beyond = np.greater_equal if reached else np.greater
    flags = np.full(np.shape(x), Flag.PASS, np.uint8)
    flags[beyond(x, suspect)] = Flag.SUSPECT
    flags[beyond(x, fail)] = Flag.FAIL
    return flags


def check_limit_order(**limits: ArrayLike) -> None:
    """Raise ValueError naming two limits of which the first is above the second; NaN means no limit.

    Examples
    --------
    >>> check_limit_order(suspect=1, middle=float("nan"), fail=2)
    >>> check_limit_order(suspect=[1, 3], fail=2)
    Traceback (most recent call last):
    ValueError: suspect 3 is above fail 2 at [1]

    """
    for (low, lower), (high, upper) in combinations(limits.items(), 2):
        is_out_of_order = np.asarray(np.greater(lower, upper))
        if is_out_of_order.any():
            at = np.argwhere(is_out_of_order)[0]
            one, other = (
                np.broadcast_to(limit, is_out_of_order.shape)[tuple(at)] for limit in (lower, upper)
            )
            where = f" at {at.tolist()}" if len(at) else ""
            raise ValueError(f"{low} {one:g} is above {high} {other:g}{where}")


def check_minimum(least: float, **numbers: ArrayLike) -> None:
    """Raise ValueError naming the first number that is below its minimum."""
    for name, number in numbers.items():
        for one in np.ravel(number)[~(np.ravel(number) >= least)][:1]:
            raise ValueError(f"{name} {one:g} is below {least:g}, the least that it can be")


def aligned_arrays(values: ArrayLike, times_s: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as float64; raise ValueError naming both shapes if the last axis differs."""
    x, t = np.asarray(values, np.float64), np.asarray(times_s, np.float64)
    if x.shape[-1:] != t.shape:
        raise ValueError(f"values have the shape {x.shape}, but times_s {t.shape}: one time for each value")
    return x, t
