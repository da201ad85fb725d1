"""Tests the revision by late readings of a recorded sonde on a real database."""

from __future__ import annotations

import csv
import gzip
import itertools
import threading
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from analytics.service import process
from analytics.service.rejudge_late_data import rejudge
from analytics.service.settings import Settings
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import wait_until
from tests.support.river_pipeline import SectionPipeline

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SETTINGS = Settings()
DAY = 288  # readings


def test_recorded_readings_on_a_real_database(timescale_dsn: str, recorded: Path) -> None:
    """Two months of a sonde, of which a tenth and three whole stretches come late, before two services."""
    time_s, value = sonde(recorded)
    random = np.random.default_rng(7)
    late = random.random(len(value)) < 0.1
    for begin in (1500, 3000, 4200):
        late[begin : begin + 150] = True
    late[-500:] = False
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    river = SectionPipeline(store)
    river.send_late(time_s, value, late)
    judged_without = river.compared_anomalies()
    stop = threading.Event()
    settings = Settings(period_s=0.1, rejudge_days=100, rejudge_reach_days=100)
    threads = [threading.Thread(target=process.run, args=(store, settings, stop)) for _ in range(2)]
    threads += [threading.Thread(target=rejudge, args=(store, settings)) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(
        lambda: store.health().rejudge_due == store.health().rollups_due == 0, within_s=60, what="corrected"
    )
    stop.set()
    for thread in threads:
        thread.join(30)
    in_order = SectionPipeline(MemoryStore())  # as if nothing had come late
    in_order.send(time_s, value)
    assert river.flags() == in_order.flags()
    assert river.compared_anomalies() == in_order.compared_anomalies() != judged_without
    assert all(one.evidence["rejudged"] for one in river.anomalies("withdrawn"))
    store.close()


def sonde(recorded: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two months of pH of Main Street, Logan River: times [s] and values, without what is missing."""
    with gzip.open(recorded / "logan_river" / "MainStreet2019.csv.gz", "rt") as file:
        rows = [
            (datetime.fromisoformat(f"{row['datetime']}Z").timestamp(), float(row["ph"]))
            for row in itertools.islice(csv.DictReader(file), 5760)
            if row["ph"] not in {"NULL", "-9999"}
        ]
    time_s, value = np.array(rows).T
    return time_s, value
