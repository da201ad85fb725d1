"""Computes a road's congestion from hourly flow and speed: five Chinese levels, travel-time index, delay.

Levels: 1 smooth, 2 basically smooth, 3 light, 4 medium, 5 heavy congestion. The ratio bounds follow the style
of GB/T 33171 (whose text was not available, see docs/assessments.md); VMT, VHT, delay and TTI are defined as
in Caltrans' PeMS.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

RATIO_BOUNDS = (0.7, 0.5, 0.4, 0.3)  # lower bounds of levels 1 to 4, speed over free-flow speed
SPEED_BOUNDS: Mapping[str, tuple[float, float, float, float]] = MappingProxyType(
    {
        "expressway": (65.0, 50.0, 35.0, 20.0),
        "arterial": (40.0, 30.0, 20.0, 15.0),
        "branch": (35.0, 25.0, 15.0, 10.0),
    }
)
"""Lower bounds of levels 1 to 4 by road class [km/h]; secondary roads as branches."""
EXCESS_BOUNDS = (0.2, 0.5, 0.8, 1.1)  # travel time above free flow, as a share of it
SLOWEST_KM_H = 4.8  # PeMS: speeds are clipped at 3 mph, as travel times at 0 would be infinite


@dataclass(frozen=True, slots=True)
class RoadPerformance:
    """Performance of a road over a number of hours.

    Attributes
    ----------
    vehicle_km, vehicle_h : vehicle-kilometres and vehicle-hours travelled
    delay_vehicle_h : vehicle-hours lost against free flow
    speed_km_h : vehicle-kilometres over vehicle-hours: the flow-weighted harmonic mean [km/h]
    travel_time_index : vehicle-hours over those at free flow [1]
    level : congestion level, 1 to 5
    hours, hours_by_level : hours with a flow and a speed, and of these in each level

    """

    vehicle_km: float
    vehicle_h: float
    delay_vehicle_h: float
    speed_km_h: float
    travel_time_index: float
    level: int
    hours: int
    hours_by_level: tuple[int, int, int, int, int]


def congestion_levels(ratio: ArrayLike, bounds: Sequence[float] = RATIO_BOUNDS) -> NDArray[np.int64]:
    """Return the level, 1 to 5, of each ratio of speed to free-flow speed; the worse one on a bound.

    >>> congestion_levels([1.2, 0.7, 0.5, 0.4, 0.3, 0.0]).tolist()
    [1, 2, 3, 4, 5, 5]
    """
    return 5 - np.searchsorted(np.array(bounds)[::-1], np.asarray(ratio, np.float64), side="left").astype(
        np.int64
    )


def congestion_index(excess: float) -> float:
    """Return the TPI, 0 to 10, by the excess of the travel time over free flow [share].

    Each level spans two points; it is linear in between.

    >>> [round(congestion_index(one), 6) for one in (0.0, 0.2, 0.35, 1.1, 9.0)]
    [0.0, 2.0, 3.0, 8.0, 10.0]
    """
    top = 2 * EXCESS_BOUNDS[-1] - EXCESS_BOUNDS[-2]  # the last level is as wide as the one before
    return float(np.interp(excess, (0.0, *EXCESS_BOUNDS, top), (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)))


def road_performance(
    flow: ArrayLike, speed: ArrayLike, length_km: ArrayLike, free_km_h: ArrayLike
) -> RoadPerformance | None:
    """Return the performance of a road over some hours; None if no hour has a flow and a speed.

    Parameters
    ----------
    flow, speed : of each hour [veh/h], [km/h]; hours where either is not finite are ignored
    length_km, free_km_h : length and free-flow speed, of each hour or one for all [km], [km/h]

    Raises
    ------
    ValueError
        If a free-flow speed or a length is not above 0.

    """
    q, v, length, free = np.broadcast_arrays(
        *(np.asarray(one, np.float64) for one in (flow, speed, length_km, free_km_h))
    )
    if not ((length > 0).all() and (free > 0).all()):
        raise ValueError("a road has a length and a free-flow speed above 0: mend its link")
    is_valid = np.isfinite(q) & np.isfinite(v) & (q >= 0)
    if not is_valid.any():
        return None
    q, length, free = q[is_valid], length[is_valid], free[is_valid]
    v = np.maximum(v[is_valid], SLOWEST_KM_H)
    hours_in_level = np.bincount(congestion_levels(v / free) - 1, minlength=5)
    if not q.any():
        q = np.ones_like(q)  # without traffic every hour has the same weight, and the totals are 0
        carried_share = 0.0
    else:
        carried_share = 1.0
    vehicle_km, vehicle_h, free_h = float(q @ length), float(q @ (length / v)), float(q @ (length / free))
    delay = float(q @ np.maximum(length / v - length / free, 0.0))
    return RoadPerformance(
        vehicle_km=carried_share * vehicle_km,
        vehicle_h=carried_share * vehicle_h,
        delay_vehicle_h=carried_share * delay,
        speed_km_h=vehicle_km / vehicle_h,
        travel_time_index=vehicle_h / free_h,
        level=int(congestion_levels(free_h / vehicle_h)),
        hours=int(is_valid.sum()),
        hours_by_level=tuple(int(one) for one in hours_in_level),  # type: ignore[arg-type]
    )
