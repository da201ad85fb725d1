"""Computes depth and velocity of uniform flow in open channels by Manning's formula.

Q = A R^(2/3) S^(1/2) / n with the area A = (b + z y) y and the wetted perimeter P = b + 2 y (1 + z²)^(1/2)
of a trapezoid (a rectangle with z = 0), R = A / P. Source: V. T. Chow, "Open-Channel Hydraulics", 1959,
equations 5-6 and 6-2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

N_HALVINGS: Final = 60  # of the depth; from 1 km to below 1e-12 m
MAX_DEPTH_M: Final = 1000.0


class NormalFlow(NamedTuple):
    """Uniform flow: depth [m], wetted area [m²], mean velocity [m/s], (n,) each."""

    depth_m: Floats
    area_m2: Floats
    velocity_m_s: Floats


def normal_flow(
    discharge_m3_s: Floats, width_m: Floats, side_slope: Floats, manning_n: Floats, slope: Floats
) -> NormalFlow:
    """Return the uniform flow of channels.

    Parameters
    ----------
    discharge_m3_s : (n,) above 0 [m³/s]
    width_m : (n,) at the bed, above 0 [m]
    side_slope : (n,) horizontal per vertical distance of the banks, 0 for a rectangle
    manning_n : (n,) roughness, above 0 [s/m^(1/3)]
    slope : (n,) of the bed, above 0

    """
    low, high = np.zeros_like(discharge_m3_s), np.full_like(discharge_m3_s, MAX_DEPTH_M)
    for _ in range(N_HALVINGS):  # the discharge grows with the depth
        depth = (low + high) / 2
        area = (width_m + side_slope * depth) * depth
        perimeter = width_m + 2 * depth * np.sqrt(1 + side_slope**2)
        is_below = area * (area / perimeter) ** (2 / 3) * np.sqrt(slope) / manning_n < discharge_m3_s
        low, high = np.where(is_below, depth, low), np.where(is_below, high, depth)
    depth = (low + high) / 2
    area = (width_m + side_slope * depth) * depth
    return NormalFlow(depth, area, discharge_m3_s / area)
