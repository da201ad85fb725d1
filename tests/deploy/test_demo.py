"""Tests the demo: three towns on one river, and planned faults that are detectable at any hour."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, get_args

import msgspec
import pytest

from analytics.duty.grid_cells import CellIndex, check_geometry
from analytics.duty.responsibility import DutyIndex
from analytics.duty.rosters import check_roster
from deploy import demo
from deploy.demo import fault_plan_checks
from edge.simulator import FaultKind, PlannedFault, SimulatedSite
from edge.simulator.river import River
from edge.wire.quantities import QUANTITIES, to_canonical
from edge.wire.topics import LEVEL_PATTERN
from ingest_service.storage.contract.incidents import IncidentKind

if TYPE_CHECKING:
    from ingest_service.storage.contract.duty import GridCell, Roster, Team
    from ingest_service.storage.contract.models import Site

DAY_S = 86_400.0
HOUR_S = 3600.0
AT_NIGHT_S, IN_THE_RUSH_S = 1_764_010_800.0, 1_764_061_200.0  # 03:00 and 17:00 in Jiaxing
SHOWN_SPREADS = 8.0
PLAN = demo.plan()
SENSED = [fault for fault in PLAN if fault.kind not in {FaultKind.SILENT, FaultKind.STUCK}]


def test_the_cluster_is_three_towns_of_real_counties_with_about_200_series() -> None:
    known = demo.directory()
    assert {area.area_id for area in known.areas if area.level == "county"} == {"330402", "330421", "330483"}
    assert len([area for area in known.areas if area.level == "town"]) == 3
    assert len(known.devices) == 40
    assert len(known.series) == 200
    assert {one.interval_s for one in known.series} == {300.0}


def test_everything_simulated_is_marked_so() -> None:
    known = demo.directory()
    assert all(site.demo and "(demo)" in site.en and "(演示)" in site.zh for site in known.sites)
    assert all("(demo)" in area.en and "(演示)" in area.zh for area in known.areas if area.level == "town")


def test_one_device_a_site_with_an_id_that_fits_a_topic() -> None:
    known = demo.directory()
    assert all(LEVEL_PATTERN.fullmatch(one.device_id) and one.device_id.islower() for one in known.devices)
    pairs = {(channel.device_id, channel.site_id) for channel in known.channels}
    assert len(pairs) == len(known.devices)


def test_one_river_flows_through_all_three_towns() -> None:
    area = {node.node_id: node.area_id for node in demo.directory().nodes}
    reaches_to_mouth = River(demo.spec(), seed=1).reaches_to_mouth("330483-d1-q01")
    passed = [area[link.to_node] for link in reaches_to_mouth]
    assert list(dict.fromkeys(passed)) == ["330483-d1", "330402-d1", "330421-d1"]


def test_devices_take_turns_within_the_interval() -> None:
    phases = Counter(place.phase_s for place in demo.spec().simulated_sites)
    assert max(phases.values()) == 1
    assert 0 <= min(phases) <= max(phases) < 300


def test_every_kind_of_fault_is_planned_in_the_day_before_the_present() -> None:
    past = [fault for fault in PLAN if fault.start_s < 0]
    assert len(past) >= 8
    assert {fault.kind for fault in past} == set(FaultKind)
    assert all(fault.start_s >= -DAY_S and fault.start_s + fault.find_within_s <= 0 for fault in past)
    assert len({fault.site_ids[0] for fault in past}) == len(past)


def test_a_few_faults_begin_soon_after_the_present() -> None:
    live = [fault for fault in PLAN if fault.start_s >= 0]
    assert len(live) >= 3
    assert all(180 <= fault.start_s <= 1800 for fault in live)


def test_the_slug_crosses_a_border_and_passes_at_least_three_sections() -> None:
    slug = next(fault for fault in PLAN if fault.kind is FaultKind.SLUG)
    river = River(demo.spec(), seed=1)
    travels = [river.travel_s(slug.origin or "", site_id) or 0.0 for site_id in slug.site_ids]
    assert travels == sorted(travels)
    assert len([one for one in travels if slug.start_s + one < 0]) >= 3
    sites: dict[str, Site] = {site.site_id: site for site in demo.directory().sites}
    assert len({sites[site_id].area_id for site_id in slug.site_ids}) == 2


@cache
def played(site_id: str, present_s: float, *, with_faults: bool) -> dict[str, dict[float, float]]:
    """Readings of a site by quantity and seconds after the present, over the last 30 hours and 2 to come."""
    place: SimulatedSite = next(place for place in demo.spec().simulated_sites if place.site_id == site_id)
    town = demo.town(seed=1, live_from_s=present_s, history_s=30 * HOUR_S, with_faults=with_faults)
    read: dict[str, dict[float, float]] = {quantity: {} for quantity in place.quantities}
    for time_s, records in town.readings(place):
        if time_s > present_s + 2 * HOUR_S:
            return read
        for record in records:
            conversion = to_canonical(QUANTITIES[record.name], None)
            value = (record.value or 0.0) * conversion.scale + conversion.offset
            read[record.name][time_s - present_s] = value
    return read


@pytest.mark.parametrize("present_s", [AT_NIGHT_S, IN_THE_RUSH_S])
@pytest.mark.parametrize("fault", SENSED, ids=lambda fault: fault.fault_id)
def test_a_fault_stands_far_out_of_the_noise_within_its_time_at_any_hour(
    fault: PlannedFault, present_s: float
) -> None:
    best = 0.0
    for site_id in fault.site_ids:
        clean, spoilt = (played(site_id, present_s, with_faults=with_faults) for with_faults in (False, True))
        for quantity in set(fault.quantities) & set(clean):
            values = clean[quantity]
            times = sorted(values)
            hours = [[values[t] for t in times[i : i + 12]] for i in range(0, len(times), 12)]
            spread = median(1.4826 * median(abs(v - median(hour)) for v in hour) for hour in hours)
            in_time = [t for t in times if fault.start_s <= t <= fault.start_s + fault.find_within_s]
            off = max(
                (abs(spoilt[quantity][t] - values[t]) for t in in_time if t in spoilt[quantity]), default=0
            )
            best = max(best, off / max(spread, QUANTITIES[quantity].resolution))
    assert best > SHOWN_SPREADS


@pytest.mark.parametrize(
    "fault", [one for one in PLAN if one.kind is FaultKind.STUCK], ids=lambda one: one.fault_id
)
def test_a_stuck_sensor_repeats_one_value_for_three_hours_that_would_have_moved(fault: PlannedFault) -> None:
    (site_id,), (quantity,) = fault.site_ids, fault.quantities
    clean, stuck = (
        [
            value
            for since_s, value in played(site_id, AT_NIGHT_S, with_faults=with_faults)[quantity].items()
            if fault.is_active(since_s)
        ]
        for with_faults in (False, True)
    )
    assert fault.end_s - fault.start_s >= 3 * HOUR_S
    assert len(set(stuck)) == 1
    assert len(set(clean)) > len(clean) / 4


@pytest.mark.parametrize(
    "fault", [one for one in PLAN if one.kind is FaultKind.SILENT], ids=lambda one: one.fault_id
)
def test_a_silent_device_sends_nothing(fault: PlannedFault) -> None:
    read = played(fault.site_ids[0], AT_NIGHT_S, with_faults=True)
    assert not [since_s for times in read.values() for since_s in times if fault.is_active(since_s)]
    assert all(times for times in read.values())


def test_the_last_silence_before_the_present_reaches_beyond_it() -> None:
    silent = next(fault for fault in PLAN if fault.kind is FaultKind.SILENT and fault.start_s < 0)
    assert silent.start_s == -3 * HOUR_S
    assert silent.end_s >= 0.5 * HOUR_S


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"site_ids": ("nowhere",)}, "shows at site 'nowhere', which no site file holds"),
        ({"quantities": ("occupancy",)}, "shows in 'occupancy', which none of its sites measures"),
        ({"quantities": ()}, "shows in no quantity"),
        ({"kind": FaultKind.SILENT}, "silences no device"),
        ({"device_ids": ("nothing",)}, "silences device 'nothing', which no site file holds"),
        ({"kind": FaultKind.SLUG}, "begins nowhere: name a node in origin"),
        ({"kind": FaultKind.SLUG, "origin": "330421-d1-o01"}, "from where nothing reaches '330402-d1-r04'"),
    ],
)
def test_a_plan_that_does_not_fit_the_towns_is_refused(change: dict[str, object], sentence: str) -> None:
    wrong = msgspec.structs.replace(PLAN[0], **change)
    with pytest.raises(fault_plan_checks.FaultPlanError, match=sentence):
        fault_plan_checks.check_fault_plan([wrong], demo.directory(), demo.spec())


def test_the_documentation_lists_every_planned_fault_and_its_time() -> None:
    page = (Path(__file__).parents[2] / "docs" / "demo.md").read_text(encoding="utf-8")
    rows = {cells[1].strip(" `"): cells for line in page.splitlines() if len(cells := line.split("|")) == 7}
    for fault in PLAN:
        _, _, kind, _, _, within, _ = rows[fault.fault_id]
        number, unit = within.split()
        assert kind.strip() == fault.kind
        assert float(number) * {"min": 60, "h": 3600}[unit] == fault.find_within_s


def test_every_site_lies_in_the_grid_cell_that_it_names() -> None:
    plan, known = demo.duty_plan(), demo.directory()
    cells = CellIndex(plan.cells)
    for cell in plan.cells:
        check_geometry(cell.geometry)
    found = {site.site_id: cells.cell_at(site.lon, site.lat) for site in known.sites}
    assert {site_id: cell.cell_id if cell else None for site_id, cell in found.items()} == {
        site.site_id: site.grid_cell for site in known.sites
    }
    assert {cell.cell_id for cell in plan.cells} == {site.grid_cell for site in known.sites}
    names: list[GridCell | Team | Roster] = [*plan.cells, *plan.teams, *plan.rosters]
    assert all(one.en.endswith("(demo)") and one.zh.endswith("(演示)") for one in names)


@pytest.mark.parametrize("at_s", [AT_NIGHT_S + 60 * DAY_S, IN_THE_RUSH_S + 400 * DAY_S])
def test_a_team_of_the_town_is_on_duty_for_every_site_and_kind_of_incident(at_s: float) -> None:
    plan, known = demo.duty_plan(), demo.directory()
    for roster in plan.rosters:
        team = next(one for one in plan.teams if one.team_id == roster.team_id)
        check_roster(roster, {one.member_id for one in team.members})
    index = DutyIndex(plan, {one.area_id: one.parent for one in known.areas})
    for site in known.sites:
        for kind in get_args(IncidentKind):
            responsible = index.responsible(
                area_id=site.area_id, cell_id=site.grid_cell, kind=kind, at_s=at_s
            )
            assert responsible[0].team.area_id == site.area_id, (site.site_id, kind)
            assert all(one.shifts for one in responsible), (site.site_id, kind)
            assert responsible[-1].team.area_id == "330400", "the duty room of the city is called last"
