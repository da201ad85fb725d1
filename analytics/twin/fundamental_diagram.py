"""Triangular fundamental diagrams of road links, and their calibration from detector records.

With density k, flow q, free speed v, wave speed w and jam density κ,

    q = min(v k, w (κ - k)),    capacity Q = κ v w / (v + w),    critical density Q / v

(G. F. Newell, Transp. Res. B 27 (4), 1993). Wave speeds of 15 to 20 km/h are usual and vary little, so that a
record without enough congestion leaves the default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WAVE_SPEED_M_S = 5.0  # 18 km/h
WAVE_SPEED_RANGE_M_S = (3.0, 7.0)  # 11 to 25 km/h: a calibrated one is kept within
CAPACITY_QUANTILE = 0.975  # of the flows of free traffic; the maximum of noisy counts lies above the capacity
FREE_SPEED_QUANTILE = 0.5  # of the speeds at flows below half of the capacity
CONGESTED = 1.2  # a density above so many critical ones is congested
MIN_CONGESTED = 12  # readings, an hour of 5 min each
LEVEL_RATIOS = (0.7, 0.5, 0.4, 0.3)  # of the free speed; GB/T 33171-style, its text was not at hand


class FundamentalDiagram(NamedTuple):
    """Parameters of each link, over all of its lanes, (n_links,) each.

    Attributes
    ----------
    free_speed_m_s : [m/s]
    wave_speed_m_s : of congestion, upstream [m/s]
    jam_density_per_m : [vehicles/m]

    """

    free_speed_m_s: Floats
    wave_speed_m_s: Floats
    jam_density_per_m: Floats

    @property
    def capacity_per_s(self) -> Floats:
        """Largest flow of each link [vehicles/s]."""
        speeds = self.free_speed_m_s * self.wave_speed_m_s / (self.free_speed_m_s + self.wave_speed_m_s)
        return self.jam_density_per_m * speeds

    @classmethod
    def of_capacity(
        cls, free_speed_m_s: Floats, capacity_per_s: Floats, wave_speed_m_s: Floats
    ) -> FundamentalDiagram:
        """Return the diagrams with given capacities [vehicles/s]."""
        return cls(free_speed_m_s, wave_speed_m_s, capacity_per_s * (1 / free_speed_m_s + 1 / wave_speed_m_s))


def calibrate(flow_per_s: Floats, speed_m_s: Floats) -> FundamentalDiagram:
    """Return the diagrams that fit records of flow and speed, all links at once.

    Parameters
    ----------
    flow_per_s, speed_m_s : (n_times, n_links) means over intervals of some minutes [vehicles/s], [m/s];
        NaN is
        missing, and so is a speed of 0

    Raises
    ------
    ValueError
        If a link has no reading with both.

    """
    is_there = np.isfinite(flow_per_s) & (speed_m_s > 0)
    if not is_there.any(axis=0).all():
        missing = int(np.flatnonzero(~is_there.any(axis=0))[0])
        raise ValueError(
            f"link {missing} has no reading of both flow and speed: leave it out, or give its diagram"
        )
    flow, speed = (np.where(is_there, one, np.nan) for one in (flow_per_s, speed_m_s))
    capacity = np.nanquantile(flow, CAPACITY_QUANTILE, axis=0)
    is_light = flow <= capacity / 2
    # of the light flows, the congested ones have low speeds: the upper half is free traffic
    fastest = np.nanquantile(speed, 0.75, axis=0)
    is_free = is_light & (speed > 0.7 * fastest)
    free_speed = np.nanquantile(
        np.where(is_free.any(axis=0) & ~is_free, np.nan, speed), FREE_SPEED_QUANTILE, axis=0
    )
    critical = capacity / free_speed
    density = flow / speed
    is_congested = density > CONGESTED * critical
    wave = np.divide(capacity - flow, density - critical, out=np.full(flow.shape, np.nan), where=is_congested)
    has_enough = is_congested.sum(axis=0) >= MIN_CONGESTED
    wave[:, ~has_enough] = WAVE_SPEED_M_S
    wave_speed = np.clip(np.nanmedian(wave, axis=0), *WAVE_SPEED_RANGE_M_S)
    return FundamentalDiagram.of_capacity(free_speed, capacity, wave_speed)


def congestion_level(
    speed: Floats, free_speed: Floats, ratios: tuple[float, ...] = LEVEL_RATIOS
) -> NDArray[np.uint8]:
    """Return the level of congestion, 1 to 5.

    1 smooth 畅通, 2 basically smooth 基本畅通, 3 light 轻度拥堵, 4 medium 中度拥堵, 5 heavy 严重拥堵.

    Parameters
    ----------
    speed, free_speed : in the same unit; arrays that broadcast
    ratios : of speed to free speed, descending; above the first is level 1, at or below the last level 5

    Examples
    --------
    >>> congestion_level(np.array([60.0, 40.0, 27.0, 20.0, 9.0]), np.array(60.0)).tolist()
    [1, 2, 3, 4, 5]

    """
    ratio = np.asarray(speed / free_speed)
    level: NDArray[np.uint8] = (1 + (ratio[..., None] <= np.array(ratios)).sum(axis=-1)).astype(np.uint8)
    return level
