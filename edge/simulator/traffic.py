"""Traffic at a detector: demand, the fundamental diagram, and the queue behind an incident.

Flow, speed and occupancy of a reading stand for one state of the road: ``flow = density * speed`` and
``occupancy = density * effective vehicle length``. Free traffic slows a little with its flow; a queue
stands on the congested branch of a triangular diagram, ``flow = wave * (jam - density)``.
"""

from __future__ import annotations

from math import sqrt
from random import Random
from typing import TYPE_CHECKING

import msgspec

from edge.simulator import rhythm
from edge.simulator.faults import Fault, Kind
from edge.simulator.rhythm import HOUR_S
from edge.simulator.spec import Link, Place, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MEASURES = ("traffic_flow", "traffic_speed", "occupancy")
CAPACITY = 1200.0  # veh/h a lane
SLOWING = 0.6  # share of the free speed that is lost at capacity
JAM = 140.0  # veh/km a lane
WAVE_KM_H = 18.0  # a queue dissolves backwards so fast
VEHICLE_KM = 0.0065  # effective length: vehicle and loop
PEAK_DEMAND = (520.0, 680.0)  # veh/h a lane; differs by site
SPEED_SPREAD_KM_H = 5.0  # of single vehicles
DEMAND_MEMORY, DEMAND_NOISE = 0.9, 0.012
SPEED_MEMORY, SPEED_NOISE = 0.85, 0.012
LENGTH_NOISE = 0.02  # of the mean vehicle length

# Share of the peak demand at each full hour, 0 to 24.
WEEKDAY = (
    *(0.20, 0.17, 0.16, 0.16, 0.18, 0.25, 0.48, 0.86, 0.95, 0.80, 0.72, 0.70),
    *(0.68, 0.68, 0.70, 0.74, 0.84, 1.00, 0.92, 0.72, 0.58, 0.46, 0.35, 0.26, 0.20),
)
WEEKEND = (
    *(0.20, 0.17, 0.16, 0.16, 0.18, 0.24, 0.42, 0.72, 0.84, 0.78, 0.74, 0.72),
    *(0.70, 0.70, 0.71, 0.74, 0.80, 0.90, 0.84, 0.70, 0.58, 0.46, 0.35, 0.26, 0.20),
)


class State(msgspec.Struct, frozen=True):
    """The state of one lane: flow [veh/h], speed [km/h], density [veh/km]."""

    flow: float
    speed: float
    density: float


class Effect(msgspec.Struct, frozen=True):
    """What an incident does at one detector.

    Attributes
    ----------
    from_s, to_s : when it is felt there, after the present [s]
    held : share of the traffic that is held back
    queued : whether the detector stands in the queue (above), or on the emptied road (below)
    """

    from_s: float
    to_s: float
    held: float
    queued: bool


def demand(time_s: float) -> float:
    """Share of the peak demand at a time."""
    return rhythm.along(WEEKEND if rhythm.is_weekend(time_s) else WEEKDAY, rhythm.clock_h(time_s))


def free(flow: float, free_speed: float) -> State:
    """The state of a lane that flows freely. flow [veh/h], free_speed [km/h].

    >>> free(600.0, 60.0).speed
    51.0
    """
    speed = free_speed * (1 - SLOWING * (flow / CAPACITY) ** 2)
    return State(flow, speed, flow / speed)


def queued(flow: float) -> State:
    """The state of a lane in a queue that discharges at a flow [veh/h]."""
    density = JAM - flow / WAVE_KM_H
    return State(flow, flow / density, density)


def tail_km_h(arriving: State, held: float) -> float:
    """How fast the tail of a queue moves backwards: the shock between what arrives and what stands [km/h]."""
    standing = queued(arriving.flow * (1 - held))
    return (arriving.flow - standing.flow) / (standing.density - arriving.density)


def distances_km(links: Sequence[Link], origin: str, *, upstream: bool) -> dict[str, float]:
    """How far every node above (or below) a node is along the road [km]."""
    found = {origin: 0.0}
    front = [origin]
    while front:
        node = front.pop()
        for link in links:
            here, there = (link.to_node, link.from_node) if upstream else (link.from_node, link.to_node)
            if here == node and there not in found:
                found[there] = found[node] + link.length_m / 1000
                front.append(there)
    return found


