"""Simulated traffic: one state behind flow, speed and occupancy; a queue that grows backwards."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edge.simulator import Fault, Kind, Link, Place, SpecError, traffic

PRESENT_S = 1_764_000_000.0  # 2025-11-25 00:00 in Jiaxing, a Tuesday
HOUR_S = 3600.0
LANES = 2
ROAD = tuple(
    Link(from_node=one, to_node=other, length_m=600, speed_m_s=15.0, lanes=LANES)
    for one, other in pairwise(("e1", "s1", "s2", "s3", "j", "s4", "e2"))
)
INCIDENT = Fault(
    fault_id="f",
    kind=Kind.INCIDENT,
    site_ids=("s1", "s2", "s3", "s4"),
    quantities=traffic.MEASURES,
    start_s=17 * HOUR_S,
    end_s=19 * HOUR_S,
    size=0.75,
    origin="j",
    find_within_s=HOUR_S,
    en="",
    zh="",
)


def place(site_id: str) -> Place:
    return Place(
        device_id=site_id, site_id=site_id, kind="road_section", quantities=traffic.MEASURES, node_id=site_id
    )


def day(site_id: str, *plan: Fault, seed: int = 3) -> list[list[float]]:
    """Flow, speed and occupancy of 24 hours."""
    values = traffic.site(place(site_id), ROAD, plan=plan, seed=seed, origin_s=PRESENT_S)
    return [values(PRESENT_S + tick * 300.0) for tick in range(288)]


def test_flow_is_density_times_speed() -> None:
    for flow in (50.0, 300.0, 600.0):
        for state in (traffic.free(flow, 54.0), traffic.queued(flow)):
            assert state.flow == pytest.approx(state.density * state.speed)


def test_free_and_queued_traffic_lie_on_their_branches() -> None:
    for flow in (50.0, 300.0, 600.0):
        assert traffic.free(flow, 54.0).density < traffic.JAM / 4 < traffic.queued(flow).density
        assert traffic.queued(flow).flow == pytest.approx(
            traffic.WAVE_KM_H * (traffic.JAM - traffic.queued(flow).density)
        )


def test_occupancy_follows_from_counted_flow_and_speed() -> None:
    for flow, speed, occupancy in day("s1"):
        implied = 100 * traffic.VEHICLE_KM * flow / LANES / speed
        assert occupancy == pytest.approx(implied, rel=6 * traffic.LENGTH_NOISE)


def test_mornings_and_evenings_peak_and_slow_the_traffic() -> None:
    measured = day("s1")
    flows = [sum(row[0] for row in measured[12 * hour : 12 * hour + 12]) / 12 for hour in range(24)]
    speeds = [sum(row[1] for row in measured[12 * hour : 12 * hour + 12]) / 12 for hour in range(24)]
    assert flows[8] > flows[12] < flows[17]
    assert flows[3] < 0.3 * flows[17]
    assert speeds[17] < speeds[12] < speeds[3]


def test_the_week_end_is_milder_than_the_week() -> None:
    tuesday, saturday = PRESENT_S + 8 * HOUR_S, PRESENT_S + 4 * 24 * HOUR_S + 8 * HOUR_S
    assert 0.8 < traffic.demand(saturday) / traffic.demand(tuesday) < 0.95


def test_a_queue_reaches_nearer_detectors_first_and_leaves_them_first() -> None:
    felt = {
        site: traffic.effects(place(site), ROAD, [INCIDENT], peak=600, free_speed=54.0, origin_s=PRESENT_S)[0]
        for site in ("s3", "s2", "s1", "s4")
    }
    queue = [felt[site] for site in ("s3", "s2", "s1")]
    assert all(effect.queued for effect in queue)
    assert INCIDENT.start_s < queue[0].from_s < queue[1].from_s < queue[2].from_s
    assert INCIDENT.end_s < queue[0].to_s < queue[1].to_s < queue[2].to_s
    assert not felt["s4"].queued


def test_an_incident_slows_and_fills_the_road_above_and_empties_it_below() -> None:
    tick = 12 * 18
    for site in ("s3", "s2"):
        (flow, speed, occupancy), (usual, fast, thin) = day(site, INCIDENT)[tick], day(site)[tick]
        assert flow < 0.5 * usual
        assert speed < 0.2 * fast
        assert occupancy > 5 * thin
    (flow, speed, occupancy), (usual, fast, thin) = day("s4", INCIDENT)[tick], day("s4")[tick]
    assert flow < 0.5 * usual
    assert speed > 0.95 * fast
    assert occupancy < thin


def test_an_incident_leaves_no_trace_before_it_and_after_its_queue() -> None:
    clean, struck = day("s3"), day("s3", INCIDENT)
    assert clean[: 12 * 17] == struck[: 12 * 17]
    assert clean[12 * 20 :] == struck[12 * 20 :]


def test_a_detector_beside_the_road_is_refused() -> None:
    with pytest.raises(SpecError, match="'x' stands at no road link"):
        traffic.site(place("x"), ROAD, plan=[], seed=1, origin_s=PRESENT_S)
