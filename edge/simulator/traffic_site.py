"""Simulates a traffic detector: demand, the fundamental diagram, and the queue upstream of an incident.

Flow, speed and occupancy of a reading are those of one traffic state: ``flow = density * speed`` and
``occupancy = density * effective vehicle length``. Free-flow speed decreases a little with flow; a queue is
on the congested branch of a triangular diagram, ``flow = wave * (jam - density)``.
"""

from __future__ import annotations

from math import sqrt
from random import Random
from typing import TYPE_CHECKING

import msgspec

from edge.simulator import time_cycles
from edge.simulator.fault_plan import FaultKind, PlannedFault
from edge.simulator.time_cycles import HOUR_S
from edge.simulator.town_spec import SimulatedLink, SimulatedSite, TownSpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

QUANTITIES_MEASURED = ("traffic_flow", "traffic_speed", "occupancy")
CAPACITY = 1200.0  # veh/h a lane
SPEED_LOSS_AT_CAPACITY = 0.6  # relative loss of the free-flow speed at capacity
JAM_DENSITY = 140.0  # veh/km a lane
WAVE_KM_H = 18.0  # speed of the backward wave with which a queue dissolves
VEHICLE_LENGTH_KM = 0.0065  # effective length: vehicle and loop
PEAK_DEMAND = (520.0, 680.0)  # veh/h a lane; differs by site
SPEED_SPREAD_KM_H = 5.0  # standard deviation of the speeds of single vehicles
DEMAND_MEMORY, DEMAND_NOISE = 0.9, 0.012
SPEED_MEMORY, SPEED_NOISE = 0.85, 0.012
LENGTH_NOISE = 0.02  # relative noise of the mean vehicle length

# Share of the peak demand at each full hour, 0 to 24.
WEEKDAY = (
    *(0.20, 0.17, 0.16, 0.16, 0.18, 0.25, 0.48, 0.86, 0.95, 0.80, 0.72, 0.70),
    *(0.68, 0.68, 0.70, 0.74, 0.84, 1.00, 0.92, 0.72, 0.58, 0.46, 0.35, 0.26, 0.20),
)
WEEKEND = (
    *(0.20, 0.17, 0.16, 0.16, 0.18, 0.24, 0.42, 0.72, 0.84, 0.78, 0.74, 0.72),
    *(0.70, 0.70, 0.71, 0.74, 0.80, 0.90, 0.84, 0.70, 0.58, 0.46, 0.35, 0.26, 0.20),
)


class LaneState(msgspec.Struct, frozen=True):
    """Traffic state of one lane: flow [veh/h], speed [km/h], density [veh/km]."""

    flow: float
    speed: float
    density: float


class IncidentEffect(msgspec.Struct, frozen=True):
    """Effect of an incident at one detector.

    Attributes
    ----------
    from_s, to_s : time range of the effect, relative to the origin of the simulation [s]
    held_share : share of the traffic that is held back
    queued : whether the detector is in the queue (upstream), or on the emptied road (downstream)
    """

    from_s: float
    to_s: float
    held_share: float
    queued: bool


def demand_share(time_s: float) -> float:
    """Return the demand at a time as a share of the peak demand."""
    return time_cycles.interpolate_day(
        WEEKEND if time_cycles.is_weekend(time_s) else WEEKDAY, time_cycles.clock_h(time_s)
    )


def free_flow_state(flow: float, free_speed: float) -> LaneState:
    """Return the state of a lane in free flow. flow [veh/h], free_speed [km/h].

    >>> free_flow_state(600.0, 60.0).speed
    51.0
    """
    speed = free_speed * (1 - SPEED_LOSS_AT_CAPACITY * (flow / CAPACITY) ** 2)
    return LaneState(flow, speed, flow / speed)


def queued_state(flow: float) -> LaneState:
    """Return the state of a lane in a queue that discharges at a flow [veh/h]."""
    density = JAM_DENSITY - flow / WAVE_KM_H
    return LaneState(flow, flow / density, density)


def queue_tail_km_h(arriving: LaneState, held_share: float) -> float:
    """Return the backward speed of a queue's tail: of the shock wave between free flow and queue [km/h]."""
    standing = queued_state(arriving.flow * (1 - held_share))
    return (arriving.flow - standing.flow) / (standing.density - arriving.density)


def distances_km(links: Sequence[SimulatedLink], origin: str, *, upstream: bool) -> dict[str, float]:
    """Return the distance along the road of every node upstream (or downstream) of a node [km]."""
    distances = {origin: 0.0}
    unvisited = [origin]
    while unvisited:
        node = unvisited.pop()
        for link in links:
            this_end, other_end = (
                (link.to_node, link.from_node) if upstream else (link.from_node, link.to_node)
            )
            if this_end == node and other_end not in distances:
                distances[other_end] = distances[node] + link.length_m / 1000
                unvisited.append(other_end)
    return distances


