"""Computes the true values of water and weather quantities at a site, before sensor errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import exp
from random import Random
from typing import TYPE_CHECKING

from edge.simulator import time_cycles
from edge.simulator.fault_plan import FaultKind, PlannedFault
from edge.simulator.quantity_laws import QUANTITY_LAWS, SiteConditions
from edge.simulator.town_spec import SimulatedSite, TownSpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from edge.simulator.river import River
    from edge.simulator.weather import Weather

WATER_MEAN_C, WATER_SEASON_C = 17.5, 11.5
AIR_MEAN_C, AIR_SEASON_C = 17.0, 12.0
WARMEST_DAY = 208.0
TIDE_DECAY_M = 12_000.0  # distance upstream at which the tide has decayed to 1/e
RAMP_S = 900.0  # rise and fall time of a discharge


RIVER_BASES: Mapping[str, tuple[float, float]] = {
    "water_temperature": (-0.4, 0.4),  # offset from the common temperature [Cel]
    "ph": (7.3, 7.7),
    "dissolved_oxygen": (0.68, 0.82),  # of saturation
    "conductivity": (430.0, 620.0),  # uS/cm
    "turbidity": (22.0, 45.0),  # NTU
    "ammonia_nitrogen": (0.4, 0.8),  # mg/L
    "permanganate_index": (3.6, 5.2),  # mg/L
    "total_phosphorus": (0.12, 0.18),  # mg/L
    "total_nitrogen": (2.0, 3.2),  # mg/L
    "water_level": (1.0, 1.3),  # m above datum
    "water_velocity": (0.2, 0.35),  # m/s
    "discharge": (4.0, 6.0),  # m3/s
    "rainfall": (0.0, 0.0),
    "air_temperature": (-0.5, 0.5),  # offset from the common temperature [Cel]
}
OUTFALL_BASES: Mapping[str, tuple[float, float]] = {
    **RIVER_BASES,
    "dissolved_oxygen": (0.5, 0.6),
    "conductivity": (680.0, 850.0),
    "turbidity": (12.0, 20.0),
    "ammonia_nitrogen": (1.0, 1.8),
    "permanganate_index": (6.0, 8.0),
    "total_phosphorus": (0.25, 0.4),
    "total_nitrogen": (7.0, 10.0),
}
SEWAGE_VALUES: Mapping[str, float] = {
    "ph": 7.1,
    "conductivity": 1300.0,
    "turbidity": 120.0,
    "ammonia_nitrogen": 25.0,
    "permanganate_index": 20.0,
    "total_phosphorus": 4.0,
    "total_nitrogen": 35.0,
}


def water_site(
    simulated_site: SimulatedSite,
    *,
    river: River,
    weather: Weather,
    plan: Sequence[PlannedFault],
    seed: int,
    origin_s: float,
) -> Callable[[float], list[float]]:
    """Build the function of a site's true values at a time, in the order of its quantities.

    Raises `TownSpecError` on a quantity that is not in `QUANTITY_LAWS`.
    """
    for quantity in simulated_site.quantities:
        if quantity not in QUANTITY_LAWS:
            raise TownSpecError(
                f"site {simulated_site.site_id!r}: no law for {quantity!r}, water has "
                f"{', '.join(sorted(QUANTITY_LAWS))}"
            )
    random_source = Random(f"{seed}/{simulated_site.site_id}/base")
    ranges = OUTFALL_BASES if simulated_site.kind == "outfall" else RIVER_BASES
    bases = {quantity: random_source.uniform(*ranges[quantity]) for quantity in sorted(ranges)}
    usual_m3_s = river.inflow_m3_s(simulated_site.node_id) if simulated_site.kind == "outfall" else 0.0
    if simulated_site.kind == "outfall":
        bases["discharge"] = usual_m3_s
    laws = [
        (QUANTITY_LAWS[quantity], bases[quantity], SEWAGE_VALUES.get(quantity))
        for quantity in simulated_site.quantities
    ]
    conditions_at = partial(
        _conditions_at, _SiteSurroundings.of(simulated_site, river, weather, plan, origin_s)
    )

    def values(time_s: float) -> list[float]:
        conditions = conditions_at(time_s)
        if not conditions.sewage_flow:
            return [law(base, conditions) for law, base, _ in laws]
        sewage_share = conditions.sewage_flow / (conditions.sewage_flow + usual_m3_s)
        return [_diluted(law(base, conditions), sewage, sewage_share) for law, base, sewage in laws]

    return values


def _diluted(river_value: float, sewage: float | None, sewage_share: float) -> float:
    return river_value if sewage is None else river_value + sewage_share * (sewage - river_value)


@dataclass(slots=True, frozen=True)
class _SiteSurroundings:
    """Weather, tide and releases from which the conditions at a site are computed."""

    weather: Weather
    tide: float
    ammonia_slug: Callable[[float], float]
    sewage_flow: Callable[[float], float]

    @classmethod
    def of(
        cls,
        simulated_site: SimulatedSite,
        river: River,
        weather: Weather,
        plan: Sequence[PlannedFault],
        origin_s: float,
    ) -> _SiteSurroundings:
        if simulated_site.kind == "rain_gauge":
            return cls(weather, 0.0, _zero, _zero)
        passing_releases = river.passing_releases(simulated_site.node_id, river.releases(plan))
        spills = [
            fault
            for fault in plan
            if fault.kind is FaultKind.DISCHARGE and fault.origin == simulated_site.node_id
        ]
        usual_m3_s = river.inflow_m3_s(simulated_site.node_id)
        return cls(
            weather,
            exp(-river.to_mouth_m(simulated_site.node_id) / TIDE_DECAY_M),
            (lambda time_s: sum(cloud.concentration(time_s - origin_s) for cloud in passing_releases))
            if passing_releases
            else _zero,
            (lambda time_s: usual_m3_s * _discharge_factor(spills, time_s - origin_s)) if spills else _zero,
        )


def _conditions_at(surroundings: _SiteSurroundings, time_s: float) -> SiteConditions:
    weather = surroundings.weather
    front = weather.front(time_s)
    season = time_cycles.yearly(time_s, WARMEST_DAY)
    return SiteConditions(
        time_s=time_s,
        water_c=WATER_MEAN_C + WATER_SEASON_C * season + 0.95 * time_cycles.daily(time_s, 17) + 0.4 * front,
        air_c=AIR_MEAN_C + AIR_SEASON_C * season + 3.5 * time_cycles.daily(time_s, 15) + 1.5 * front,
        sun=weather.sun(time_s),
        runoff_mm=weather.runoff_mm(time_s),
        rain=weather.rain(time_s),
        tide=surroundings.tide,
        ammonia_slug=surroundings.ammonia_slug(time_s),
        sewage_flow=surroundings.sewage_flow(time_s),
    )


def _discharge_factor(faults: Iterable[PlannedFault], since_s: float) -> float:
    """Return the additional discharge of an outfall as a multiple of its usual flow."""
    return sum(
        fault.size * min(1.0, (since_s - fault.start_s) / RAMP_S, (fault.end_s - since_s) / RAMP_S)
        for fault in faults
        if fault.is_active(since_s)
    )


def _zero(_time_s: float) -> float:
    return 0.0
