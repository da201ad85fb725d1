"""Probes in maintenance are flagged and raise nothing; calibrations give drift and a due date."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from httpx import ASGITransport, AsyncClient

from analytics.assessments.probe_drift import LONGEST_INTERVAL_S, WEEK_S, probe_drift
from analytics.core.flags import Flag, Rule
from edge.wire import receipts, senml
from edge.wire.receipts import SpoolPosition
from edge.wire.senml import Record
from ingest_service.pipeline.batch_processor import BatchProcessor
from ingest_service.pipeline.message import Message
from ingest_service.pipeline.settings import Settings
from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.postgres.maintenance import MaintenanceLog
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.audit_entries import audited_actions
from tests.support.gateway_access import HEADERS, gateway_app
from tests.support.processes import run_command
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from httpx import Response


@pytest.fixture
def store(timescale_dsn: str) -> Iterator[PostgresStore]:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    yield store
    store.close()


def ask(store: PostgresStore, method: str, path: str, **body: Any) -> Response:
    async def send() -> Response:
        app = ASGITransport(gateway_app(store), raise_app_exceptions=False)
        async with AsyncClient(transport=app, base_url="http://gateway", headers=HEADERS) as client:
            return await client.request(method, f"/v1/{path}", json=body or None)

    return asyncio.run(send())


def message(number: int, time_s: float, ph: float) -> Message:
    record = Record(name="ph", time_s=time_s, value=ph, unit="pH")
    properties = tuple(receipts.properties_of(SpoolPosition("e", number)))
    return Message(
        "towntwin/v1/330483-d1/d1/data", senml.encode_json([record]), time_s, properties=properties
    )


def test_readings_in_maintenance_are_stored_flagged_and_raise_nothing(store: PostgresStore) -> None:
    begun = ask(store, "POST", "devices/d1/maintenance", action="begin", minutes=60, note="new membrane")
    assert [one["note"] for one in begun.json()] == ["new membrane", "new membrane"]
    assert ask(store, "POST", "devices/d1/maintenance", action="begin").json() == begun.json()
    now_s = time.time()
    skipped_s = [0.0]
    pipeline = BatchProcessor(
        store, Settings(), wait=lambda _: False, clock=lambda: time.time() + skipped_s[0]
    )
    pipeline.open()
    pipeline.ingest([message(1, now_s + 1, 13.7), message(2, now_s + 7200, 7.2)])
    series_id = next(one.series_id for one in store.directory().series if one.quantity == "ph")
    rows = store.readings(series_id, now_s - 60, now_s + 8000, limit=9)
    assert rows["value"].tolist() == [13.7, 7.2]
    assert (rows["quality"][0], rows["rules"][0]) == (Flag.FAIL, Rule.DEVICE)
    assert not rows["rules"][1] & Rule.DEVICE  # the window has ended by itself
    assert store.anomalies(AnomalyQuery()) == []
    ended = ask(store, "POST", "devices/d1/maintenance", action="end").json()
    assert ended[0]["ended_by"] == ended[0]["who"]
    time.sleep(0.01)
    later_s = time.time()
    skipped_s[0] = 60.0  # until ingest has read the directory again
    pipeline.ingest([message(3, later_s, 13.8)])
    (row,) = store.readings(series_id, later_s - 1e-3, later_s + 1e-3, limit=9)
    assert not row["rules"] & Rule.DEVICE
    assert ask(store, "POST", "devices/d1/maintenance", action="end").json() == ended


def test_maintenance_of_one_channel_leaves_the_others(store: PostgresStore) -> None:
    assert len(ask(store, "POST", "devices/d1/maintenance", action="begin", channels=["ph"]).json()) == 1
    assert len(store.directory().maintenance) == 1
    assert ask(store, "POST", "devices/d1/maintenance", action="begin", channels=["no"]).status_code == 422
    assert ask(store, "POST", "devices/nobody/maintenance", action="begin").status_code == 404


def test_calibrations_give_the_drift_and_the_due_date(store: PostgresStore) -> None:
    empty = ask(store, "GET", "series/1/calibrations").json()
    assert (empty["items"], empty["drift_per_week"], empty["due"]) == ([], None, None)
    for day, before in (("01", 7.0), ("08", 7.05), ("15", 7.05)):
        response = ask(
            store, "POST", "series/1/calibrations",
            reference=7.0, before=before, after=7.0, calibrated=f"2026-09-{day}T08:00:00+08:00",
        )  # fmt: skip
        assert response.status_code == 200
    found = response.json()
    assert found["drift_per_week"] == pytest.approx(0.05)
    assert (found["due"], found["is_overdue"]) == ("2026-10-06T00:00:00.000Z", time.time() > 1791244800)
    again = ask(
        store, "POST", "series/1/calibrations",
        reference=7.0, before=7.0, after=7.0, calibrated="2026-09-15T08:00:00+08:00",
    )  # fmt: skip
    assert again.status_code == 409


def test_the_command_does_the_same_and_is_audited(store: PostgresStore, timescale_dsn: str) -> None:
    def probe(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_command("probe", "--dsn", timescale_dsn, *arguments)

    assert "2 series of d1" in probe("begin", "d1", "--who", "Wang").stdout
    assert probe("begin", "d1", "--who", "Wang").returncode == 1
    assert "2 series" in probe("end", "d1", "--who", "Wang").stdout
    calibration = ("--reference", "7", "--before", "7.1", "--after", "7", "--who", "Wang")
    assert "drift unknown" in probe("calibrate", "s1", "ph", *calibration).stdout
    assert "s1/ph: drift unknown, due 20" in probe("report").stdout
    actions = [one for one, _ in audited_actions(store, "probe")]
    assert actions == ["probe begin", "probe end", "probe calibrate"]


def test_a_steady_probe_is_due_after_the_longest_interval() -> None:
    weeks = np.array([0.0, WEEK_S])
    steady = probe_drift(weeks, np.zeros(2), np.zeros(2), tolerance=0.1)
    assert (steady.per_week, steady.due_s) == (0.0, WEEK_S + LONGEST_INTERVAL_S)
    off = probe_drift(weeks, np.array([0.0, 0.2]), np.array([0.0, 0.3]), tolerance=0.1)
    assert off.due_s == WEEK_S  # what the calibration has left is beyond the tolerance


@pytest.mark.parametrize("value", [1.7976931348623157e308, -1e10])
def test_a_calibration_whose_drift_would_overflow_is_refused(store: PostgresStore, value: float) -> None:
    series_id = store.directory().series[0].series_id
    answer = ask(store, "POST", f"series/{series_id}/calibrations", reference=7.0, before=7.1, after=value)
    assert answer.status_code == 422
    assert "after" in answer.text


@pytest.mark.parametrize("minutes", [0.99, 43_201, float("nan"), float("inf"), -5])
def test_the_store_refuses_a_maintenance_out_of_bounds_with_a_sentence(
    store: PostgresStore, minutes: float
) -> None:
    with pytest.raises(StoreRefusedError, match=r"minutes is .*: it has to be from 1 to 43200"):
        MaintenanceLog(store).begin("d1", minutes=minutes, who="w", note="")
    assert MaintenanceLog(store).of("d1") == []


@pytest.mark.parametrize(
    "wrong", [{"reference": float("nan")}, {"before": 2e9}, {"after": float("-inf")}, {"tolerance": 0.0}]
)
def test_the_store_refuses_a_calibration_out_of_bounds_with_a_sentence(
    store: PostgresStore, wrong: dict[str, float]
) -> None:
    values: dict[str, Any] = {"reference": 7.0, "before": 7.1, "after": 7.0, "tolerance": None, **wrong}
    with pytest.raises(StoreRefusedError, match=f"{next(iter(wrong))} is .*: it has to be from"):
        MaintenanceLog(store).calibrate(1, calibrated_s=1e9, who="w", note="", **values)
    assert MaintenanceLog(store).calibrations([1]) == []
