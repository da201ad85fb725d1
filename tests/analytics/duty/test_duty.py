"""Tests the calendar, cells, rosters, deadlines and escalation as pure functions."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.duty.deadlines import deadlines_of, due_steps
from analytics.duty.errors import DutyError
from analytics.duty.grid_cells import CellIndex
from analytics.duty.policy import DutyPolicy, read_policy
from analytics.duty.responsibility import DutyIndex
from analytics.duty.rosters import shift_at
from analytics.duty.working_calendar import (
    WorkingHours,
    add_working_days,
    add_working_hours,
    is_published,
    is_working_day,
    local_datetime,
)
from ingest_service.storage.contract.duty import (
    Coverage,
    DutyPlan,
    GridCell,
    Roster,
    RosterOverride,
    Rotation,
    Team,
    TeamMember,
)
from ingest_service.storage.contract.incidents import Incident
from ingest_service.storage.contract.models import Site

# From the notices of the State Council: 国办发明电〔2024〕12号 for 2025, 〔2025〕7号 for 2026.
HOLIDAYS = {
    "2025-01-01": 1, "2025-01-28": 8, "2025-04-04": 3, "2025-05-01": 5, "2025-05-31": 3, "2025-10-01": 8,
    "2026-01-01": 3, "2026-02-15": 9, "2026-04-04": 3, "2026-05-01": 5, "2026-06-19": 3, "2026-09-25": 3,
    "2026-10-01": 7,
}  # fmt: skip
WORKED_WEEKENDS = {
    "2025-01-26", "2025-02-08", "2025-04-27", "2025-09-28", "2025-10-11",
    "2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10",
}  # fmt: skip
POLICY = read_policy()
SQUARE = [[[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0], [0.0, 0.0]]]
SMALL = [[[1.0, 1.0], [1.5, 1.0], [1.5, 1.5], [1.0, 1.5], [1.0, 1.0]]]


def at(text: str) -> float:
    return datetime.fromisoformat(text + "+08:00").timestamp()


def test_the_calendar_is_that_of_the_state_council() -> None:
    free = {
        date.fromisoformat(first) + timedelta(days=day)
        for first, days in HOLIDAYS.items()
        for day in range(days)
    }
    day = date(2025, 1, 1)
    while day <= date(2026, 12, 31):
        expected = day.isoformat() in WORKED_WEEKENDS or (day.weekday() < 5 and day not in free)
        assert is_working_day(day) == expected, day
        assert is_published(day)
        day += timedelta(days=1)
    assert not is_published(date(2099, 1, 5))
    assert is_working_day(date(2099, 1, 5)), "a Monday of a year whose holidays nobody knows"


@pytest.mark.parametrize(
    ("start", "hours", "end"),
    [
        ("2026-11-27T16:30", 2, "2026-11-30T09:30"),
        ("2026-11-28T12:00", 1, "2026-11-30T09:30"),  # a Saturday
        ("2026-09-30T17:00", 1, "2026-10-08T09:00"),  # seven days of holidays between
        ("2026-10-09T17:00", 1, "2026-10-10T09:00"),  # a Saturday that is worked
        ("2026-11-27T08:00", 9, "2026-11-27T17:30"),
        ("2026-11-27T08:00", 9.5, "2026-11-30T09:00"),
    ],
)
def test_working_hours(start: str, hours: float, end: str) -> None:
    assert local_datetime(add_working_hours(at(start), hours)).isoformat()[:16] == end


@given(st.integers(1_735_700_000, 1_798_000_000), st.floats(0.1, 60), st.floats(0.1, 60))
@settings(max_examples=100, deadline=None)
def test_working_hours_add_up(start_s: int, first: float, second: float) -> None:
    together = add_working_hours(start_s, first + second)
    assert add_working_hours(add_working_hours(start_s, first), second) == pytest.approx(together, abs=0.01)
    assert is_working_day(local_datetime(together - 0.01).date())


def test_working_days_and_hours_without_end_are_refused() -> None:
    assert local_datetime(add_working_days(at("2026-09-30T10:00"), 2)).isoformat()[:16] == "2026-10-09T17:30"
    with pytest.raises(ValueError, match="check the working hours"):
        add_working_hours(0.0, 1.0, WorkingHours("09:00", "09:00"))
    with pytest.raises(ValueError, match="give one at least"):
        add_working_days(0.0, 0)


def cell(cell_id: str, coordinates: Any, **changed: Any) -> GridCell:
    geometry = {"type": "Polygon", "coordinates": coordinates}
    return GridCell(cell_id=cell_id, area_id="a", en="x", zh="x", geometry=geometry, **changed)


def site(lon: float, lat: float, grid_cell: str | None = None) -> Site:
    return Site(site_id="s", area_id="a", kind="x", en="x", zh="x", lon=lon, lat=lat, grid_cell=grid_cell)


def test_a_point_is_in_the_smallest_cell_and_a_site_in_the_one_that_it_names() -> None:
    index = CellIndex([cell("large", SQUARE), cell("small", SMALL), cell("off", SMALL, enabled=False)])
    found = [index.cell_at(*point) for point in ((0.5, 0.5), (1.2, 1.2), (2.0, 2.0), (3.0, 0.0))]
    assert [one and one.cell_id for one in found] == ["large", "small", "large", None]
    assert index.cell_of_site(site(1.2, 1.2, "large")) == cell("large", SQUARE)
    for named in ("off", "unknown"):
        assert index.cell_of_site(site(1.2, 1.2, named)) == cell("small", SMALL)


def roster(*rotations: Rotation) -> Roster:
    return Roster(roster_id="r", area_id="a", team_id="t", en="r", zh="班", rotations=list(rotations))


DAY = Rotation(
    members=["wang", "li"], starts="2026-11-23T08:00:00+08:00", from_time="08:00", until_time="20:00"
)
NIGHT = Rotation(
    members=["zhao"], starts="2026-11-23T08:00:00+08:00", from_time="20:00", until_time="08:00", days="all"
)


@pytest.mark.parametrize(
    ("moment", "member"),
    [
        ("2026-11-23T08:00", "wang"), ("2026-11-23T19:59", "wang"), ("2026-11-23T20:00", "zhao"),
        ("2026-11-24T07:59", "zhao"), ("2026-11-24T08:00", "li"), ("2026-11-25T12:00", "wang"),
        ("2026-11-23T07:59", None),
    ],
)  # fmt: skip
def test_who_is_on_duty_by_day_and_night(moment: str, member: str | None) -> None:
    found = shift_at(roster(DAY, NIGHT), [], at(moment))
    assert (found and found.member_id) == member
    assert found is None or found.from_s <= at(moment) < found.to_s


def test_rest_days_and_overrides() -> None:
    starts = "2026-01-01T00:00:00+08:00"
    plan = roster(
        Rotation(members=["wang"], starts=starts, days="working"),
        Rotation(members=["li"], starts=starts, days="rest"),
    )
    for moment, member in (("2026-10-01T12:00", "li"), ("2026-10-10T12:00", "wang")):
        found = shift_at(plan, [], at(moment))
        assert found is not None
        assert found.member_id == member
    base = RosterOverride(
        roster_id="r",
        area_id="a",
        member_id="zhao",
        from_s=at("2026-10-01T08:00"),
        to_s=at("2026-10-01T20:00"),
        who="x",
    )
    given_back = msgspec.structs.replace(base, override_id=2, member_id=None, from_s=at("2026-10-01T12:00"))
    overrides = [msgspec.structs.replace(base, override_id=1), given_back]
    members = [
        shift_at(plan, overrides, at(moment))
        for moment in ("2026-10-01T07:59", "2026-10-01T08:00", "2026-10-01T12:00", "2026-10-01T20:00")
    ]
    assert [one and one.member_id for one in members] == ["li", "zhao", "li", "li"]


def test_the_nearest_team_with_the_lowest_rank_is_responsible() -> None:
    def team(team_id: str, area_id: str, *coverage: Coverage, role: Any = "member") -> Team:
        members = [TeamMember(member_id=f"m-{team_id}", name="x", role=role)]
        return Team(
            team_id=team_id, area_id=area_id, en="x", zh="x", coverage=list(coverage), members=members
        )

    teams = [
        team("second", "town", Coverage(kind="water", rank=2)),
        team("first", "town", Coverage(cell_id="g1", kind="water")),
        team("roads", "town", Coverage(kind="traffic")),
        team("county", "county", Coverage(), role="supervisor"),
    ]
    index = DutyIndex(DutyPlan(teams=teams), {"town": "county", "county": None})

    def found(cell_id: str | None, kind: str) -> list[str]:
        responsible = index.responsible(area_id="town", cell_id=cell_id, kind=kind, at_s=0.0)
        return [one.team.team_id for one in responsible]

    assert found("g1", "water") == ["first", "second", "county"]
    assert found(None, "water") == ["second", "county"]
    assert found("g1", "device") == ["county"]
    assert [one.member_id for one in index.supervisors("town")] == ["m-county"]

    # A circle of parents, which a release before its refusal may have stored.
    circle = DutyIndex(DutyPlan(teams=teams[:3]), {"town": "county", "county": "city", "city": "town"})
    assert [one.rank for one in circle.responsible(area_id="town", cell_id=None, kind="water", at_s=0.0)] == [
        2
    ]
    assert circle.supervisors("town") == []


def incident(**changed: Any) -> Incident:
    values: dict[str, Any] = {
        "incident_id": 1, "area_id": "a", "area_ids": ["a"], "main_site_id": "s", "kind": "water",
        "cause": "sewage", "priority": 3, "started_s": 0.0, "last_s": 0.0, "opened_s": at("2026-11-27T16:00"),
    }  # fmt: skip
    return Incident(**values | changed)


def test_an_extension_and_a_hold_move_deadlines_and_what_is_over_stays() -> None:
    opened_s = incident().opened_s
    dispatched = incident(
        state="dispatched", acknowledged_s=opened_s, filed_s=opened_s, dispatched_s=opened_s + 3600
    )
    known = deadlines_of(dispatched, POLICY, setting="town", now_s=opened_s)
    due = {one.phase: one.due_s for one in known}
    assert local_datetime(due["handle"]).isoformat()[:16] == "2026-12-02T17:30", "three working days"
    assert {one.phase for one in known if one.is_late(opened_s + 7200)} == {"dispatch"}
    later_s = at("2026-12-20T00:00")
    extended = msgspec.structs.replace(dispatched, extended_until_s=later_s)
    assert [
        (one.phase, one.due_s)
        for one in deadlines_of(extended, POLICY, setting="town", known=known, now_s=opened_s)
    ] == [("handle", later_s)]
    urgent = msgspec.structs.replace(dispatched, priority=1)
    changed = deadlines_of(urgent, POLICY, setting="town", known=known, now_s=opened_s)
    assert [one.phase for one in changed] == ["handle"], "phases that are over keep their deadlines"


@pytest.mark.parametrize("alarm_state", ["shelved", "suppressed", "out_of_service"])
def test_no_call_for_what_is_suppressed_or_over(alarm_state: Any) -> None:
    later_s = incident().opened_s + 1e6
    assert due_steps(incident(), POLICY, {}, now_s=later_s)
    for changed in ({"alarm_state": alarm_state}, {"state": "closed"}, {"merged_into": 2}):
        assert due_steps(incident(**changed), POLICY, {}, now_s=later_s) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[[deadline]]\nphase = "file"\nminutes = 1\nhours = 1', "give one of minutes"),
        ('[[deadline]]\nphase = "file"\nworking_hours = -1', "give one of minutes"),
        (
            'working_hours = ["09:00", "09:00"]\n[[deadline]]\nphase = "file"\nworking_hours = 1',
            "do not pass",
        ),
        ('[[escalation]]\nstep = "a"\nwhen = "late"\nto = []', "give a phase"),
        ('[[escalation]]\nstep = "a"\nwhen = "opened"\nto = []\n' * 2, "name of its own"),
        ('[[deadline]]\nphase = "sleep"', "sleep"),
        ("[[", "policy.toml"),
    ],
)
def test_a_policy_that_cannot_hold_is_refused_with_its_rule(tmp_path: Any, text: str, sentence: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(DutyError, match=sentence.replace(".", r"\.")):
        read_policy(path)


def test_every_kind_priority_and_setting_has_the_deadlines_of_the_loop() -> None:
    policy: DutyPolicy = POLICY
    for kind in ("water", "traffic", "device", "platform"):
        for priority in (1, 2, 3, 4):
            for setting, verify_s in (("town", 3600.0), ("village", 7200.0)):
                found = {
                    phase: policy.rule_for(phase, kind=kind, priority=priority, setting=setting)
                    for phase in ("acknowledge", "file", "dispatch", "handle", "verify")
                }
                assert None not in found.values()
                limit_s = 600.0 if priority == 1 else 1800.0
                for phase, expected_s in (("file", limit_s), ("dispatch", limit_s), ("verify", verify_s)):
                    rule = found[phase]
                    assert rule is not None
                    assert rule.due_s(0.0, policy.hours) == expected_s
