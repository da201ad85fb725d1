"""Computes the true value of each water and weather quantity from its base at a site and the conditions.

Amplitudes are measured on recorded sondes by ``benchmarks/calibrate_simulator.py`` (docs/demo.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.simulator import rhythm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TIDE_AT_MOUTH_M = 0.45
TIDE_CURRENT_M_S = 0.15
MEAN_SUN = 0.4


@dataclass(slots=True)
class Moment:
    """Conditions at one site and time, from which the true values are computed.

    Attributes
    ----------
    time_s : Unix seconds [s]
    water_c, air_c : temperatures [Cel]
    sun : light available for photosynthesis of algae, 0 to 1
    wet : runoff of rain [mm]
    rain : rain intensity [mm/h]
    tide : amplitude of the tide as a share of that at the mouth, 0 to 1
    slug : ammonia nitrogen from releases upstream [mg/L]
    spill : sewage discharged at this outfall [m3/s]
    """

    time_s: float
    water_c: float
    air_c: float
    sun: float
    wet: float
    rain: float
    tide: float
    slug: float
    spill: float


def saturation(water_c: float) -> float:
    """Oxygen at saturation in fresh water [mg/L], 468 / (31.6 + T) (GB 3838-2002, 4.5).

    >>> round(saturation(20.0), 2)
    9.07
    """
    return 468 / (31.6 + water_c)


def _temperature(base: float, now: Moment) -> float:
    return max(0.0, base + now.water_c)


def _ph(base: float, now: Moment) -> float:
    return base + 0.26 * (now.sun - MEAN_SUN)


def _oxygen(base: float, now: Moment) -> float:
    return max(0.3, base * saturation(now.water_c) + 1.5 * (now.sun - MEAN_SUN) - now.slug)


def _conductivity(base: float, now: Moment) -> float:
    return base * (1 + 0.01 * rhythm.daily(now.time_s, 9) - 0.0015 * now.wet) + 40 * now.slug


def _turbidity(base: float, now: Moment) -> float:
    return base * (1 + 0.12 * rhythm.daily(now.time_s, 14) + 0.03 * now.wet)  # ship traffic is by day


def _ammonia(base: float, now: Moment) -> float:
    return base * (1 + 0.08 * rhythm.daily(now.time_s, 21) + 0.006 * now.wet) + now.slug


def _nutrient(base: float, now: Moment) -> float:
    return base * (1 + 0.04 * rhythm.daily(now.time_s, 21) + 0.006 * now.wet)


def _level(base: float, now: Moment) -> float:
    tide_m = TIDE_AT_MOUTH_M * now.tide * rhythm.tide(now.time_s)
    return base + 0.01 * rhythm.daily(now.time_s, 6) + 0.003 * now.wet + tide_m


def _velocity(base: float, now: Moment) -> float:
    return base - TIDE_CURRENT_M_S * now.tide * rhythm.tide(now.time_s - rhythm.M2_S / 4)


def _discharge(base: float, now: Moment) -> float:
    people = 0.15 * rhythm.daily(now.time_s, 20) + 0.1 * rhythm.twice_daily(now.time_s, 8)
    return base * (1 + people + 0.02 * now.wet) + now.spill


def _rainfall(_base: float, now: Moment) -> float:
    return now.rain


def _air(base: float, now: Moment) -> float:
    return base + now.air_c


LAWS: Mapping[str, Callable[[float, Moment], float]] = {
    "water_temperature": _temperature,
    "ph": _ph,
    "dissolved_oxygen": _oxygen,
    "conductivity": _conductivity,
    "turbidity": _turbidity,
    "ammonia_nitrogen": _ammonia,
    "permanganate_index": _nutrient,
    "total_phosphorus": _nutrient,
    "total_nitrogen": _nutrient,
    "water_level": _level,
    "water_velocity": _velocity,
    "discharge": _discharge,
    "rainfall": _rainfall,
    "air_temperature": _air,
}