def incident_effects(
    simulated_site: SimulatedSite,
    links: Sequence[SimulatedLink],
    plan: Iterable[PlannedFault],
    *,
    peak: float,
    free_speed: float,
    origin_s: float,
) -> list[IncidentEffect]:
    """Compute the effects of a plan's incidents at a detector, from the arrival of the queue to its end.

    Upstream, the queue arrives with its tail and ends with the backward wave; downstream, the emptied road
    arrives and ends at the free-flow speed.
    """
    effects: list[IncidentEffect] = []
    for fault in plan:
        if fault.kind is not FaultKind.INCIDENT or fault.origin is None:
            continue
        above = distances_km(links, fault.origin, upstream=True).get(simulated_site.node_id)
        below = distances_km(links, fault.origin, upstream=False).get(simulated_site.node_id)
        if above is not None:
            arriving = free_flow_state(peak * demand_share(origin_s + fault.start_s), free_speed)
            reached_s = fault.start_s + above / queue_tail_km_h(arriving, fault.size) * HOUR_S
            left_s = fault.end_s + above / WAVE_KM_H * HOUR_S
            if reached_s < left_s:
                effects.append(IncidentEffect(reached_s, left_s, fault.size, queued=True))
        elif below is not None:
            later_s = below / free_speed * HOUR_S
            effects.append(
                IncidentEffect(fault.start_s + later_s, fault.end_s + later_s, fault.size, queued=False)
            )
    return effects


def traffic_site(
    simulated_site: SimulatedSite,
    links: Sequence[SimulatedLink],
    *,
    plan: Iterable[PlannedFault],
    seed: int,
    origin_s: float,
) -> Callable[[float], list[float]]:
    """Build the function of a detector's flow [veh/h], mean speed [km/h] and occupancy [%].

    The values are in the order of the detector's quantities. The function must be called tick by tick, for
    demand and speed are autocorrelated. Raises `TownSpecError` on a quantity that detectors do not measure,
    or a detector without a road link.
    """
    for quantity in simulated_site.quantities:
        if quantity not in QUANTITIES_MEASURED:
            raise TownSpecError(
                f"site {simulated_site.site_id!r}: a detector has no {quantity!r}, it has "
                f"{', '.join(QUANTITIES_MEASURED)}"
            )
    link = next((link for link in links if simulated_site.node_id in {link.from_node, link.to_node}), None)
    if link is None:
        raise TownSpecError(
            f"detector {simulated_site.site_id!r} stands at no road link: name a link from or to "
            f"{simulated_site.node_id!r}"
        )
    lanes, free_speed = link.lanes, link.speed_m_s * 3.6
    random_source = Random(f"{seed}/{simulated_site.site_id}/traffic")
    peak = random_source.uniform(*PEAK_DEMAND)
    site_effects = incident_effects(
        simulated_site, links, plan, peak=peak, free_speed=free_speed, origin_s=origin_s
    )
    order = [QUANTITIES_MEASURED.index(quantity) for quantity in simulated_site.quantities]
    gauss = random_source.gauss
    ticks_per_h = HOUR_S / simulated_site.interval_s
    demand_noise = speed_noise = 0.0

    def values(time_s: float) -> list[float]:
        nonlocal demand_noise, speed_noise
        demand_noise = DEMAND_MEMORY * demand_noise + gauss(0.0, DEMAND_NOISE)
        speed_noise = SPEED_MEMORY * speed_noise + gauss(0.0, SPEED_NOISE)
        state = _lane_state(
            peak * demand_share(time_s) * (1 + demand_noise), free_speed, site_effects, time_s - origin_s
        )
        expected = state.flow * lanes / ticks_per_h
        count = max(0, round(expected + sqrt(expected) * gauss(0.0, 1.0)))
        speed_error = min(SPEED_SPREAD_KM_H / sqrt(max(count, 1)), 0.3 * state.speed)
        speed = max(0.1, state.speed * (1 + speed_noise) + speed_error * gauss(0.0, 1.0))
        density = (
            count * ticks_per_h / lanes / speed
            if count and state.density < JAM_DENSITY / 2
            else state.density
        )
        occupancy = min(100.0, 100 * VEHICLE_LENGTH_KM * density * (1 + gauss(0.0, LENGTH_NOISE)))
        measured = (count * ticks_per_h, speed, occupancy)
        return [measured[i] for i in order]

    return values


def _lane_state(
    flow: float, free_speed: float, site_effects: Sequence[IncidentEffect], since_s: float
) -> LaneState:
    """Return the traffic state at the detector."""
    for effect in site_effects:
        if effect.from_s <= since_s < effect.to_s:
            held_flow = flow * (1 - effect.held_share)
            return queued_state(held_flow) if effect.queued else free_flow_state(held_flow, free_speed)
    return free_flow_state(flow, free_speed)
