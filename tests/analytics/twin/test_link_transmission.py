"""Tests the link transmission model: Newell's exact bottleneck, spillback, junctions, scenarios."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.twin import compile_ahead, compiled_traffic, sparse_inverse
from analytics.twin.fundamental_diagram import FundamentalDiagram, calibrate, congestion_level
from analytics.twin.junction_flow import junction_outflows
from analytics.twin.link_transmission import Simulation, simulate
from analytics.twin.road_demand import NodeCounts, RoadLayout, link_flows
from analytics.twin.road_traffic import CapacityDrop, RoadTraffic, TrafficError
from analytics.twin.traffic_scenario import (
    Diversion,
    GreenShare,
    LaneClosure,
    TrafficScenario,
    compare,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FREE, WAVE = 15.0, 5.0
LENGTH = np.array([3000.0, 1500.0, 1500.0])
CAPACITY = np.array([1.0, 1.0, 0.5])
DEMAND, DEMAND_S = 0.8, 1800.0


def corridor(step_demand: float = DEMAND) -> RoadTraffic:
    """Return three links in a row, the last with half the capacity, and demand for half an hour."""
    n_links = 3
    diagram = FundamentalDiagram.of_capacity(np.full(n_links, FREE), CAPACITY, np.full(n_links, WAVE))
    demand = np.zeros((2, n_links))
    demand[0, 0] = step_demand
    return RoadTraffic(
        tail=np.array([0, 1, 2]),
        head=np.array([1, 2, 3]),
        length_m=LENGTH,
        lanes=np.full(n_links, 2.0),
        diagram=diagram,
        from_link=np.array([0, 1]),
        to_link=np.array([1, 2]),
        shares=np.ones((2, 2)),
        demand_per_s=demand,
        period_s=DEMAND_S,
        green_share=np.ones(n_links),
    )


def test_what_is_compiled_ahead_is_what_a_scenario_uses() -> None:
    """The first scenario on roads took up to 26 s, in which it was compiled."""
    compile_ahead.compile_traffic()
    compiled: tuple[Any, ...] = (compiled_traffic.advance, *sparse_inverse.COMPILED)
    before = [list(one.signatures) for one in compiled]
    drop = CapacityDrop(link=2, from_s=0.0, to_s=600.0, factor=0.5)
    for traffic in (corridor(), replace(corridor(), drops=(drop,))):
        simulate(traffic, 1200.0)
    compare(corridor(), TrafficScenario(closures=(LaneClosure(2, 1.0, 0.0, 600.0),)), 1200.0)
    ones = np.ones(3)
    roads = RoadLayout(4, np.arange(3), np.arange(1, 4), 0.5 * ones)
    link_flows(roads, NodeCounts(np.array([1]), np.full((2, 1), 0.1), np.full(1, 0.01)))
    assert [len(one) for one in before] == [1, 1, 1, 1]
    assert [one.signatures for one in compiled] == before


def test_a_scenario_does_not_wait_for_the_compiler(tmp_path: Path) -> None:
    """The first scenario on roads of a new installation took 30 s, of which the roads took one."""
    program = """
import numpy as np
from analytics.twin import compiled_traffic, sparse_inverse
from analytics.twin.link_transmission import simulate
from analytics.twin.road_demand import NodeCounts, RoadLayout, link_flows
from tests.analytics.twin.test_link_transmission import corridor
ones = np.ones(3)
roads = RoadLayout(4, np.arange(3), np.arange(1, 4), 0.5 * ones)
link_flows(roads, NodeCounts(np.array([1]), np.full((2, 1), 0.1), np.full(1, 0.01)))
print(simulate(corridor(), 5400).left[-1].tolist())
steps = (compiled_traffic.advance, *sparse_inverse.COMPILED)
print([one.signatures for one in steps])
"""
    environ = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, check=True)
    left, compiled = map(json.loads, ended.stdout.splitlines())
    assert compiled == [[]] * 4
    assert left == pytest.approx(simulate(corridor(), 5400).left[-1].tolist(), abs=1e-9)


def newell(time_s: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the exact counts at the bottleneck, at the end of link 0 and at the entry."""
    traffic = corridor()
    arrivals = DEMAND * np.minimum(time_s, DEMAND_S)

    def at(counts: Floats, delay_s: float) -> Floats:
        return np.asarray(np.interp(time_s - delay_s, time_s, counts, left=0.0))

    def bounded(counts: Floats, capacity: float) -> Floats:
        """Return min over s ≤ t of counts(s) + capacity (t - s): a queue before a capacity."""
        slack = np.minimum.accumulate(counts - capacity * time_s)
        return np.asarray(np.minimum(counts, slack + capacity * time_s))

    storage = traffic.diagram.jam_density_per_m * LENGTH
    bottleneck = bounded(at(arrivals, (LENGTH[0] + LENGTH[1]) / FREE), CAPACITY[2])
    middle = np.minimum(at(arrivals, LENGTH[0] / FREE), at(bottleneck, LENGTH[1] / WAVE) + storage[1])
    entry = np.minimum(arrivals, at(middle, LENGTH[0] / WAVE) + storage[0])
    return bottleneck, middle, entry


