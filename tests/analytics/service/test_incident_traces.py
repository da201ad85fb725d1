"""Tests that the service traces severe incidents on the river, once for each state of their anomalies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from analytics.service import incident_traces
from analytics.service.incident_traces import trace_incidents
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from analytics.service.source_posterior import SourcePosteriorAnswer
from ingest_service.storage.contract.incidents import IncidentQuery
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.incident_world import TRAVEL_S, anomaly_at, maintain, series_anomaly
from tests.support.traced_river import add_cloud, traced_river

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.incidents import IncidentTrace

NOW_S = time.time()
PASSED_S = NOW_S - 5 * 3600  # the cloud at a-r1


@pytest.fixture
def store(plain_dsn: str) -> Iterator[PostgresStore]:
    """A river on which a cloud passed a-r1 and a-r2, and not a-r0."""
    migrate(plain_dsn)
    opened = PostgresStore.open(plain_dsn)
    opened.enrol(traced_river())
    add_cloud(opened, passed_s=PASSED_S, now_s=NOW_S)
    yield opened
    opened.close()


def traces(store: PostgresStore) -> list[IncidentTrace]:
    incidents = Incidents(store)
    ids = [one.incident_id for one in incidents.found(IncidentQuery())]
    return sorted(incidents.traces(ids).values(), key=lambda one: one.incident_id)


def run(store: PostgresStore, state: ServiceState | None = None) -> None:
    maintain(store)
    trace_incidents(store, Settings(trace_again_s=0), service_state=state or ServiceState())


def test_a_severe_incident_has_one_trace_which_is_revised_when_its_anomalies_change(
    store: PostgresStore,
) -> None:
    store.record_anomalies([anomaly_at("a-r1", PASSED_S - 1800, detector="cause/sewage", severity=3)])
    run(store)
    (first,) = traces(store)
    assert first.posterior is not None
    answer = msgspec.convert(first.posterior, SourcePosteriorAnswer)
    assert answer.candidates[0].node_id == "a-o", "a-r0 above it stayed clean, and a-r1 did not"
    assert answer.candidates[0].probability > 0.9

    run(store)  # a new process, and nothing new
    assert traces(store) == [first]

    store.record_anomalies([series_anomaly(store, "a-r2", "ammonia_nitrogen", PASSED_S + 1800)])
    run(store)
    (second,) = traces(store)
    assert (second.times_computed, second.inputs == first.inputs) == (2, False)
    assert second.posterior is not None
    assert second.posterior["sensors"] == ["a-r0", "a-r1", "a-r2"]


def test_the_trace_begins_when_its_anomaly_is_grouped_and_not_at_the_next_poll(store: PostgresStore) -> None:
    store.record_anomalies([anomaly_at("a-r1", PASSED_S - 1800, detector="cause/sewage", severity=3)])
    state = ServiceState(traces_due_s=time.monotonic() + 3600)
    trace_incidents(store, Settings(), service_state=state)
    assert traces(store) == []
    maintain(store, state)
    trace_incidents(store, Settings(), service_state=state)
    assert len(traces(store)) == 1


def test_what_is_slight_or_on_the_road_is_not_traced(store: PostgresStore) -> None:
    store.record_anomalies(
        [
            anomaly_at("a-r1", PASSED_S, severity=1),
            series_anomaly(store, "a-s0", "traffic_speed", PASSED_S, severity=3),
        ]
    )
    run(store)
    assert traces(store) == []


def test_an_incident_whose_trace_fails_is_put_off_and_the_others_are_traced(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record_anomalies([anomaly_at("a-r1", NOW_S - 24 * 3600, severity=3, end_s=NOW_S - 23 * 3600)])
    maintain(store)
    store.record_anomalies([anomaly_at("a-r2", PASSED_S + TRAVEL_S, severity=3)])
    maintain(store)
    older, newer = sorted(one.incident_id for one in Incidents(store).found(IncidentQuery()))
    original = incident_traces._trace

    def fails_for_newer(*arguments: Any) -> None:
        if arguments[3].incident_id == newer:
            raise ValueError("a defect")
        original(*arguments)

    state = ServiceState()
    with monkeypatch.context() as patched:
        patched.setattr(incident_traces, "_trace", fails_for_newer)
        run(store, state)
    assert [one.incident_id for one in traces(store)] == [older]
    assert state.backoff("trace_incidents").failed_items() == {str(newer)}
