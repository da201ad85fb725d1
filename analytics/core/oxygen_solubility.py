"""Computes the oxygen saturation concentration of fresh water from its temperature.

Source: B. B. Benson and D. Krause, Limnol. Oceanogr. 29 (3), 1984, in the form of APHA Standard Methods
4500-O; fresh water at 101.325 kPa, 0 to 40 °C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

KELVIN = 273.15
COLDEST_C, WARMEST_C = 0.0, 40.0  # range to which the formula was fitted [Cel]
# Of the powers of 1 / T [1/K], ascending.
LOG_SOLUBILITY_COEFFICIENTS = (-139.34411, 1.575701e5, -6.642308e7, 1.243800e10, -8.621949e11)


def oxygen_saturation(water_c: ArrayLike) -> NDArray[np.float64]:
    """Return the oxygen concentration at saturation in fresh water at sea level [mg/L], float64.

    Parameters
    ----------
    water_c : any shape, water temperature [Cel]; the result is NaN outside of the formula's range

    Examples
    --------
    >>> oxygen_saturation([0.0, 20.0, 25.0]).round(2)
    array([14.62,  9.09,  8.26])

    """
    celsius = np.asarray(water_c, np.float64)
    usable = (celsius >= COLDEST_C) & (celsius <= WARMEST_C)
    inverse = 1 / (np.where(usable, celsius, COLDEST_C) + KELVIN)
    saturation = np.exp(np.polynomial.polynomial.polyval(inverse, LOG_SOLUBILITY_COEFFICIENTS))
    return np.where(usable, saturation, np.nan)
