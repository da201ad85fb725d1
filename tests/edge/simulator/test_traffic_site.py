"""Tests simulated traffic: consistent flow, speed and occupancy; queues that grow upstream."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edge.simulator import FaultKind, PlannedFault, SimulatedLink, SimulatedSite, TownSpecError, traffic_site

PRESENT_S = 1_764_000_000.0  # 2025-11-25 00:00 in Jiaxing, a Tuesday
HOUR_S = 3600.0
LANES = 2
ROAD = tuple(
    SimulatedLink(from_node=one, to_node=other, length_m=600, speed_m_s=15.0, lanes=LANES)
    for one, other in pairwise(("e1", "s1", "s2", "s3", "j", "s4", "e2"))
)
INCIDENT = PlannedFault(
    fault_id="f",
    kind=FaultKind.INCIDENT,
    site_ids=("s1", "s2", "s3", "s4"),
    quantities=traffic_site.QUANTITIES_MEASURED,
    start_s=17 * HOUR_S,
    end_s=19 * HOUR_S,
    size=0.75,
    origin="j",
    find_within_s=HOUR_S,
    en="",
    zh="",
)


def place(site_id: str) -> SimulatedSite:
    return SimulatedSite(
        device_id=site_id,
        site_id=site_id,
        kind="road_section",
        quantities=traffic_site.QUANTITIES_MEASURED,
        node_id=site_id,
    )


def day(site_id: str, *plan: PlannedFault, seed: int = 3) -> list[list[float]]:
    """Flow, speed and occupancy of 24 hours."""
    values = traffic_site.traffic_site(place(site_id), ROAD, plan=plan, seed=seed, origin_s=PRESENT_S)
    return [values(PRESENT_S + tick * 300.0) for tick in range(288)]


def test_flow_is_density_times_speed() -> None:
    for flow in (50.0, 300.0, 600.0):
        for state in (traffic_site.free_flow_state(flow, 54.0), traffic_site.queued_state(flow)):
            assert state.flow == pytest.approx(state.density * state.speed)


def test_free_and_queued_traffic_lie_on_their_branches() -> None:
    for flow in (50.0, 300.0, 600.0):
        assert (
            traffic_site.free_flow_state(flow, 54.0).density
            < traffic_site.JAM_DENSITY / 4
            < traffic_site.queued_state(flow).density
        )
        assert traffic_site.queued_state(flow).flow == pytest.approx(
            traffic_site.WAVE_KM_H * (traffic_site.JAM_DENSITY - traffic_site.queued_state(flow).density)
        )


def test_occupancy_follows_from_counted_flow_and_speed() -> None:
    for flow, speed, occupancy in day("s1"):
        implied = 100 * traffic_site.VEHICLE_LENGTH_KM * flow / LANES / speed
        assert occupancy == pytest.approx(implied, rel=6 * traffic_site.LENGTH_NOISE)


def test_mornings_and_evenings_peak_and_slow_the_traffic() -> None:
    measured = day("s1")
    flows = [sum(row[0] for row in measured[12 * hour : 12 * hour + 12]) / 12 for hour in range(24)]
    speeds = [sum(row[1] for row in measured[12 * hour : 12 * hour + 12]) / 12 for hour in range(24)]
    assert flows[8] > flows[12] < flows[17]
    assert flows[3] < 0.3 * flows[17]
    assert speeds[17] < speeds[12] < speeds[3]


def test_the_week_end_is_milder_than_the_week() -> None:
    tuesday, saturday = PRESENT_S + 8 * HOUR_S, PRESENT_S + 4 * 24 * HOUR_S + 8 * HOUR_S
    assert 0.8 < traffic_site.demand_share(saturday) / traffic_site.demand_share(tuesday) < 0.95


def test_a_queue_reaches_nearer_detectors_first_and_leaves_them_first() -> None:
    felt = {
        site: traffic_site.incident_effects(
            place(site), ROAD, [INCIDENT], peak=600, free_speed=54.0, origin_s=PRESENT_S
        )[0]
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
    with pytest.raises(TownSpecError, match="'x' stands at no road link"):
        traffic_site.traffic_site(place("x"), ROAD, plan=[], seed=1, origin_s=PRESENT_S)
