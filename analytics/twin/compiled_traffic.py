"""Advances the link transmission model through many steps, compiled.

The steps of `analytics.twin.link_transmission.Simulation` and the junctions of `junction_flow`, in loops over
links and movements: NumPy takes some tens of calls for a step, whatever the size of the network, and a day
has thousands of steps. Without Numba callers take the steps of `Simulation`; the results are equal to
rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.twin.compilation import compiled
from analytics.twin.junction_flow import TIE
from analytics.twin.road_traffic import MIN_SPEED_FACTOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]


@compiled
def serve_junctions(  # noqa: C901, PLR0912 - one loop, compiled
    sending: Floats,
    receiving: Floats,
    capacity: Floats,
    from_link: Indices,
    to_link: Indices,
    shares: Floats,
    junction_begin: Indices,
    outflow: Floats,
    active: Indices,
    of_out: Floats,
    own: Floats,
    is_decided: NDArray[np.bool_],
) -> None:
    """Write the vehicles that leave each incoming link to ``outflow``; the rest as `junction_outflows`.

    The movements of a junction follow one another, from each of ``junction_begin`` (n_junctions + 1,) on: all
    rounds of a junction are over before the next one's, so that large networks are passed once. ``active``
    (n_movements,), ``of_out`` (4, n_out), ``own`` and ``is_decided`` (n_in,) are memory to work in.
    """
    demanded, requested, reduction, others = of_out[0], of_out[1], of_out[2], of_out[3]
    demanded[:] = 0.0
    outflow[:] = sending
    for junction in range(len(junction_begin) - 1):
        begin, end = junction_begin[junction], junction_begin[junction + 1]
        for m in range(begin, end):
            demanded[to_link[m]] += sending[from_link[m]] * shares[m]
        n_active = 0
        for m in range(begin, end):
            is_scarce = demanded[to_link[m]] > receiving[to_link[m]]
            if is_scarce and shares[m] > 0 and sending[from_link[m]] > 0:
                active[n_active] = m
                is_decided[from_link[m]] = False
                n_active += 1
        supply = demanded  # of an outgoing link that is scarce, what is left of it
        for k in range(n_active):
            supply[to_link[active[k]]] = receiving[to_link[active[k]]]
        while n_active > 0:
            for k in range(n_active):
                requested[to_link[active[k]]] = 0.0
                others[to_link[active[k]]] = 0.0
                own[from_link[active[k]]] = np.inf
            for k in range(n_active):
                m = active[k]
                requested[to_link[m]] += capacity[from_link[m]] * shares[m]
            is_any = False
            for k in range(n_active):
                i, j = from_link[active[k]], to_link[active[k]]
                reduction[j] = supply[j] / requested[j] if requested[j] > 0 else np.inf
                own[i] = min(own[i], reduction[j])
            for k in range(n_active):
                i = from_link[active[k]]
                is_decided[i] = sending[i] <= own[i] * capacity[i]
                is_any = is_any or is_decided[i]
            if not is_any:
                for k in range(n_active):
                    i, j = from_link[active[k]], to_link[active[k]]
                    if reduction[j] > own[i] * TIE:
                        others[j] += 1
                for k in range(n_active):
                    if others[to_link[active[k]]] == 0:
                        is_decided[from_link[active[k]]] = True
            n_left = 0
            for k in range(n_active):
                m = active[k]
                i, j = from_link[m], to_link[m]
                if is_decided[i]:
                    outflow[i] = min(sending[i], own[i] * capacity[i])
                    supply[j] = max(supply[j] - outflow[i] * shares[m], 0.0)
                else:
                    active[n_left] = m
                    n_left += 1
            n_active = n_left


@compiled
def advance(
    n_reports: int,
    steps_per_report: int,
    step_s: float,
    capacity: Floats,
    priority: Floats,
    storage: Floats,
    green_share: Floats,
    travel_steps: Floats,
    free_steps: Indices,
    free_share: Floats,
    wave_steps: Indices,
    wave_share: Floats,
    from_link: Indices,
    to_link: Indices,
    shares: Floats,
    junction_begin: Indices,
    demand_per_s: Floats,
    period_s: float,
    depth: int,
    drop_link: Indices,
    drop_times_s: Floats,
    drop_factors: Floats,
    reports: Floats,
) -> None:
    """Simulate from an empty network on, and write the counts of each report.

    Parameters
    ----------
    capacity, storage : of each link, vehicles in a step, and on the link (n_links,)
    priority : of each link at the junction at its end, then of vehicles from outside (2 n_links,)
    travel_steps : free travel times in steps, also below one (n_links,)
    free_steps, free_share, wave_steps, wave_share : travel times in steps, and the share of one more
    from_link, to_link, shares : movements by junctions; those from outside are from links n_links and above
    junction_begin : first movement of each junction, then n_movements (n_junctions + 1,)
    depth : number of steps of which the counts are kept
    drop_link, drop_times_s, drop_factors : capacity drops, (n_drops,), times and factors of capacity and free
        speed (n_drops, 2)
    reports : (4, n_reports + 1, n_links) entered, left, waiting, held back as a share

    """
    n_links = len(capacity)
    entered_at, left_at = np.zeros((depth, n_links)), np.zeros((depth, n_links))
    entered, left, waiting = np.zeros(n_links), np.zeros(n_links), np.zeros(n_links)
    held, could = np.zeros(n_links), np.zeros(n_links)
    wanting, receiving, outflow = np.zeros(2 * n_links), np.zeros(n_links), np.zeros(2 * n_links)
    now_capacity, speed_factor = capacity.copy(), np.ones(n_links)
    active, of_out = np.zeros(len(from_link), np.int64), np.zeros((4, n_links))
    own, is_decided = np.zeros(2 * n_links), np.zeros(2 * n_links, np.bool_)
    tick = 0
    for report in range(1, n_reports + 1):
        held[:] = 0.0
        could[:] = 0.0
        for _ in range(steps_per_report):
            now_s = tick * step_s
            period = min(int(now_s // period_s), len(demand_per_s) - 1)
            now_capacity[:] = capacity
            speed_factor[:] = 1.0
            for d in range(len(drop_link)):
                if drop_times_s[d, 0] <= now_s < drop_times_s[d, 1]:
                    now_capacity[drop_link[d]] *= drop_factors[d, 0]
                    speed_factor[drop_link[d]] *= drop_factors[d, 1]
            for i in range(n_links):
                whole, share = free_steps[i], free_share[i]
                if speed_factor[i] < 1.0:
                    exact = max(travel_steps[i] / max(speed_factor[i], MIN_SPEED_FACTOR), 1.0)
                    whole = int(exact + 1e-9)
                    share = max(exact - whole, 0.0)
                at = tick + 1 - whole
                arrived = entered_at[at % depth, i]
                arrived += share * (entered_at[(at - 1) % depth, i] - arrived)
                at = tick + 1 - wave_steps[i]
                gone = left_at[at % depth, i]
                gone += wave_share[i] * (left_at[(at - 1) % depth, i] - gone)
                wanting[i] = min(max(arrived - left[i], 0.0), now_capacity[i] * green_share[i])
                receiving[i] = min(max(gone + storage[i] - entered[i], 0.0), now_capacity[i])
                waiting[i] += demand_per_s[period, i] * step_s
                wanting[n_links + i] = min(waiting[i], now_capacity[i])
            serve_junctions(
                wanting,
                receiving,
                priority,
                from_link,
                to_link,
                shares[period],
                junction_begin,
                outflow,
                active,
                of_out,
                own,
                is_decided,
            )
            for m in range(len(from_link)):
                entered[to_link[m]] += outflow[from_link[m]] * shares[period, m]
            tick += 1
            for i in range(n_links):
                held[i] += wanting[i] - outflow[i]
                could[i] += wanting[i]
                left[i] += outflow[i]
                waiting[i] -= outflow[n_links + i]
                entered_at[tick % depth, i] = entered[i]
                left_at[tick % depth, i] = left[i]
        for i in range(n_links):
            reports[0, report, i] = entered[i]
            reports[1, report, i] = left[i]
            reports[2, report, i] = waiting[i]
            reports[3, report, i] = held[i] / could[i] if could[i] > 1e-9 else 0.0


def arrays_of_drops(drops: Any) -> tuple[Indices, Floats, Floats]:
    """Return the links, times and factors of capacity drops, as `advance` takes them."""
    return (
        np.array([one.link for one in drops], np.intp),
        np.array([[one.from_s, one.to_s] for one in drops], np.float64).reshape(-1, 2),
        np.array([[one.factor, one.speed_factor] for one in drops], np.float64).reshape(-1, 2),
    )