@pytest.mark.parametrize(("step_s", "steps"), [(10.0, 1e-7), (50.0, 1e-7), (7.5, 1.0), (30.0, 1.0)])
def test_a_bottleneck_is_newells_exact_solution(step_s: float, steps: float) -> None:
    """Counts at the bottleneck and of the queue that spills over a link agree with Newell's solution.

    To rounding where travel times are whole steps, otherwise within the demand of one step.
    """
    tolerance = steps * step_s * DEMAND
    run = simulate(corridor(), 5400, step_s=step_s, report_s=150)
    fine = np.arange(0, 5401, 2.5)
    bottleneck, middle, entry = (one[::60] for one in newell(fine))
    assert np.abs(run.left[:, 1] - bottleneck).max() <= tolerance
    assert np.abs(run.left[:, 0] - middle).max() <= tolerance
    assert np.abs(run.entered[:, 0] - entry).max() <= tolerance
    free_arrivals = DEMAND * np.clip(run.time_s - LENGTH[0] / FREE, 0, DEMAND_S)
    assert (free_arrivals - run.left[:, 0]).max() > 50  # the queue did spill over the middle link


def test_spillback_holds_vehicles_back_on_the_links_before_the_bottleneck_only() -> None:
    run = simulate(corridor(), 5400)
    assert run.held_back[:, 1].max() > 0.3
    assert run.held_back[:, 0].max() > 0.1
    assert run.held_back[:, 2].max() == 0
    level = congestion_level(run.speed_m_s, run.free_speed_m_s)
    assert level[:, 1].max() >= 4
    assert (level[:, 2] == 1).all()


def test_every_vehicle_is_on_a_link_waiting_or_gone() -> None:
    drop = CapacityDrop(2, 600, 1200, 0.0)
    run = simulate(replace(corridor(), drops=(drop,)), 14_400)
    wanted = DEMAND * np.minimum(run.time_s, DEMAND_S)
    assert np.allclose(run.waiting.sum(axis=1) + run.vehicles.sum(axis=1) + run.left[:, 2], wanted, atol=1e-8)
    assert run.left[-1, 2] == pytest.approx(DEMAND * DEMAND_S)
    assert (run.vehicles <= run.storage + 1e-8).all()
    stopped = (run.time_s > 600) & (run.time_s <= 1200)
    assert np.ptp(run.left[stopped, 1][1:]) == pytest.approx(0)


def slow_junction(sending: Floats, receiving: Floats, capacity: Floats, shares: Floats) -> Floats:
    """Return the outflows of one junction, by Tampère's algorithm, step by step."""
    outflow, supply = np.zeros(len(sending)), receiving.astype(float).copy()
    undecided = {i for i in range(len(sending)) if sending[i] > 0}
    while undecided:
        reduction = {}
        for j in range(len(receiving)):
            asked = sum(capacity[i] * shares[i, j] for i in undecided)
            if asked > 0:
                reduction[j] = supply[j] / asked
        if not reduction:
            for i in undecided:
                outflow[i] = sending[i]
            break
        scarcest = min(reduction, key=lambda j: reduction[j])
        users = {i for i in undecided if shares[i, scarcest] > 0}
        satisfied = {i for i in users if sending[i] <= reduction[scarcest] * capacity[i]}
        for i in satisfied or users:
            outflow[i] = sending[i] if satisfied else reduction[scarcest] * capacity[i]
            supply = np.maximum(supply - outflow[i] * shares[i], 0)
        undecided -= satisfied or users
    return outflow


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_junctions_agree_with_the_algorithm_step_by_step(n_in: int, n_out: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(n_out + 1), n_in)[:, :n_out] * (rng.random((n_in, n_out)) < 0.8)
    capacity = rng.uniform(0.5, 2, n_in)
    sending = capacity * rng.random(n_in) * (rng.random(n_in) < 0.9)
    receiving = rng.uniform(0, 1.5, n_out)
    source, target = (one.ravel() for one in np.meshgrid(np.arange(n_in), np.arange(n_out), indexing="ij"))
    fast = junction_outflows(sending, receiving, capacity, source, target, shares.ravel())
    assert np.allclose(fast, slow_junction(sending, receiving, capacity, shares), atol=1e-9)
    assert (fast @ shares <= receiving + 1e-9).all()


