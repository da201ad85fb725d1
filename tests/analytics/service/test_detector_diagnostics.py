"""Tests the daily diagnostics of traffic detectors: each fault is identified, a good day gives none."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from analytics.service import detector_diagnostics, process
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Anomaly, AnomalyQuery
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.demo_store import fill_with_demo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest_service.storage.contract.store import Store

    Floats = NDArray[np.float64]

ZONE = ZoneInfo("Asia/Shanghai")
DAY = datetime(2025, 11, 25, tzinfo=ZONE)
SITE, OTHERS = "330483-d1-s01", ("330402-d1-s01", "330421-d1-s01")
N = 204  # ticks from 05:00 to 22:00


def good() -> tuple[Floats, Floats]:
    random = np.random.default_rng(1)
    flow: Floats = 12.0 * random.poisson(30, N).astype(np.float64)
    return flow, flow / 80 + random.uniform(0, 1, N)


def dead() -> tuple[Floats, Floats]:
    return np.zeros(N), np.zeros(N)


def stuck_on() -> tuple[Floats, Floats]:
    flow, occupancy = good()
    occupancy[100:160] = 100
    return flow, occupancy


def chattering() -> tuple[Floats, Floats]:
    flow, occupancy = good()
    flow[50:56] = 0
    return flow, occupancy


def constant() -> tuple[Floats, Floats]:
    flow, occupancy = good()
    occupancy[50:110] = 7
    return flow, occupancy


def enrolled(store: Store) -> dict[tuple[str, str], int]:
    fill_with_demo(store, days=0.02, until_s=DAY.timestamp() - 86_400, plan=[])
    return {(one.site_id, one.quantity): one.series_id for one in store.directory().series}


def commit_day(store: Store, series_id: int, value: Floats) -> None:
    rows = np.zeros(len(value), READING)
    begin_us = round(DAY.replace(hour=detector_diagnostics.DIAGNOSED_FROM_H).timestamp() * 1e6)
    rows["series_id"], rows["value"], rows["quality"] = series_id, value, 1
    rows["time_us"] = begin_us + 300_000_000 * np.arange(len(value))
    rows["received_us"] = rows["time_us"]
    store.commit(Batch(fresh=rows))


def stored_anomalies(store: Store) -> list[Anomaly]:
    return store.anomalies(AnomalyQuery(detectors=list(detector_diagnostics.DETECTORS.values())))


@pytest.mark.parametrize("fault", [dead, stuck_on, chattering, constant])
def test_a_faulty_day_is_one_anomaly_by_its_name(fault: object, timescale_dsn: str) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    ids = enrolled(store)
    for site_id in (SITE, *OTHERS):
        flow, occupancy = fault() if site_id == SITE else good()  # type: ignore[operator]
        commit_day(store, ids[site_id, "traffic_flow"], flow)
        commit_day(store, ids[site_id, "occupancy"], occupancy)
    for _ in range(2):
        for area_id in ("330483-d1", "330402-d1"):
            store.record_anomalies(
                detector_diagnostics.find_faulty_detectors(store, store.directory(), area_id, DAY)
            )
    (one,) = stored_anomalies(store)
    assert one.detector == f"cause/detector_{fault.__name__}"  # type: ignore[attr-defined]
    assert (one.site_id, one.state, one.n_readings) == (SITE, "closed", N)
    assert one.reason_zh
    store.close()


def test_the_days_of_the_simulated_towns_are_good() -> None:
    store = MemoryStore()
    fill_with_demo(store, days=2, until_s=DAY.replace(hour=23).timestamp(), plan=[])
    state = ServiceState()
    detector_diagnostics.diagnose_detectors(store, Settings(), service_state=state)
    assert stored_anomalies(store) == []
    assert set(state.diagnosed_days.values()) == {DAY}
    assert detector_diagnostics.diagnose_detectors in process.TASKS


@pytest.mark.parametrize(("hour", "day"), [(21, 24), (22, 25), (23, 25), (3, 24)])
def test_a_day_counts_when_its_samples_are_all_there(hour: int, day: int) -> None:
    assert detector_diagnostics.last_complete_day(DAY.replace(hour=hour)).day == day