def effects(
    place: Place,
    links: Sequence[Link],
    plan: Iterable[Fault],
    *,
    peak: float,
    free_speed: float,
    origin_s: float,
) -> list[Effect]:
    """What the incidents of a plan do at a detector; nearer ones earlier, the queue as long as it lasts."""
    found: list[Effect] = []
    for fault in plan:
        if fault.kind is not Kind.INCIDENT or fault.origin is None:
            continue
        above = distances_km(links, fault.origin, upstream=True).get(place.node_id)
        below = distances_km(links, fault.origin, upstream=False).get(place.node_id)
        if above is not None:
            arriving = free(peak * demand(origin_s + fault.start_s), free_speed)
            reached_s = fault.start_s + above / tail_km_h(arriving, fault.size) * HOUR_S
            left_s = fault.end_s + above / WAVE_KM_H * HOUR_S
            if reached_s < left_s:
                found.append(Effect(reached_s, left_s, fault.size, queued=True))
        elif below is not None:
            later_s = below / free_speed * HOUR_S
            found.append(Effect(fault.start_s + later_s, fault.end_s + later_s, fault.size, queued=False))
    return found


def site(
    place: Place, links: Sequence[Link], *, plan: Iterable[Fault], seed: int, origin_s: float
) -> Callable[[float], list[float]]:
    """Counted flow [veh/h], mean speed [km/h] and occupancy [%] of a detector, in its quantities' order.

    Must be asked tick by tick: demand and speed remember. Raises `SpecError` naming a quantity that no
    detector measures, or a detector that stands at no road link.
    """
    for quantity in place.quantities:
        if quantity not in MEASURES:
            raise SpecError(
                f"site {place.site_id!r}: a detector has no {quantity!r}, it has {', '.join(MEASURES)}"
            )
    link = next((link for link in links if place.node_id in {link.from_node, link.to_node}), None)
    if link is None:
        raise SpecError(
            f"detector {place.site_id!r} stands at no road link: name a link from or to {place.node_id!r}"
        )
    lanes, free_speed = link.lanes, link.speed_m_s * 3.6
    draw = Random(f"{seed}/{place.site_id}/traffic")
    peak = draw.uniform(*PEAK_DEMAND)
    felt = effects(place, links, plan, peak=peak, free_speed=free_speed, origin_s=origin_s)
    order = [MEASURES.index(quantity) for quantity in place.quantities]
    gauss = draw.gauss
    ticks_per_h = HOUR_S / place.interval_s
    more = faster = 0.0

    def values(time_s: float) -> list[float]:
        nonlocal more, faster
        more = DEMAND_MEMORY * more + gauss(0.0, DEMAND_NOISE)
        faster = SPEED_MEMORY * faster + gauss(0.0, SPEED_NOISE)
        state = _state(peak * demand(time_s) * (1 + more), free_speed, felt, time_s - origin_s)
        expected = state.flow * lanes / ticks_per_h
        count = max(0, round(expected + sqrt(expected) * gauss(0.0, 1.0)))
        unsure = min(SPEED_SPREAD_KM_H / sqrt(max(count, 1)), 0.3 * state.speed)
        speed = max(0.1, state.speed * (1 + faster) + unsure * gauss(0.0, 1.0))
        density = count * ticks_per_h / lanes / speed if count and state.density < JAM / 2 else state.density
        occupancy = min(100.0, 100 * VEHICLE_KM * density * (1 + gauss(0.0, LENGTH_NOISE)))
        measured = (count * ticks_per_h, speed, occupancy)
        return [measured[i] for i in order]

    return values


def _state(flow: float, free_speed: float, felt: Sequence[Effect], since_s: float) -> State:
    """What stands or drives at the detector."""
    for effect in felt:
        if effect.from_s <= since_s < effect.to_s:
            held_flow = flow * (1 - effect.held)
            return queued(held_flow) if effect.queued else free(held_flow, free_speed)
    return free(flow, free_speed)
