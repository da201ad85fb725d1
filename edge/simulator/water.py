"""Computes the true values of water and weather quantities at a site, before sensor errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import exp
from random import Random
from typing import TYPE_CHECKING

from edge.simulator import rhythm
from edge.simulator.faults import Fault, Kind
from edge.simulator.laws import LAWS, Moment
from edge.simulator.spec import Place, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from edge.simulator.river import River
    from edge.simulator.weather import Weather

WATER_MEAN_C, WATER_SEASON_C = 17.5, 11.5
AIR_MEAN_C, AIR_SEASON_C = 17.0, 12.0
WARMEST_DAY = 208.0
TIDE_DECAY_M = 12_000.0  # distance upstream at which the tide has decayed to 1/e
RAMP_S = 900.0  # rise and fall time of a discharge


RIVER: Mapping[str, tuple[float, float]] = {
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
OUTFALL: Mapping[str, tuple[float, float]] = {
    **RIVER,
    "dissolved_oxygen": (0.5, 0.6),
    "conductivity": (680.0, 850.0),
    "turbidity": (12.0, 20.0),
    "ammonia_nitrogen": (1.0, 1.8),
    "permanganate_index": (6.0, 8.0),
    "total_phosphorus": (0.25, 0.4),
    "total_nitrogen": (7.0, 10.0),
}
SEWAGE: Mapping[str, float] = {
    "ph": 7.1,
    "conductivity": 1300.0,
    "turbidity": 120.0,
    "ammonia_nitrogen": 25.0,
    "permanganate_index": 20.0,
    "total_phosphorus": 4.0,
    "total_nitrogen": 35.0,
}


def site(
    place: Place, *, river: River, weather: Weather, plan: Sequence[Fault], seed: int, origin_s: float
) -> Callable[[float], list[float]]:
    """Build the function of a site's true values at a time, in the order of its quantities.

    Raises `SpecError` on a quantity that is not in `LAWS`.
    """
    for quantity in place.quantities:
        if quantity not in LAWS:
            raise SpecError(
                f"site {place.site_id!r}: no law for {quantity!r}, water has {', '.join(sorted(LAWS))}"
            )
    draw = Random(f"{seed}/{place.site_id}/base")
    ranges = OUTFALL if place.kind == "outfall" else RIVER
    bases = {quantity: draw.uniform(*ranges[quantity]) for quantity in sorted(ranges)}
    usual_m3_s = river.joins_m3_s(place.node_id) if place.kind == "outfall" else 0.0
    if place.kind == "outfall":
        bases["discharge"] = usual_m3_s
    laws = [(LAWS[quantity], bases[quantity], SEWAGE.get(quantity)) for quantity in place.quantities]
    moment = partial(_moment, _Surroundings.of(place, river, weather, plan, origin_s))

    def values(time_s: float) -> list[float]:
        now = moment(time_s)
        if not now.spill:
            return [law(base, now) for law, base, _ in laws]
        share = now.spill / (now.spill + usual_m3_s)
        return [_mixed(law(base, now), sewage, share) for law, base, sewage in laws]

    return values


def _mixed(clean: float, sewage: float | None, share: float) -> float:
    return clean if sewage is None else clean + share * (sewage - clean)


@dataclass(slots=True, frozen=True)
class _Surroundings:
    """Weather, tide and releases from which the conditions at a site are computed."""

    weather: Weather
    tide: float
    slug: Callable[[float], float]
    spill: Callable[[float], float]

    @classmethod
    def of(
        cls, place: Place, river: River, weather: Weather, plan: Sequence[Fault], origin_s: float
    ) -> _Surroundings:
        if place.kind == "rain_gauge":
            return cls(weather, 0.0, _nothing, _nothing)
        clouds = river.clouds(place.node_id, river.releases(plan))
        spills = [fault for fault in plan if fault.kind is Kind.DISCHARGE and fault.origin == place.node_id]
        usual_m3_s = river.joins_m3_s(place.node_id)
        return cls(
            weather,
            exp(-river.to_mouth_m(place.node_id) / TIDE_DECAY_M),
            (lambda time_s: sum(cloud.concentration(time_s - origin_s) for cloud in clouds))
            if clouds
            else _nothing,
            (lambda time_s: usual_m3_s * _swell(spills, time_s - origin_s)) if spills else _nothing,
        )


def _moment(around: _Surroundings, time_s: float) -> Moment:
    weather = around.weather
    front = weather.front(time_s)
    season = rhythm.yearly(time_s, WARMEST_DAY)
    return Moment(
        time_s=time_s,
        water_c=WATER_MEAN_C + WATER_SEASON_C * season + 0.95 * rhythm.daily(time_s, 17) + 0.4 * front,
        air_c=AIR_MEAN_C + AIR_SEASON_C * season + 3.5 * rhythm.daily(time_s, 15) + 1.5 * front,
        sun=weather.sun(time_s),
        wet=weather.wet(time_s),
        rain=weather.rain(time_s),
        tide=around.tide,
        slug=around.slug(time_s),
        spill=around.spill(time_s),
    )


def _swell(faults: Iterable[Fault], since_s: float) -> float:
    """Return the additional discharge of an outfall as a multiple of its usual flow."""
    return sum(
        fault.size * min(1.0, (since_s - fault.start_s) / RAMP_S, (fault.end_s - since_s) / RAMP_S)
        for fault in faults
        if fault.covers(since_s)
    )


def _nothing(_time_s: float) -> float:
    return 0.0
