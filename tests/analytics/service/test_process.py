"""Tests the periodic service on a real TimescaleDB: rollups, silent devices, and a standby process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from analytics.service import process
from analytics.service.incident_maintenance import maintain_incidents
from analytics.service.incident_traces import trace_incidents
from analytics.service.settings import Settings
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.demo_store import fill_with_demo
from tests.support.processes import wait_until

if TYPE_CHECKING:
    import pytest


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
        thread.join(10)
    silent = store.anomalies(AnomalyQuery(detectors=["silence"]))
    assert {one.device_id for one in silent if one.state == "open"} == {"330402-d1-r05"}
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