def test_closing_a_lane_costs_time_and_a_diversion_saves_it() -> None:
    fork = replace(
        corridor(0.4),
        tail=np.array([0, 1, 1]),
        head=np.array([1, 2, 3]),
        from_link=np.array([0, 0]),
        to_link=np.array([1, 2]),
        shares=np.tile([0.2, 0.8], (2, 1)),
    )
    closure = LaneClosure(2, 1, 0, 3600)
    closed = compare(fork, TrafficScenario(closures=(closure,)), 7200)
    diversion = Diversion(0, 2, 1, 0.5)
    diverted = compare(fork, TrafficScenario(closures=(closure,), diversions=(diversion,)), 7200)
    assert closed.extra_vehicle_hours.sum() > 1
    assert diverted.extra_vehicle_hours.sum() < 0.2 * closed.extra_vehicle_hours.sum()


def test_a_shorter_green_is_a_smaller_capacity() -> None:
    changed = compare(corridor(), TrafficScenario(green_shares=(GreenShare(0, 0.3),)), 3600).changed
    assert changed.flow_per_s[:, 1].max() <= 0.3 + 1e-9


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (TrafficScenario(closures=(LaneClosure(9, 1, 0, 60),)), "closure of link 9"),
        (TrafficScenario(closures=(LaneClosure(0, 3, 0, 60),)), "closure of 3 lanes of link 0: it has 2"),
        (TrafficScenario(closures=(LaneClosure(0, 1, 60, 60),)), "ends at 60 s"),
        (TrafficScenario(diversions=(Diversion(0, 1, 2, 0.5),)), "no movement from link 0 to link 2"),
        (TrafficScenario(diversions=(Diversion(0, 1, 1, 1.5),)), "share 1.5"),
        (TrafficScenario(green_shares=(GreenShare(1, 0.0),)), "green share 0 of link 1"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_with_its_place(scenario: TrafficScenario, message: str) -> None:
    with pytest.raises(TrafficError, match=message):
        scenario.applied_to(corridor())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length_m": np.array([1.0, 0.0, 1.0])}, "link 1 has length_m 0"),
        ({"green_share": np.array([1.0, 1.0, 2.0])}, "link 2 has green_share 2"),
        ({"to_link": np.array([2, 2])}, "movement from link 0 to 2"),
        ({"shares": np.full((2, 2), 1.5)}, "shares of link 0 sum to 1.5 in period 0"),
        ({"demand_per_s": np.zeros((1, 3))}, "demand_per_s has shape"),
        ({"period_s": 0.0}, "period_s 0"),
        ({"priority_per_s": np.array([1.0, 1.0, -1.0])}, "link 2 has priority_per_s -1"),
        ({"drops": (CapacityDrop(3, 0, 1, 0.5),)}, "capacity drop of link 3"),
    ],
)
def test_roads_that_contradict_themselves_are_refused_with_their_place(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(TrafficError, match=message):
        replace(corridor(), **change)  # type: ignore[arg-type]


def test_a_lower_free_speed_takes_the_longer_and_no_vehicle_is_lost() -> None:
    """Free traffic, the first half hour of which is in rain that takes a fifth of the free speed."""
    free = replace(corridor(step_demand=0.3), drops=())
    wet = replace(free, drops=tuple(CapacityDrop(at, 0.0, 1800.0, 1.0, 0.8) for at in range(3)))
    dry_run, wet_run = (simulate(one, 5400.0) for one in (free, wet))
    assert wet_run.speed_m_s[2:5, 0] == pytest.approx(0.8 * FREE, rel=0.01)
    assert wet_run.speed_m_s[9:11, 0] == pytest.approx(FREE, rel=0.01)
    assert wet_run.left[-1] == pytest.approx(dry_run.left[-1])
    assert dry_run.left[-1, 2] == pytest.approx(0.3 * DEMAND_S)
    with pytest.raises(TrafficError, match="link 0: speed_factor 0"):
        replace(free, drops=(CapacityDrop(0, 0.0, 1.0, 1.0, 0.0),))


@pytest.mark.parametrize(("priority", "ratio"), [(None, 2.0), ((0.6, 0.2, 1.0), 3.0)])
def test_a_merge_is_shared_by_the_priorities_of_its_links(
    priority: tuple[float, ...] | None, ratio: float
) -> None:
    """Two queues, of links of capacity 1 and 0.5, enter a third of capacity 0.5."""
    capacity = np.array([1.0, 0.5, 0.5])
    merge = replace(
        corridor(),
        tail=np.array([0, 1, 2]),
        head=np.array([2, 2, 3]),
        diagram=FundamentalDiagram.of_capacity(np.full(3, FREE), capacity, np.full(3, WAVE)),
        from_link=np.array([0, 1]),
        to_link=np.array([2, 2]),
        demand_per_s=np.array([[1.0, 0.5, 0.0]] * 2),
        priority_per_s=None if priority is None else np.array(priority),
    )
    run = simulate(merge, 3600)
    passed = run.left[-1] - run.left[len(run.time_s) // 2]
    assert passed[0] / passed[1] == pytest.approx(ratio, rel=1e-6)


def test_diagrams_are_calibrated_from_a_noisy_record() -> None:
    """Free speed and capacity within 5 %, wave speed within 20 %, of two links at once; a third has no congestion."""  # noqa: E501
    rng = np.random.default_rng(5)
    true = FundamentalDiagram.of_capacity(
        np.array([14.0, 20.0, 14.0]), np.array([0.5, 1.0, 0.5]), np.array([4.5, 6.0, 4.0])
    )
    critical = true.capacity_per_s / true.free_speed_m_s
    density = rng.uniform(0.05, [2.5, 2.5, 0.99], (600, 3)) * critical
    flow = np.minimum(true.free_speed_m_s * density, true.wave_speed_m_s * (true.jam_density_per_m - density))
    speed = flow / density * rng.normal(1, 0.03, flow.shape)
    found = calibrate(flow * rng.normal(1, 0.03, flow.shape), speed)
    assert found.free_speed_m_s == pytest.approx(true.free_speed_m_s, rel=0.05)
    assert found.capacity_per_s == pytest.approx(true.capacity_per_s, rel=0.06)
    assert found.wave_speed_m_s[:2] == pytest.approx(true.wave_speed_m_s[:2], rel=0.2)
    assert found.wave_speed_m_s[2] == 5.0


def test_compiled_steps_are_those_of_numpy() -> None:
    """On a grid whose links are oversaturated for a while, with spillback and a capacity drop."""
    rng = np.random.default_rng(3)
    number = np.arange(25).reshape(5, 5)
    pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    tail = np.concatenate([one.ravel() for begin, end in pairs for one in (begin, end)])
    head = np.concatenate([one.ravel() for begin, end in pairs for one in (end, begin)])
    n_links = len(tail)
    from_link, to_link = np.nonzero((head[:, None] == tail) & (tail[:, None] != head))
    shares = rng.random(len(from_link))
    shares *= 0.9 / np.bincount(from_link, shares, n_links)[from_link]
    demand = rng.uniform(0, 0.3, n_links) * np.array([[1.0], [0.1]])
    traffic = RoadTraffic(
        tail=tail,
        head=head,
        length_m=rng.uniform(200, 700, n_links),
        lanes=np.ones(n_links),
        diagram=FundamentalDiagram.of_capacity(
            np.full(n_links, 14.0), np.full(n_links, 0.5), np.full(n_links, WAVE)
        ),
        from_link=from_link,
        to_link=to_link,
        shares=np.stack([shares, 0.8 * shares]),
        demand_per_s=demand,
        period_s=1800.0,
        green_share=rng.uniform(0.5, 1, n_links),
        drops=(CapacityDrop(7, 600, 1500, 0.2), *(CapacityDrop(at, 300, 1900, 0.9, 0.6) for at in range(30))),
        priority_per_s=rng.uniform(0.1, 1, n_links),
    )
    found, expected = np.zeros((4, 13, n_links)), np.zeros((4, 13, n_links))
    Simulation(traffic, 15.0).run_compiled(12, 20, found)
    Simulation(traffic, 15.0).run(12, 20, expected)
    assert expected[3].max() > 0.5  # queues do spill back
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
