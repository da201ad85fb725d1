"""Oxygen, oxygen demand and temperature in a channel network: coefficients, and the coupled step.

Oxygen demand L (BOD) decays at kd and takes up as much oxygen O; the surface gives oxygen back at ka,

    dL/dt = -kd L,     dO/dt = -kd L + ka (O_s - O),

which along a steady river is the sag curve of Streeter and Phelps (`oxygen_deficit`). Oxygen can not fall
below 0: where the demand of a step exceeds it, the rest of the demand stays in the water, so that L - O is
changed by the surface alone. Temperature relaxes to an equilibrium at K / (ρ c H) (`heat_exchange_per_s`).

Reaeration at 20 °C [1/d], velocity V [m/s], depth H [m]: Owens 5.32 V^0.67 H^-1.85, O'Connor and Dobbins
3.93 V^0.5 H^-1.5, Churchill 5.23 V H^-1.67 within the depths and velocities for which each was fitted
(V. M. Ponce, San Diego State University, online collection), and at least 0.6 / H: in slow canals the three
have nothing to go by, and the floor holds. Temperature: 1.024 to 1.025 per °C for ka, 1.047 for kd (the
latter by common use: no primary source was read, so both are arguments).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from analytics.twin.water_transport import StepOperator

    Floats = NDArray[np.float64]

DAY_S = 86_400.0
REAERATION_FLOOR_M_PER_DAY = 0.6
THETA_REAERATION, THETA_DECAY = 1.025, 1.047
WATER_HEAT_J_PER_M3_K = 4.18e6


def reaeration_per_day(velocity_m_s: ArrayLike, depth_m: ArrayLike, water_c: ArrayLike = 20.0) -> Floats:
    """Return the reaeration coefficient ka [1/d], broadcast, not below 0.6 / depth.

    Examples
    --------
    >>> reaeration_per_day([0.05, 0.3, 1.0], [2.0, 1.0, 2.0]).round(3)
    array([0.3  , 2.153, 1.644])

    """
    velocity, depth = np.broadcast_arrays(
        np.abs(np.asarray(velocity_m_s, np.float64)), np.asarray(depth_m, np.float64)
    )
    floor = REAERATION_FLOOR_M_PER_DAY / depth
    formulas = (
        ((velocity >= 0.55) & (depth > 0.6), 5.23 * velocity * depth**-1.67),
        ((velocity >= 0.15) & (depth > 0.6), 3.93 * velocity**0.5 * depth**-1.5),
        ((velocity >= 0.03) & (depth <= 0.6), 5.32 * velocity**0.67 * depth**-1.85),
    )
    formula = np.select([where for where, _ in formulas], [value for _, value in formulas], floor)
    warmer: Floats = np.maximum(formula, floor) * THETA_REAERATION ** (np.asarray(water_c) - 20.0)
    return warmer


def decay_per_day(at_20_c: ArrayLike, water_c: ArrayLike, theta: float = THETA_DECAY) -> Floats:
    """Return a decay coefficient at a temperature [1/d], broadcast."""
    warmer: Floats = np.asarray(at_20_c, np.float64) * theta ** (np.asarray(water_c) - 20.0)
    return warmer


def heat_exchange_per_s(exchange_w_m2_k: ArrayLike, depth_m: ArrayLike) -> Floats:
    """Return the rate at which water relaxes to its equilibrium temperature, K / (ρ c H) [1/s], broadcast."""
    rate: Floats = np.asarray(exchange_w_m2_k, np.float64) / (
        WATER_HEAT_J_PER_M3_K * np.asarray(depth_m, np.float64)
    )
    return rate


def oxygen_deficit(
    time_s: ArrayLike, *, kd_per_day: float, ka_per_day: float, bod_mg_l: float, deficit_mg_l: float
) -> Floats:
    """Return the oxygen deficit of Streeter and Phelps after a travel time [mg/L], like ``time_s``.

    Examples
    --------
    >>> days = 1.8855 * 86_400
    >>> oxygen_deficit(days, kd_per_day=0.3, ka_per_day=0.7, bod_mg_l=15.0, deficit_mg_l=1.0).round(4)
    np.float64(3.6513)

    """
    days = np.asarray(time_s, np.float64) / DAY_S
    gap = ka_per_day - kd_per_day
    # (e^-kd t - e^-ka t) / (ka - kd), also where both coefficients are equal
    growth = days * np.exp(-kd_per_day * days)
    if gap:
        growth = np.exp(-kd_per_day * days) * -np.expm1(-gap * days) / gap
    deficit: Floats = kd_per_day * bod_mg_l * growth + deficit_mg_l * np.exp(-ka_per_day * days)
    return deficit


@dataclass(frozen=True, slots=True)
class OxygenState:
    """Masses of oxygen demand and oxygen in each cell, (n_cells,) [g]."""

    demand_g: Floats
    oxygen_g: Floats


def oxygen_step(
    demand_step: StepOperator,
    oxygen_step: StepOperator,
    state: OxygenState,
    *,
    kd_per_s: Floats | float,
    ka_per_s: Floats | float,
    saturation_mg_l: Floats | float,
    demand_in_g_s: Floats | float = 0.0,
    oxygen_in_g_s: Floats | float = 0.0,
) -> OxygenState:
    """Return demand and oxygen after a step.

    Parameters
    ----------
    demand_step, oxygen_step : the same step of `TransportModel.step` with ``decay_per_s`` kd and ka
    state : at the beginning
    kd_per_s, ka_per_s : one or (n_cells,) [1/s]
    saturation_mg_l : oxygen at saturation, one or (n_cells,) [mg/L]
    demand_in_g_s, oxygen_in_g_s : inputs, inflowing water included, one or (n_cells,) [g/s]

    """
    demand_before, oxygen_before = state.demand_g, state.oxygen_g
    for number in range(demand_step.n_stages):
        earlier = (demand_before, oxygen_before) if number else (None, None)
        demand_before = demand_step.stage(number, state.demand_g, earlier[0], demand_in_g_s)
        surface = ka_per_s * saturation_mg_l * oxygen_step.volumes_m3[number]
        source = surface - kd_per_s * demand_before + oxygen_in_g_s
        oxygen_before = oxygen_step.stage(number, state.oxygen_g, earlier[1], source)
    lacking = np.maximum(-oxygen_before, 0.0)
    return OxygenState(demand_before + lacking, oxygen_before + lacking)
