"""Simulates traffic on a road network by the link transmission model, with queues that spill back.

The state is the cumulative number of vehicles N_up, N_down that have passed the two ends of each link.
With free
speed v, wave speed w, jam density κ, length L, capacity Q and a step Δ, a link can send and receive

    S = min(N_up(t + Δ - L / v) - N_down(t), g Q Δ),    R = min(N_down(t + Δ - L / w) + κ L - N_up(t), Q Δ)

(I. Yperman, thesis, Leuven 2007, after G. F. Newell, Transp. Res. B 27 (4), 1993), exact for triangular
fundamental diagrams up to the step. g is the green share of the signal at the link's end: queues at
signals are
those of the mean over a cycle. Junctions: `junction_flow`. Vehicles that can't enter a full link wait in a
queue
outside the network and keep their turn. Where a link is shorter than a step's travel, its travel time is
the step
and its storage remains κ L.

Vehicles take movements by shares, not by destination; routes don't react to congestion but by a scenario.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analytics.twin import compilation
from analytics.twin.junction_flow import junction_outflows
from analytics.twin.road_traffic import TrafficError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.road_traffic import RoadTraffic

    Floats = NDArray[np.float64]

MAX_STEPS = 1_000_000


@dataclass(frozen=True, slots=True)
class TrafficRun:
    """Result of a simulation, at each report; ``r`` reports, the first at time 0.

    Attributes
    ----------
    time_s : (r,) [s]
    entered, left : (r, n_links) cumulative vehicles at both ends of each link
    waiting : (r, n_links) vehicles outside the network that want to enter
    held_back : (r, n_links) vehicles that could have left since the report before but for a full link
        ahead, as a
        share of those that could have left
    free_speed_m_s, length_m, storage : (n_links,) of the links; storage in vehicles
    free_travel_s : (n_links,) free travel times of the simulation, a step at least [s]

    """

    time_s: Floats
    entered: Floats
    left: Floats
    waiting: Floats
    held_back: Floats
    free_speed_m_s: Floats
    length_m: Floats
    storage: Floats
    free_travel_s: Floats

    @property
    def vehicles(self) -> Floats:
        """Vehicles on each link, (r, n_links)."""
        return self.entered - self.left

    @property
    def flow_per_s(self) -> Floats:
        """Mean flow of each link between reports, (r - 1, n_links) [vehicles/s]."""
        passed = (np.diff(self.entered, axis=0) + np.diff(self.left, axis=0)) / 2
        flow: Floats = passed / np.diff(self.time_s)[:, None]
        return flow

    @property
    def speed_m_s(self) -> Floats:
        """Space-mean speed of each link between reports, (r - 1, n_links) [m/s]; the free speed on empty links."""  # noqa: E501
        vehicles = (self.vehicles[1:] + self.vehicles[:-1]) / 2
        # a link shorter than a step's travel holds its vehicles for the step
        vehicles = vehicles - self.flow_per_s * (self.free_travel_s - self.length_m / self.free_speed_m_s)
        free = np.broadcast_to(self.free_speed_m_s, vehicles.shape)
        passed = self.flow_per_s * self.length_m
        speed = np.divide(passed, vehicles, out=free.copy(), where=vehicles > 1e-6)
        return np.minimum(speed, free)

    @property
    def queue(self) -> Floats:
        """Delayed vehicles of each link at each report, with those that wait to enter it, (r, n_links).

        Those that entered a free travel time before, evenly between reports, and have not left yet.
        """
        report_s = self.time_s[1] - self.time_s[0]
        at = np.maximum(np.arange(len(self.time_s))[:, None] - self.free_travel_s / report_s, 0)
        before = np.floor(at).astype(np.intp)
        links = np.arange(len(self.free_travel_s))
        after = np.minimum(before + 1, len(self.time_s) - 1)
        begun = self.entered[before, links]
        begun += (at - before) * (self.entered[after, links] - begun)
        queue: Floats = np.maximum(begun - self.left, 0) + self.waiting
        return queue

    @property
    def vehicle_hours(self) -> Floats:
        """Time that all vehicles spend on each link, (n_links,) [vehicle h]; waiting outside not counted."""
        return _integral(self.vehicles, self.time_s) / 3600

    @property
    def waiting_hours(self) -> float:
        """Time that all vehicles wait outside the network [vehicle h]."""
        return float(_integral(self.waiting, self.time_s).sum()) / 3600


def simulate(
    traffic: RoadTraffic, duration_s: float, *, step_s: float = 10.0, report_s: float = 300.0
) -> TrafficRun:
    """Simulate traffic from an empty network on, by NumPy while the compiled steps are not ready.

    Parameters
    ----------
    traffic : roads, movements, demand
    duration_s : rounded up to whole reports [s]
    step_s : [s]; a report is a whole number of steps
    report_s : time between reports [s]

    Raises
    ------
    TrafficError
        If the times are not above 0, a report is no whole number of steps, or there are more than a
        million steps.

    """
    if not (step_s > 0 and report_s > 0 and duration_s > 0):
        raise TrafficError(
            f"duration {duration_s:g} s, step {step_s:g} s and report {report_s:g} s must be above 0"
        )
    steps_per_report = round(report_s / step_s)
    if steps_per_report < 1 or abs(steps_per_report * step_s - report_s) > 1e-6 * step_s:
        raise TrafficError(f"report_s {report_s:g} is no multiple of step_s {step_s:g}")
    n_reports = int(np.ceil(duration_s / report_s - 1e-9))
    if n_reports * steps_per_report > MAX_STEPS:
        raise TrafficError(
            f"{n_reports * steps_per_report:,} steps: {MAX_STEPS:,} at most; take a longer step"
        )
    reports = np.zeros((4, n_reports + 1, traffic.n_links))
    simulation = Simulation(traffic, step_s)
    from analytics.twin import compiled_traffic  # noqa: PLC0415 - Numba takes 0.4 s to load

    if compilation.is_ready(compiled_traffic.advance):
        simulation.run_compiled(n_reports, steps_per_report, reports)
    else:
        simulation.run(n_reports, steps_per_report, reports)
    entered, left, waiting, held_back = reports
    diagram = traffic.diagram
    return TrafficRun(
        time_s=report_s * np.arange(n_reports + 1, dtype=np.float64),
        entered=entered,
        left=left,
        waiting=waiting,
        held_back=held_back,
        free_speed_m_s=diagram.free_speed_m_s,
        length_m=traffic.length_m,
        storage=diagram.jam_density_per_m * traffic.length_m,
        free_travel_s=simulation.free_travel_s,
    )


class Simulation:
    """State of a simulation; `step` advances it.

    Attributes
    ----------
    entered, left : (n_links,) cumulative vehicles at both ends of each link
    waiting : (n_links,) vehicles that want to enter the network at each link
    held_back, could_leave : (n_links,) sums over steps of vehicles that a full link ahead held back, and
        of those
        that could leave

    """

    def __init__(self, traffic: RoadTraffic, step_s: float) -> None:
        diagram, n_links = traffic.diagram, traffic.n_links
        self._traffic, self._step_s = traffic, step_s
        self._capacity = diagram.capacity_per_s * step_s
        self._priority = np.concatenate([traffic.priority_or_capacity * step_s, self._capacity])
        self._storage = diagram.jam_density_per_m * traffic.length_m
        self._free = _Delay.of(traffic.length_m / diagram.free_speed_m_s, step_s)
        self._wave = _Delay.of(traffic.length_m / diagram.wave_speed_m_s, step_s)
        slowest = _Delay.of(traffic.length_m / (diagram.free_speed_m_s * traffic.speed_factor()), step_s)
        depth = 2 + int(max(slowest.steps.max(), self._wave.steps.max()))
        self._changes_speed = any(one.speed_factor < 1 for one in traffic.drops)
        self._entered_at, self._left_at = np.zeros((depth, n_links)), np.zeros((depth, n_links))
        self._links = np.arange(n_links)
        # vehicles from outside are incoming links of their own, after the others
        to_link = np.concatenate([traffic.to_link, self._links])
        by_junction = np.argsort(traffic.tail[to_link], kind="stable")
        self._from = np.concatenate([traffic.from_link, n_links + self._links])[by_junction]
        self._to = to_link[by_junction]
        shares = np.concatenate([traffic.shares, np.ones((len(traffic.shares), n_links))], axis=1)
        self._shares = np.ascontiguousarray(shares[:, by_junction])
        self._junction_begin = np.searchsorted(traffic.tail[self._to], np.arange(traffic.n_nodes + 1))
        self._tick = 0
        self.entered, self.left, self.waiting = np.zeros(n_links), np.zeros(n_links), np.zeros(n_links)
        self.held_back, self.could_leave = np.zeros(n_links), np.zeros(n_links)

    @property
    def free_travel_s(self) -> Floats:
        """Free travel times, a step at least, (n_links,) [s]."""
        return (self._free.steps + self._free.share) * self._step_s

    def run(self, n_reports: int, steps_per_report: int, reports: Floats) -> None:
        """Advance by whole reports, and write entered, left, waiting, held back, (4, r, n_links)."""
        for report in range(1, n_reports + 1):
            self.held_back[:], self.could_leave[:] = 0, 0
            for _ in range(steps_per_report):
                self.step()
            reports[:3, report] = self.entered, self.left, self.waiting
            could_leave = self.could_leave
            np.divide(self.held_back, could_leave, out=reports[3, report], where=could_leave > 1e-9)

    def run_compiled(self, n_reports: int, steps_per_report: int, reports: Floats) -> None:
        """Do the same as `run` from the beginning, compiled; the state of the simulation stays."""
        from analytics.twin import compiled_traffic  # noqa: PLC0415 - Numba takes 0.4 s to load

        traffic = self._traffic
        compiled_traffic.advance(
            n_reports,
            steps_per_report,
            self._step_s,
            self._capacity,
            self._priority,
            self._storage,
            traffic.green_share,
            traffic.length_m / traffic.diagram.free_speed_m_s / self._step_s,
            self._free.steps,
            self._free.share,
            self._wave.steps,
            self._wave.share,
            self._from,
            self._to,
            self._shares,
            self._junction_begin,
            traffic.demand_per_s,
            traffic.period_s,
            len(self._entered_at),
            *compiled_traffic.arrays_of_drops(traffic.drops),
            reports,
        )

    def step(self) -> None:
        """Advance by one step."""
        traffic, n_links = self._traffic, len(self._links)
        now_s = self._tick * self._step_s
        period = min(int(now_s // traffic.period_s), len(traffic.shares) - 1)
        capacity = self._capacity
        for drop in traffic.drops:
            if drop.from_s <= now_s < drop.to_s:
                capacity = capacity.copy() if capacity is self._capacity else capacity
                capacity[drop.link] *= drop.factor
        free = self._free
        if self._changes_speed:
            travel_s = traffic.length_m / traffic.diagram.free_speed_m_s
            free = _Delay.of(travel_s / traffic.speed_factor(now_s), self._step_s)
        arrived = free.value(self._entered_at, self._tick, self._links)
        gone = self._wave.value(self._left_at, self._tick, self._links)
        sending = np.clip(arrived - self.left, 0, capacity * traffic.green_share)
        receiving = np.clip(gone + self._storage - self.entered, 0, capacity)
        want = self.waiting + traffic.demand_per_s[period] * self._step_s
        shares = self._shares[period]
        wanting = np.concatenate([sending, np.minimum(want, capacity)])
        outflow = junction_outflows(wanting, receiving, self._priority, self._from, self._to, shares)
        inflow = np.bincount(self._to, outflow[self._from] * shares, n_links)
        self.held_back += sending - outflow[:n_links]
        self.could_leave += sending
        self.entered = self.entered + inflow
        self.left = self.left + outflow[:n_links]
        self.waiting = want - outflow[n_links:]
        self._tick += 1
        row = self._tick % len(self._entered_at)
        self._entered_at[row], self._left_at[row] = self.entered, self.left


@dataclass(frozen=True, slots=True)
class _Delay:
    """Travel times of links in steps: whole steps, and the share of one more, (n_links,)."""

    steps: NDArray[np.intp]
    share: Floats

    @classmethod
    def of(cls, travel_s: Floats, step_s: float) -> _Delay:
        """Return the delays of at least one step."""
        exact = np.maximum(travel_s / step_s, 1)
        steps = np.floor(exact + 1e-9).astype(np.intp)
        return cls(steps, np.maximum(exact - steps, 0))

    def value(self, history: Floats, tick: int, links: NDArray[np.intp]) -> Floats:
        """Return the cumulative count at the end of the coming step, a travel time before, (n_links,)."""
        depth = len(history)
        later = history[(tick + 1 - self.steps) % depth, links]
        if not self.share.any():
            result: Floats = later
            return result
        earlier = history[(tick - self.steps) % depth, links]
        interpolated: Floats = later + self.share * (earlier - later)
        return interpolated


def _integral(values: Floats, time_s: Floats) -> Floats:
    """Return the integral over time by trapezoids, (n_links,)."""
    total: Floats = ((values[1:] + values[:-1]) / 2 * np.diff(time_s)[:, None]).sum(axis=0)
    return total
