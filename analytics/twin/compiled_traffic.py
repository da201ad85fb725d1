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
def number_within_junctions(
    link: Indices, junction_begin: Indices, n_links: int
) -> tuple[NDArray[np.int32], Indices, NDArray[np.int32]]:
    """Number the links of the movements of each junction from 0 on.

    Returns
    -------
    number : (n_movements,) of the link of each movement within its junction
    begin : (n_junctions + 1,) where the links of each junction begin in ``links``
    links : the links of all junctions, one junction after another

    """
    number, links = np.empty(len(link), np.int32), np.empty(len(link), np.int32)
    begin = np.zeros(len(junction_begin), np.int64)
    number_of = np.full(n_links, -1, np.int64)  # of a link: its place in `links`
    n = 0
    for junction in range(len(junction_begin) - 1):
        begin[junction] = n
        for m in range(junction_begin[junction], junction_begin[junction + 1]):
            if number_of[link[m]] < begin[junction]:
                number_of[link[m]] = n
                links[n] = link[m]
                n += 1
            number[m] = number_of[link[m]] - begin[junction]
        begin[junction + 1] = n
    return number, begin, links[:n]


@compiled
def serve_junctions(  # noqa: C901, PLR0912, PLR0915 - one loop, compiled
    sending: Floats,
    receiving: Floats,
    capacity: Floats,
    shares: Floats,
    junction_begin: Indices,
    incoming: tuple[NDArray[np.int32], Indices, NDArray[np.int32]],
    outgoing: tuple[NDArray[np.int32], Indices, NDArray[np.int32]],
    outflow: Floats,
    entered: Floats,
) -> None:
    """Write the vehicles that leave each incoming link to ``outflow``, and add them to ``entered``.

    The arguments are those of `junction_outflows`, the movements of a junction from each of
    ``junction_begin`` (n_junctions + 1,) on, with their links numbered by `number_within_junctions`: what is
    known of the links of a junction is copied to a few small arrays, so that its rounds are in the cache
    however large the network is.
    """
    from_number, in_begin, in_links = incoming
    to_number, out_begin, out_links = outgoing
    most_in, most_out, most = 0, 0, 0
    for j in range(len(junction_begin) - 1):
        most_in = max(most_in, in_begin[j + 1] - in_begin[j])
        most_out = max(most_out, out_begin[j + 1] - out_begin[j])
        most = max(most, junction_begin[j + 1] - junction_begin[j])
    sent, priority, own, left = np.zeros(most_in), np.zeros(most_in), np.zeros(most_in), np.zeros(most_in)
    is_decided = np.zeros(most_in, np.bool_)
    demanded, supply, requested = np.zeros(most_out), np.zeros(most_out), np.zeros(most_out)
    reduction, others = np.zeros(most_out), np.zeros(most_out)
    active = np.zeros(most, np.int64)
    outflow[:] = sending  # of a link without movements, all of it leaves the network
    for junction in range(len(junction_begin) - 1):
        begin, end = junction_begin[junction], junction_begin[junction + 1]
        first_in, n_in = in_begin[junction], in_begin[junction + 1] - in_begin[junction]
        first_out, n_out = out_begin[junction], out_begin[junction + 1] - out_begin[junction]
        for i in range(n_in):
            sent[i] = left[i] = sending[in_links[first_in + i]]
        for j in range(n_out):
            demanded[j] = 0.0
            supply[j] = receiving[out_links[first_out + j]]
        for m in range(begin, end):
            demanded[to_number[m]] += sent[from_number[m]] * shares[m]
        is_any_scarce = False
        for j in range(n_out):
            is_any_scarce = is_any_scarce or demanded[j] > supply[j]
        n_active = 0
        if is_any_scarce:
            for i in range(n_in):
                priority[i] = capacity[in_links[first_in + i]]
                is_decided[i] = False
            for m in range(begin, end):
                j = to_number[m]
                if demanded[j] > supply[j] and shares[m] > 0 and sent[from_number[m]] > 0:
                    active[n_active] = m
                    n_active += 1
        while n_active > 0:
            for j in range(n_out):
                requested[j] = others[j] = 0.0
            for i in range(n_in):
                own[i] = np.inf
            for k in range(n_active):
                m = active[k]
                requested[to_number[m]] += priority[from_number[m]] * shares[m]
            for j in range(n_out):
                reduction[j] = supply[j] / requested[j] if requested[j] > 0 else np.inf
            for k in range(n_active):
                m = active[k]
                own[from_number[m]] = min(own[from_number[m]], reduction[to_number[m]])
            is_any = False
            for k in range(n_active):
                i = from_number[active[k]]
                is_decided[i] = sent[i] <= own[i] * priority[i]
                is_any = is_any or is_decided[i]
            if not is_any:
                for k in range(n_active):
                    m = active[k]
                    if reduction[to_number[m]] > own[from_number[m]] * TIE:
                        others[to_number[m]] += 1
                for k in range(n_active):
                    if others[to_number[active[k]]] == 0:
                        is_decided[from_number[active[k]]] = True
            n_left = 0
            for k in range(n_active):
                m = active[k]
                i, j = from_number[m], to_number[m]
                if is_decided[i]:
                    left[i] = min(sent[i], own[i] * priority[i])
                    supply[j] = max(supply[j] - left[i] * shares[m], 0.0)
                else:
                    active[n_left] = m
                    n_left += 1
            n_active = n_left
        for i in range(n_in):
            outflow[in_links[first_in + i]] = left[i]
        for j in range(n_out):
            demanded[j] = entered[out_links[first_out + j]]
        for m in range(begin, end):
            demanded[to_number[m]] += left[from_number[m]] * shares[m]
        for j in range(n_out):
            entered[out_links[first_out + j]] = demanded[j]


@compiled
def row_before(row: int, steps: int, depth: int) -> int:
    """Return the row of the history some steps before, fewer than its depth: faster than a remainder."""
    before = row - steps
    return before + depth if before < 0 else before


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
    incoming = number_within_junctions(from_link, junction_begin, 2 * n_links)
    outgoing = number_within_junctions(to_link, junction_begin, n_links)
    tick, row = 0, 0
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
                at = row_before(row, whole - 1, depth)
                arrived = entered_at[at, i]
                arrived += share * (entered_at[row_before(at, 1, depth), i] - arrived)
                at = row_before(row, wave_steps[i] - 1, depth)
                gone = left_at[at, i]
                gone += wave_share[i] * (left_at[row_before(at, 1, depth), i] - gone)
                wanting[i] = min(max(arrived - left[i], 0.0), now_capacity[i] * green_share[i])
                receiving[i] = min(max(gone + storage[i] - entered[i], 0.0), now_capacity[i])
                waiting[i] += demand_per_s[period, i] * step_s
                wanting[n_links + i] = min(waiting[i], now_capacity[i])
            serve_junctions(
                wanting,
                receiving,
                priority,
                shares[period],
                junction_begin,
                incoming,
                outgoing,
                outflow,
                entered,
            )
            tick += 1
            row = tick % depth
            for i in range(n_links):
                held[i] += wanting[i] - outflow[i]
                could[i] += wanting[i]
                left[i] += outflow[i]
                waiting[i] -= outflow[n_links + i]
                entered_at[row, i] = entered[i]
                left_at[row, i] = left[i]
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
