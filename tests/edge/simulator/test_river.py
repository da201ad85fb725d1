"""Tests the simulated river: flows add up; a pollutant slug travels downstream in order and is conserved."""

from __future__ import annotations

from math import exp

import pytest

from edge.simulator import FaultKind, PlannedFault, SimulatedLink, TownSpec, TownSpecError
from edge.simulator.river import DECAY_PER_S, SEWAGE_AMMONIA_G_M3, SOURCE_M3_S, River

STEP_S = 60.0
SPEC = TownSpec(
    simulated_sites=(),
    river=(
        SimulatedLink(from_node="q1", to_node="k", length_m=3000, speed_m_s=0.3),
        SimulatedLink(from_node="q2", to_node="k", length_m=2000, speed_m_s=0.2),
        SimulatedLink(from_node="o", to_node="k", length_m=500, speed_m_s=0.25),
        SimulatedLink(from_node="k", to_node="a", length_m=2000, speed_m_s=0.35),
        SimulatedLink(from_node="a", to_node="b", length_m=4000, speed_m_s=0.4),
        SimulatedLink(from_node="b", to_node="c", length_m=6000, speed_m_s=0.3),
        SimulatedLink(from_node="c", to_node="m", length_m=2000, speed_m_s=0.3),
    ),
    node_kinds={"q1": "source", "q2": "source", "o": "outfall", "m": "mouth"},
)


def release(kind: FaultKind, *, size: float, end_s: float = 3600.0) -> PlannedFault:
    return PlannedFault(
        fault_id="f",
        kind=kind,
        site_ids=("a", "b", "c"),
        quantities=("ammonia_nitrogen",),
        start_s=0.0,
        end_s=end_s,
        size=size,
        origin="o",
        find_within_s=3600.0,
        en="",
        zh="",
    )


def passing(river: River, fault: PlannedFault, node: str) -> list[float]:
    """Concentration every minute for three days [g/m3]."""
    passing_releases = river.passing_releases(node, river.releases([fault]))
    return [sum(cloud.concentration(tick * STEP_S) for cloud in passing_releases) for tick in range(3 * 1440)]


def test_flows_add_up_downstream() -> None:
    river = River(SPEC, seed=1)
    assert river.flow_m3_s("q1") == SOURCE_M3_S
    assert river.flow_m3_s("m") == pytest.approx(2 * SOURCE_M3_S + river.flow_m3_s("o"))


def test_travel_time_is_the_sum_of_the_reaches() -> None:
    river = River(SPEC, seed=1)
    assert river.travel_s("o", "b") == pytest.approx(500 / 0.25 + 2000 / 0.35 + 4000 / 0.4)
    assert river.travel_s("o", "o") == 0
    assert river.travel_s("b", "o") is None
    assert river.travel_s("q1", "q2") is None


def test_a_slug_arrives_in_order_near_its_travel_time_ever_lower_and_longer() -> None:
    river = River(SPEC, seed=1)
    fault = release(FaultKind.SLUG, size=50.0)
    peaks, times = [], []
    for node in ("a", "b", "c"):
        passed = passing(river, fault, node)
        peaks.append(max(passed))
        times.append(passed.index(max(passed)) * STEP_S)
        assert times[-1] == pytest.approx(river.travel_s("o", node), rel=0.06)
    assert times == sorted(times)
    assert peaks == sorted(peaks, reverse=True)
    assert not any(passing(river, fault, "q1"))


@pytest.mark.parametrize("node", ["a", "b", "c"])
def test_the_mass_of_a_slug_passes_every_section(node: str) -> None:
    river = River(SPEC, seed=1)
    passed_g = sum(passing(river, release(FaultKind.SLUG, size=50.0), node)) * STEP_S * river.flow_m3_s(node)
    travel_s = river.travel_s("o", node)
    assert travel_s is not None
    assert passed_g == pytest.approx(50_000 * exp(-DECAY_PER_S * travel_s), rel=0.01)


def test_a_discharge_passes_below_with_the_mass_of_its_sewage() -> None:
    river = River(SPEC, seed=1)
    fault = release(FaultKind.DISCHARGE, size=2.0, end_s=7200.0)
    passed_g = sum(passing(river, fault, "b")) * STEP_S * river.flow_m3_s("b")
    let_in_g = 2.0 * river.flow_m3_s("o") * SEWAGE_AMMONIA_G_M3 * 7200
    assert passed_g == pytest.approx(let_in_g, rel=0.05)


def test_a_river_that_parts_is_refused() -> None:
    parted = (*SPEC.river, SimulatedLink(from_node="a", to_node="x", length_m=1, speed_m_s=1))
    with pytest.raises(TownSpecError, match="parts at node 'a'"):
        River(TownSpec(simulated_sites=(), river=parted), seed=1)


def test_a_river_in_a_circle_is_refused() -> None:
    round_about = (*SPEC.river, SimulatedLink(from_node="m", to_node="k", length_m=1, speed_m_s=1))
    with pytest.raises(TownSpecError, match="in a circle"):
        River(TownSpec(simulated_sites=(), river=round_about), seed=1)


def test_a_release_outside_of_the_river_is_refused() -> None:
    fault = release(FaultKind.SLUG, size=1.0)
    with pytest.raises(TownSpecError, match="fault 'f' begins at 'o'"):
        River(TownSpec(simulated_sites=(), river=SPEC.river[3:]), seed=1).releases([fault])
