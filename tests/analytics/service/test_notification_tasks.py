"""Tests escalation and sending on a real database with strict fake messengers: exactly one row, no flood."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from analytics.incidents.state_machine import apply_event
from analytics.notification.http_client import HttpClient
from analytics.service.incident_escalation import escalate
from analytics.service.send_notifications import send_notifications
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from ingest_service.storage.contract.duty import Coverage, GridCell, Roster, Rotation, Team, TeamMember
from ingest_service.storage.contract.incidents import HistoryEntry, Incident, IncidentUpdate
from ingest_service.storage.contract.notifications import (
    MemberPreferences,
    Notification,
    NotificationChannel,
    NotificationQuery,
    Preference,
)
from ingest_service.storage.postgres.duty import DutyStore
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.notifications import NotificationStore
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.fake_messengers import SIGN_KEY, FakeMessengers, serve_messengers
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AREA = "330483-d1"
START_S = 1_795_000_000.0
SQUARE = [[[120.4, 30.6], [120.6, 30.6], [120.6, 30.8], [120.4, 30.8], [120.4, 30.6]]]
CLIENT = HttpClient(["127.0.0.0/8"])


class Platform:
    """A database with a team, a roster and robots, and the tasks of the service at a chosen time."""

    def __init__(self, store: PostgresStore, fakes: FakeMessengers, folder: Path) -> None:
        self.store, self.fakes, self.folder = store, fakes, folder
        self.now_s = START_S
        self.settings = Settings(secrets_folder=folder, public_url="https://twin.example.org")
        self.duty, self.outbox = DutyStore(store), NotificationStore(store)
        self.incidents = Incidents(store)
        self.state = self.new_state()

    def new_state(self) -> ServiceState:
        """Return the state of a process that has just started."""
        state = ServiceState()
        state.notifications.client = CLIENT
        return state

    def add_robot(self, kind: Any, robot: str) -> None:
        """Add a channel, with its secrets as files."""
        (self.folder / AREA).mkdir(exist_ok=True)
        (self.folder / AREA / f"{robot}-url").write_text(getattr(self.fakes, kind)(robot))
        (self.folder / AREA / "sign").write_text(SIGN_KEY)
        self.outbox.replace_channel(
            NotificationChannel(
                channel_id=robot,
                area_id=AREA,
                kind=kind,
                en=robot,
                zh="群",
                url_secret=f"{robot}-url",
                sign_secret="sign" if kind != "wecom" else None,
            )
        )

    def add_team(self, channels: list[str]) -> None:
        """Add a team of two with a roster, and a supervisor in the county."""
        self.duty.replace_cells(
            [
                GridCell(
                    cell_id="g1",
                    area_id=AREA,
                    en="cell",
                    zh="网格",
                    setting="village",
                    geometry={"type": "Polygon", "coordinates": SQUARE},
                )
            ]
        )
        members = [
            TeamMember(member_id="wang", name="王芳", role="leader"),
            TeamMember(member_id="li", name="李明"),
        ]
        self.duty.replace_team(
            Team(
                team_id="water",
                area_id=AREA,
                en="Water",
                zh="水务队",
                coverage=[Coverage(cell_id="g1", kind="water")],
                members=members,
                channels=channels,
            )
        )
        self.duty.replace_team(
            Team(
                team_id="county",
                area_id="330483",
                en="County",
                zh="市级",
                members=[TeamMember(member_id="chief", name="陈主任", role="supervisor")],
            )
        )
        rotation = Rotation(members=["li"], starts="2026-01-01T00:00:00+08:00")
        self.duty.replace_roster(
            Roster(roster_id="r1", area_id=AREA, team_id="water", en="r", zh="班", rotations=[rotation])
        )

    def open_incident(self, **changed: Any) -> Incident:
        """Open an incident at the present."""
        values: dict[str, Any] = {
            "area_id": AREA,
            "area_ids": [AREA],
            "main_site_id": "s1",
            "kind": "water",
            "cause": "sewage",
            "priority": 1,
            "started_s": self.now_s,
            "last_s": self.now_s,
            "opened_s": self.now_s,
        }
        entry = HistoryEntry(machine="record", event="open", who="service", at_s=self.now_s)
        update = IncidentUpdate(incident=Incident(**values | changed), entries=[entry])
        return self.incidents.apply([update])[0]

    def change(self, incident: Incident, event: str) -> Incident:
        """Apply an event to an incident."""
        newest = self.incidents.incident(incident.incident_id)
        assert newest is not None
        changed, entries = apply_event(newest, event, who="wang", role="service", at_s=self.now_s, why="so")
        return self.incidents.apply([IncidentUpdate(incident=changed, entries=entries)])[0]

    def run(self, *, for_s: float = 0.0, step_s: float = 10.0) -> None:
        """Run the two tasks at the present, and every ``step_s`` for some time [s]."""
        ends_s = self.now_s + for_s
        while True:
            self.fakes.now_s = self.now_s
            escalate(self.store, self.settings, service_state=self.state, now_s=self.now_s)
            send_notifications(self.store, self.settings, service_state=self.state, now_s=self.now_s)
            if self.now_s >= ends_s:
                return
            self.now_s += step_s

    def rows(self) -> list[Notification]:
        """Return the outbox, oldest first."""
        return self.outbox.found(NotificationQuery(limit=10_000))[::-1]


@pytest.fixture(scope="module")
def fakes() -> Iterator[FakeMessengers]:
    with serve_messengers() as served:
        yield served


@pytest.fixture
def platform(timescale_dsn: str, fakes: FakeMessengers, tmp_path: Path) -> Iterator[Platform]:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    fakes.reset()
    yield Platform(store, fakes, tmp_path)
    store.close()


def test_an_urgent_incident_is_escalated_step_by_step_each_once(platform: Platform) -> None:
    platform.add_robot("wecom", "group")
    platform.add_team(["group"])
    incident = platform.open_incident()
    platform.run()
    assert [(one.step, one.member_id, one.channel_id, one.state) for one in platform.rows()] == [
        ("opened", "li", "group", "sent")
    ]
    ((_, text),) = platform.fakes.messages["group"]
    assert "疑似污水：新事件" in text
    assert "(https://twin.example.org/acknowledge/" in text
    platform.run(for_s=700.0)
    platform.state = platform.new_state()  # a restart repeats nothing
    platform.run(for_s=20.0)
    found = Counter((one.step, one.member_id, one.channel_id) for one in platform.rows())
    assert set(found) == {
        ("opened", "li", "group"),
        ("unacknowledged", "li", "group"),
        ("unacknowledged", "wang", "group"),
        ("still unacknowledged", "chief", "console"),
        ("dispatch late", "li", "group"),
        ("dispatch late", "chief", "console"),
    }
    assert set(found.values()) == {1}
    assert {one.state for one in platform.rows()} == {"sent"}
    deadlines = {one.phase: one for one in platform.outbox.deadlines([incident.incident_id])}
    assert {phase: one.due_s - START_S for phase, one in deadlines.items()} == {
        "acknowledge": 300.0,
        "file": 600.0,
        "dispatch": 600.0,
    }
    assert all(one.is_late(platform.now_s) for one in deadlines.values())


def test_deadlines_end_with_their_phases(platform: Platform) -> None:
    platform.add_team([])
    incident = platform.open_incident()
    platform.run()
    platform.now_s += 60
    for event in ("acknowledge", "file"):
        platform.change(incident, event)
    platform.now_s += 60
    with_team = platform.incidents.incident(incident.incident_id)
    assert with_team is not None
    with_team = msgspec.structs.replace(
        with_team, team_id="water", state="dispatched", dispatched_s=platform.now_s
    )
    entry = HistoryEntry(machine="workflow", event="dispatch", who="wang", at_s=platform.now_s)
    platform.incidents.apply([IncidentUpdate(incident=with_team, entries=[entry])])
    platform.run()
    found = {one.phase: one for one in platform.outbox.deadlines([incident.incident_id])}
    assert {phase: one.met_s and one.met_s - START_S for phase, one in found.items()} == {
        "acknowledge": 60.0, "file": 60.0, "dispatch": 120.0, "handle": None,
    }  # fmt: skip
    assert found["handle"].due_s == START_S + 120.0 + 2 * 3600.0
    reported = platform.incidents.incident(incident.incident_id)
    assert reported is not None
    platform.now_s += 600
    reported = msgspec.structs.replace(reported, state="reported", reported_s=platform.now_s)
    platform.incidents.apply([IncidentUpdate(incident=reported, entries=[entry])])
    platform.run()
    found = {one.phase: one for one in platform.outbox.deadlines([incident.incident_id])}
    assert found["handle"].met_s == platform.now_s
    assert found["verify"].due_s == platform.now_s + 2 * 3600.0, "the cell is in a village"
    assert {one.member_id for one in platform.rows() if one.step == "dispatched"} == {"wang", "li"}


def test_what_is_acknowledged_or_over_before_it_is_sent_is_suppressed_with_its_reason(
    platform: Platform,
) -> None:
    platform.add_robot("wecom", "group")
    platform.add_team(["group"])
    platform.fakes.away.add("group")
    incident = platform.open_incident()
    platform.run(for_s=310.0)
    assert {one.state for one in platform.rows() if one.channel_id == "group"} == {"waiting"}
    platform.change(incident, "acknowledge")
    platform.fakes.away.clear()
    platform.run(for_s=950.0, step_s=30.0)
    found = {(one.step, one.channel_id): one for one in platform.rows()}
    assert found["opened", "group"].state == "sent"
    assert found["unacknowledged", "group"].state == "suppressed"
    assert found["unacknowledged", "group"].detail == "the incident is acknowledged"
    assert found["opened", "console"].state == "sent", "it went to the console while the robot was away"


def test_a_dead_messenger_delays_no_other(platform: Platform) -> None:
    for kind, robot in (("wecom", "hangs"), ("feishu", "works")):
        platform.add_robot(kind, robot)
    platform.add_team(["hangs", "works"])
    platform.fakes.hanging.add("hangs")
    began_s = time.monotonic()
    platform.open_incident()
    platform.run()
    assert time.monotonic() - began_s < 10.0, "a round waits for no messenger: this one hangs for 20 s"
    while not platform.fakes.messages["works"] and time.monotonic() < began_s + 10:
        platform.now_s += 1
        platform.run()
    assert len(platform.fakes.messages["works"]) == 1
    assert platform.fakes.requests["hangs"] == 1, "one message at a time"
    platform.fakes.released.set()
    platform.fakes.hanging.clear()
    deadline_s = time.monotonic() + 20
    while not platform.fakes.messages["hangs"] and time.monotonic() < deadline_s:
        platform.now_s += 1
        platform.run()
    assert len(platform.fakes.messages["hangs"]) == 1


def test_a_process_that_ends_before_the_response_sends_again_and_within_the_rate(platform: Platform) -> None:
    platform.add_robot("dingtalk", "group")
    platform.add_team(["group"])
    platform.open_incident()
    real_end = NotificationStore.end_delivery
    for _ in range(6):  # each process ends after it has sent, and before it has recorded that

        class _EndedError(Exception):
            pass

        def end(*_args: Any, **_options: Any) -> None:
            raise _EndedError

        NotificationStore.end_delivery = end  # type: ignore[method-assign]
        try:
            platform.run()
        except _EndedError:
            pass
        finally:
            NotificationStore.end_delivery = real_end  # type: ignore[method-assign]
        platform.state = platform.new_state()
    assert 2 <= len(platform.fakes.messages["group"]) <= 4, "at least once; repeats are limited"
    assert platform.fakes.refusals["group"] == []
    platform.run(for_s=700.0)
    assert {one.state for one in platform.rows() if one.step == "opened"} == {"sent"}
    assert len([one for one in platform.rows() if one.step == "opened"]) == 1


def test_a_storm_of_incidents_is_ten_messages_in_ten_minutes_at_most(platform: Platform) -> None:
    platform.add_robot("dingtalk", "group")
    platform.add_robot("feishu", "own")
    platform.add_team(["group", "own"])
    for _ in range(24):  # 96 incidents of all priorities in 12 min
        for number in range(4):
            platform.open_incident(priority=1 + number % 4)
        platform.run(for_s=30.0, step_s=15.0)
    times = sorted(at for robot in ("group", "own") for at, _ in platform.fakes.messages[robot])
    most = max(sum(start <= one < start + 600 for one in times) for start in times)
    assert 8 <= most <= 10
    assert platform.fakes.refusals == {}
    platform.run(for_s=900.0, step_s=60.0)
    opened = [one for one in platform.rows() if one.step == "opened"]
    assert len(opened) == 192
    assert {one.state for one in opened} == {"sent"}
    times = sorted(at for robot in ("group", "own") for at, _ in platform.fakes.messages[robot])
    assert max(sum(start <= one < start + 600 for one in times) for start in times) <= 10


def test_quiet_hours_and_own_channels_hold_by_priority(platform: Platform) -> None:
    for robot in ("group", "own"):
        platform.add_robot("wecom", robot)
    platform.add_team(["group"])
    night = Preference(priority=3, channels=["own"], quiet_from="00:00", quiet_to="23:59")
    platform.duty.replace_preferences(
        MemberPreferences(
            member_id="li", area_id=AREA, preferences=[night, Preference(priority=1, channels=["own"])]
        )
    )
    for priority in (1, 2, 3):
        platform.open_incident(priority=priority)
    platform.run()
    found = {one.priority: (one.channel_id, one.state) for one in platform.rows()}
    assert found == {1: ("own", "sent"), 2: ("group", "sent"), 3: ("own", "waiting")}


def test_an_unusable_channel_is_reported_and_the_console_shows_what_it_should_have_sent(
    platform: Platform,
) -> None:
    platform.add_team(["missing"])
    platform.open_incident()
    platform.run()
    platform.now_s += 1
    platform.run()
    found = {one.channel_id: one for one in platform.rows()}
    assert (found["missing"].state, found["missing"].detail) == ("waiting", "there is no channel 'missing'")
    assert found["console"].state == "sent"
