"""Tests that incidents follow the anomalies in the database: exactly once, restartable, area by area."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from analytics.incidents.state_machine import apply_event
from analytics.service import incident_maintenance
from analytics.service.service_state import ServiceState
from ingest_service.storage.contract.incidents import IncidentQuery, IncidentUpdate, PlannedMaintenance
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.incident_world import TRAVEL_S, anomaly_at, maintain, series_anomaly, town

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.incidents import Incident

EVERYTHING = IncidentQuery(limit=1000)


@pytest.fixture(params=["plain_dsn", "timescale_dsn"])
def store(request: pytest.FixtureRequest) -> Iterator[PostgresStore]:
    dsn = request.getfixturevalue(request.param)
    migrate(dsn)
    opened = PostgresStore.open(dsn)
    opened.enrol(town("b"))
    opened.enrol(town("a", links_to="b"))
    yield opened
    opened.close()


def found(store: PostgresStore) -> list[Incident]:
    return sorted(Incidents(store).found(EVERYTHING), key=lambda one: one.incident_id)


def test_an_event_that_crosses_towns_is_one_incident_and_a_restart_repeats_nothing(
    store: PostgresStore,
) -> None:
    start_s = time.time() - 5 * 3600
    store.record_anomalies([series_anomaly(store, "a-r0", "ammonia_nitrogen", start_s)])
    maintain(store)
    (one,) = found(store)
    assert (one.kind, one.state, one.alarm_state, one.annunciations) == ("water", "new", "unacknowledged", 1)
    maintain(store)  # a new process, and nothing new
    assert found(store) == [one]

    later = [
        series_anomaly(store, "a-r2", "ammonia_nitrogen", start_s + 2 * TRAVEL_S),
        anomaly_at("b-r0", start_s + 3 * TRAVEL_S, detector="cause/sewage"),
    ]
    store.record_anomalies(later)
    maintain(store)
    (one,) = found(store)
    assert one.cause == "sewage"
    assert one.site_ids == ["a-r0", "a-r2", "b-r0"]
    assert (one.area_id, one.area_ids, one.priority) == ("a", ["a", "b"], 1)
    history = Incidents(store).history(one.incident_id)
    assert [entry.event for entry in history if entry.event != "join"] == ["open", "annunciate", "prioritise"]
    assert [entry.from_state for entry in history if entry.event == "annunciate"] == ["normal"]


def test_an_incident_returns_and_is_withdrawn_with_its_anomalies(store: PostgresStore) -> None:
    long_ago_s = time.time() - 8 * 3600
    ended = series_anomaly(store, "a-r0", "ph", long_ago_s, end_s=long_ago_s + 1800)
    wrong = series_anomaly(store, "a-s0", "traffic_speed", long_ago_s)
    store.record_anomalies([ended, wrong])
    maintain(store)
    by_site = {one.main_site_id: one for one in found(store)}
    assert by_site["a-r0"].alarm_state == "returned_unacknowledged"
    assert by_site["a-s0"].alarm_state == "unacknowledged"
    store.record_anomalies([msgspec.structs.replace(wrong, state="withdrawn")])
    maintain(store)
    by_site = {one.main_site_id: one for one in found(store)}
    assert (by_site["a-s0"].state, by_site["a-s0"].alarm_state) == ("false_alarm", "normal")


def test_a_faulty_area_does_not_hold_up_the_others_and_misses_nothing(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = time.time()
    store.record_anomalies([anomaly_at("a-r0", now_s - 60), anomaly_at("b-s0", now_s - 60)])
    original = incident_maintenance.IncidentMaintenance.group_area

    def fails_for_a(self: object, area: str, *rest: object) -> bool:
        if area == "a":
            raise ValueError("a defect")
        return original(self, area, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(incident_maintenance.IncidentMaintenance, "group_area", fails_for_a)
        state = ServiceState()
        maintain(store, state)
        assert [one.main_site_id for one in found(store)] == ["b-s0"]
        assert state.backoff("maintain_incidents").failed_items() == {"a"}
    state.backoff("maintain_incidents").retry_now("a")
    maintain(store, state)
    assert [one.main_site_id for one in found(store)] == ["b-s0", "a-r0"]


def test_a_person_and_the_service_change_an_incident_at_the_same_time_and_both_changes_stay(
    store: PostgresStore,
) -> None:
    now_s = time.time()
    store.record_anomalies([series_anomaly(store, "a-r0", "ph", now_s - 600)])
    maintain(store)
    (one,) = found(store)
    incidents = Incidents(store)
    at_the_same_time = threading.Event()
    original = Incidents.apply

    def acknowledged_before(self: Incidents, *args: object, **kwargs: object) -> list[Incident]:
        if not at_the_same_time.is_set():
            at_the_same_time.set()
            changed, entries = apply_event(one, "acknowledge", who="Wang Fang", role="operator", at_s=now_s)
            original(incidents, [IncidentUpdate(incident=changed, entries=entries)])
        return original(self, *args, **kwargs)  # type: ignore[arg-type]

    store.record_anomalies([series_anomaly(store, "a-r0", "turbidity", now_s - 500)])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Incidents, "apply", acknowledged_before)
        maintain(store)
    (after,) = found(store)
    assert (after.alarm_state, after.acknowledged_by, after.anomalies) == ("acknowledged", "Wang Fang", 2)


def test_planned_work_keeps_anomalies_out_until_it_is_over_and_lists_them(store: PostgresStore) -> None:
    now_s, incidents = time.time(), Incidents(store)
    work = incidents.add_maintenance(
        PlannedMaintenance(site_id="a-r1", from_s=now_s - 3600, to_s=now_s + 3600, who="Li", why="new probe")
    )
    store.record_anomalies([anomaly_at("a-r1", now_s - 1800)])
    maintain(store)
    assert found(store) == []
    (listed,) = incidents.suppressed(now_s - 7200, now_s, limit=10)
    assert (listed.reason, listed.incident_id, bool(listed.reason_zh)) == ("maintenance", None, True)
    incidents.delete_maintenance(work.maintenance_id)
    maintain(store)
    (one,) = found(store)
    assert (one.main_site_id, one.alarm_state) == ("a-r1", "unacknowledged")
    assert incidents.suppressed(now_s - 7200, now_s, limit=10) == []


def test_every_anomaly_is_in_an_incident_or_listed_with_a_reason(store: PostgresStore) -> None:
    now_s = time.time()
    flapping = [
        series_anomaly(store, "a-r0", "ph", at_s, end_s=at_s + 120, severity=1 + k % 3)
        for k, at_s in enumerate(range(int(now_s) - 7200, int(now_s) - 600, 400))
    ]
    store.record_anomalies(flapping)
    maintain(store)
    (one,) = found(store)
    assert (one.cause, one.kind, one.annunciations) == ("chattering", "device", 1)
    members = Incidents(store).members([one.incident_id])
    assert len(members) == len(flapping)
    assert {member.reason for member in members if member.role == "suppressed"} == {"chattering"}
