"""Tests the periodic service on a real TimescaleDB: rollups, silent devices, and a standby process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.service import process
from analytics.service.incident_maintenance import maintain_incidents
from analytics.service.incident_traces import trace_incidents
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from analytics.service.site_anomalies import judge_sites
from analytics.service.time_slice import UNLIMITED
from edge.wire import federation
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import AnomalyQuery, Directory, Link, Node, Series
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.federated_incidents import FederatedIncidents
from ingest_service.storage.postgres.federated_rows import FederatedRows
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.demo_store import fill_with_demo
from tests.support.federated_towns import (
    COUNTY_DIRECTORY,
    OTHER_TOWN,
    columns,
    definitions,
    forwarded_anomaly,
    forwarded_incident,
    sender,
)
from tests.support.processes import wait_until
from tests.support.store_samples import readings

if TYPE_CHECKING:
    import pytest


PLACE: dict[str, Any] = {"en": "N", "zh": "点", "lon": 120.5, "lat": 30.7}


def test_the_service_brings_everything_up_to_date(
    timescale_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "roll_up", lambda *_: None)
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    fill_with_demo(store, days=1.0)
    monkeypatch.undo()
    assert store.health().rollups_due > 1000
    stop = threading.Event()
    threads = [
        threading.Thread(target=process.run, args=(store, Settings(period_s=0.1), stop)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: store.health().rollups_due == 0, within_s=60, what="the rollups are up to date")
    stop.set()
    for thread in threads:
        thread.join(30)
    silent = store.anomalies(AnomalyQuery(detectors=["silence"]))
    assert {one.device_id for one in silent if one.state == "open"} == {"330402-d1-r05"}
    store.close()


def test_no_task_fails_once_a_town_forwards(timescale_dsn: str) -> None:
    """The judge of sites failed for ever (KeyError) on the first reading that another platform judges."""
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(COUNTY_DIRECTORY)
    rows = FederatedRows(store)
    quantities = ("ph", "turbidity", "occupancy", "traffic_flow")
    series = [federation.ForwardedSeries(site_id="s1", quantity=one, interval_s=300.0) for one in quantities]
    rows.store_definitions(sender(), definitions(series=series))
    ends = [
        Node(node_id=site_id, network="river", area_id=OTHER_TOWN, kind="section", site_id=site_id, **PLACE)
        for site_id in ("s1", "county-site")
    ]
    reach = Link(
        link_id="l", network="river", from_node="s1", to_node="county-site", length_m=900, speed_m_s=0.3,
        en="L", zh="段",
    )  # fmt: skip
    own = [Series(site_id="county-site", quantity=one) for one in ("turbidity", "occupancy")]
    store.enrol(Directory(series=own, nodes=ends, links=[reach]))

    now_us = int(time.time()) // 300 * 300_000_000
    measured = readings(0, range(-400, 0))
    measured["time_us"] = now_us + np.arange(-400, 0) * 300_000_000
    measured["received_us"] = measured["time_us"]
    for one in quantities:
        rows.store_readings(sender(2), [columns(measured, quantity=one)])
    for each in store.directory().judged_here().series:
        measured["series_id"] = each.series_id
        store.commit(Batch(measured.copy()))
    start_us = now_us - 7_200_000_000
    rows.store_anomalies(
        sender(3), [forwarded_anomaly(start_us=start_us, peak_us=start_us, evidence={"quantities": []})]
    )
    FederatedIncidents(rows).store(sender(4), [forwarded_incident(1, opened_s=start_us / 1e6)])

    service_state = ServiceState()
    for task in (*process.TASKS, judge_sites):  # its first turn only notes how far the areas are
        service_state.site_judging.next_s = 0.0
        process._run_task(task, store, Settings(), UNLIMITED, service_state)
    failed = {name: sorted(one.failed_items()) for name, one in service_state._backoffs.items()}
    assert {name: items for name, items in failed.items() if items} == {}
    assert service_state.site_judging.until.keys() == service_state.diagnosed_days.keys() == {OTHER_TOWN}
    store.close()


def test_a_task_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def broken(*_: Any) -> None:
        raise RuntimeError("a defect")

    stop = threading.Event()

    def works(*_: Any) -> None:
        done.append("works")
        stop.set()

    monkeypatch.setattr(process, "TASKS", (broken, works))
    with MemoryStore().shard("analytics") as lease:
        assert lease is not None
        process._run_rounds(MemoryStore(), Settings(), lease, stop)
    assert done == ["works"]


def test_incidents_are_traced_between_two_tasks_and_not_only_once_a_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a busy machine a round took 20 s, in which a severe anomaly had no trace."""
    done: list[str] = []
    stop = threading.Event()

    def task(name: str) -> Any:
        def works(*_: Any) -> None:
            done.append(name)
            if name == "last":
                stop.set()

        works.__name__ = name
        return works

    assert (maintain_incidents, trace_incidents) == process.PROMPT_TASKS
    monkeypatch.setattr(process, "TASKS", (task("long"), task("last")))
    monkeypatch.setattr(process, "PROMPT_TASKS", (task("trace"),))
    with MemoryStore().shard("analytics") as lease:
        assert lease is not None
        process._run_rounds(MemoryStore(), Settings(period_s=0), lease, stop)  # every task is a long one
    assert done == ["trace", "long", "trace", "last"]
