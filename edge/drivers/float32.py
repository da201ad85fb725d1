"""Rewrites values of 32-bit floats as the decimals that an instrument meant."""

from __future__ import annotations

import ctypes
import math

MAX_DIGITS = 9  # significant decimal digits that determine every 32-bit float


def shortest_float32(value: float) -> float:
    """Return the number with the fewest decimal digits that has the same 32-bit float.

    Whole numbers, such as the totals of counters, stay as they are.

    Parameters
    ----------
    value : a 32-bit float, as Python's of 64 bits

    Examples
    --------
    >>> [shortest_float32(one) for one in (7.320000171661377, 0.10000000149011612, 42653152.0)]
    [7.32, 0.1, 42653152.0]

    """
    if not math.isfinite(value) or value.is_integer():
        return value
    for digits in range(1, MAX_DIGITS + 1):
        candidate = float(f"{value:.{digits}g}")
        if ctypes.c_float(candidate).value == value:
            return candidate
    return value
