"""Computes the true value of each water and weather quantity from its base at a site and the conditions.

Amplitudes are measured on recorded sondes by ``benchmarks/calibrate_simulator.py`` (docs/demo.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.simulator import time_cycles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TIDE_AT_MOUTH_M = 0.45
TIDE_CURRENT_M_S = 0.15
MEAN_SUNLIGHT = 0.4


@dataclass(slots=True)
class SiteConditions:
    """Conditions at one site and time, from which the true values are computed.

    Attributes
    ----------
    time_s : Unix seconds [s]
    water_c, air_c : temperatures [Cel]
    sun : light available for photosynthesis of algae, 0 to 1
    runoff_mm : runoff of rain [mm]
    rain : rain intensity [mm/h]
    tide : amplitude of the tide as a share of that at the mouth, 0 to 1
    ammonia_slug : ammonia nitrogen from releases upstream [mg/L]
    sewage_flow : sewage discharged at this outfall [m3/s]
    """

    time_s: float
    water_c: float
    air_c: float
    sun: float
    runoff_mm: float
    rain: float
    tide: float
    ammonia_slug: float
    sewage_flow: float


def saturation(water_c: float) -> float:
    """Oxygen at saturation in fresh water [mg/L], 468 / (31.6 + T) (GB 3838-2002, 4.5).

    >>> round(saturation(20.0), 2)
    9.07
    """
    return 468 / (31.6 + water_c)


def _temperature(base: float, conditions: SiteConditions) -> float:
    return max(0.0, base + conditions.water_c)


def _ph(base: float, conditions: SiteConditions) -> float:
    return base + 0.26 * (conditions.sun - MEAN_SUNLIGHT)


def _oxygen(base: float, conditions: SiteConditions) -> float:
    return max(
        0.3,
        base * saturation(conditions.water_c)
        + 1.5 * (conditions.sun - MEAN_SUNLIGHT)
        - conditions.ammonia_slug,
    )


def _conductivity(base: float, conditions: SiteConditions) -> float:
    return (
        base * (1 + 0.01 * time_cycles.daily(conditions.time_s, 9) - 0.0015 * conditions.runoff_mm)
        + 40 * conditions.ammonia_slug
    )


def _turbidity(base: float, conditions: SiteConditions) -> float:
    return base * (
        1 + 0.12 * time_cycles.daily(conditions.time_s, 14) + 0.03 * conditions.runoff_mm
    )  # ship traffic is by day


def _ammonia(base: float, conditions: SiteConditions) -> float:
    return (
        base * (1 + 0.08 * time_cycles.daily(conditions.time_s, 21) + 0.006 * conditions.runoff_mm)
        + conditions.ammonia_slug
    )


def _nutrient(base: float, conditions: SiteConditions) -> float:
    return base * (1 + 0.04 * time_cycles.daily(conditions.time_s, 21) + 0.006 * conditions.runoff_mm)


def _level(base: float, conditions: SiteConditions) -> float:
    tide_m = TIDE_AT_MOUTH_M * conditions.tide * time_cycles.tide(conditions.time_s)
    return base + 0.01 * time_cycles.daily(conditions.time_s, 6) + 0.003 * conditions.runoff_mm + tide_m


def _velocity(base: float, conditions: SiteConditions) -> float:
    return base - TIDE_CURRENT_M_S * conditions.tide * time_cycles.tide(
        conditions.time_s - time_cycles.M2_S / 4
    )


def _discharge(base: float, conditions: SiteConditions) -> float:
    household_cycle = 0.15 * time_cycles.daily(conditions.time_s, 20) + 0.1 * time_cycles.twice_daily(
        conditions.time_s, 8
    )
    return base * (1 + household_cycle + 0.02 * conditions.runoff_mm) + conditions.sewage_flow


def _rainfall(_base: float, conditions: SiteConditions) -> float:
    return conditions.rain


def _air(base: float, conditions: SiteConditions) -> float:
    return base + conditions.air_c


QUANTITY_LAWS: Mapping[str, Callable[[float, SiteConditions], float]] = {
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
