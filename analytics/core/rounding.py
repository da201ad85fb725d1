"""Converts units, and removes the rounding noise of the conversion (0.30000000000000004 to 0.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Upper bound of the magnitude, and decimals. Few enough that value * 10**decimals stays below 2**53, where
# each integer is a double and the division gives the double nearest to the decimal; enough to keep 12 digits.
DECIMALS_BY_MAGNITUDE = ((1.0, 15), (1e3, 12), (1e6, 9))


def remove_rounding_noise(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values (n,) rounded to at least 12 significant digits; those of 1e-3 and less to 15 decimals.

    Values of a million and more, and non-finite ones, are unchanged.

    Examples
    --------
    >>> remove_rounding_noise(np.array([0.1 + 0.2, 488.20000000000005, 1e300])).tolist()
    [0.3, 488.2, 1e+300]

    """
    rounded = value.copy()
    magnitude = np.abs(value)
    above = 0.0
    for below, decimals in DECIMALS_BY_MAGNITUDE:
        in_range = (magnitude >= above) & (magnitude < below)
        rounded[in_range] = np.round(value[in_range], decimals)
        above = below
    return rounded


def convert_and_round(
    value: NDArray[np.float64], scale: NDArray[np.float64] | float, offset: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Return ``value * scale + offset`` (n,), without rounding noise where that changes a value.

    A result that is too large is infinite, which fails any gross range.

    >>> convert_and_round(np.array([0.29, 0.1 + 0.2]), np.array([1000.0, 1.0]), np.zeros(2)).tolist()
    [290.0, 0.30000000000000004]
    """
    with np.errstate(over="ignore"):
        result: NDArray[np.float64] = value * scale + offset
    changes = np.broadcast_to((np.asarray(scale) != 1.0) | (np.asarray(offset) != 0.0), result.shape)
    result[changes] = remove_rounding_noise(result[changes])
    return result
