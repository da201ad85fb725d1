"""Tests that the service finds out whether an anomaly is an event on the river or a fault of its sensor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from analytics.quality.verdict_text import verdict_text
from analytics.service.sensor_verdicts import verify_sensors
from analytics.service.settings import Settings
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.sensor_verdicts import SensorVerdicts
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.incident_world import TRAVEL_S, anomaly_at, series_anomaly
from tests.support.traced_river import add_cloud, traced_river

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.sensor_verdicts import StoredVerdict

NOW_S = time.time()
BEGAN_S = NOW_S - 26 * 3600
STEP_S = 600.0


@pytest.fixture
def store(plain_dsn: str) -> Iterator[PostgresStore]:
    """A river on which a cloud of ammonia passed a-r1 and a-r2; the turbidity of a-r1 alone departs."""
    migrate(plain_dsn)
    opened = PostgresStore.open(plain_dsn)
    opened.enrol(traced_river())
    add_cloud(opened, passed_s=BEGAN_S + 1800, now_s=NOW_S)
    for site in ("a-r0", "a-r1", "a-r2"):
        add_turbidity(opened, site, BEGAN_S - 3600, BEGAN_S + TRAVEL_S / 2)
    yield opened
    opened.close()


def add_turbidity(store: PostgresStore, site: str, from_s: float, to_s: float) -> None:
    """Commit readings, those of a-r1 5 spreads too high since `BEGAN_S` and flagged as suspect for that."""
    times_s = np.arange(from_s, to_s, STEP_S)
    rows = np.zeros(len(times_s), READING)
    rows["series_id"] = next(
        one.series_id
        for one in store.directory().series
        if (one.site_id, one.quantity) == (site, "turbidity")
    )
    rows["time_us"] = rows["received_us"] = (times_s * 1e6).astype(np.int64)
    rows["expected"], rows["spread"], rows["quality"] = 20.0, 1.0, 1
    departs = (times_s >= BEGAN_S) & (site == "a-r1")
    rows["value"], rows["quality"] = 20.0 + 5.0 * departs, np.where(departs, 3, 1)
    store.commit(Batch(fresh=rows))


def verified(store: PostgresStore) -> list[StoredVerdict]:
    """Return the verdicts after a run of the task, as a new process."""
    verify_sensors(store, Settings())
    found = SensorVerdicts(store).of_anomalies(range(1, 10))
    return [found[one] for one in sorted(found)]


def test_what_moves_with_the_water_is_an_event_and_what_no_other_sensor_confirms_a_fault(
    store: PostgresStore,
) -> None:
    store.record_anomalies(
        [
            series_anomaly(store, "a-r1", "ammonia_nitrogen", BEGAN_S, end_s=BEGAN_S + 5400),
            series_anomaly(store, "a-r1", "turbidity", BEGAN_S),
        ]
    )
    event, unfinished = verified(store)
    assert (event.event_probability or 0) > 0.95
    assert (event.others, event.is_final) == (["a-r0", "a-r2"], True)
    assert unfinished.event_probability == pytest.approx(1 / 3, abs=0.01), (
        "not from a-r0, and not yet at a-r2"
    )
    assert verified(store) == [event, unfinished], "nothing new"

    for site in ("a-r0", "a-r1", "a-r2"):
        add_turbidity(store, site, BEGAN_S + TRAVEL_S / 2, BEGAN_S + 7 * 3600)
    fault = verified(store)[1]
    assert (fault.event_probability if fault.event_probability is not None else 1) < 0.05
    assert (fault.others, fault.is_final) == (["a-r0", "a-r2"], False)


def test_an_event_of_a_site_has_the_verdict_of_the_quantity_that_departed_most(store: PostgresStore) -> None:
    series = {one.quantity: one.series_id for one in store.directory().series if one.site_id == "a-r1"}
    parts = [
        {"series_id": series["turbidity"], "score": 4.0},
        {"series_id": series["ammonia_nitrogen"], "score": -9.0},
    ]
    store.record_anomalies(
        [
            anomaly_at("a-r1", BEGAN_S, end_s=BEGAN_S + 5400, evidence={"quantities": parts}),
            anomaly_at("a-r2", BEGAN_S, detector="silence"),
        ]
    )
    event, without = verified(store)
    assert event.series_id == series["ammonia_nitrogen"]
    assert (event.event_probability or 0) > 0.95
    assert (without.series_id, without.event_probability, without.is_final) == (None, None, True)


def test_a_verdict_is_named_in_both_languages_only_from_four_to_one_on() -> None:
    assert [verdict_text(one, 3).name for one in (0.1, 0.3, 0.79, 0.8)] == [
        "sensor_fault",
        "undecided",
        "undecided",
        "event",
    ]
    assert "近" in verdict_text(0.9, 0).zh
    assert verdict_text(0.9, 0).name == "undecided"
    assert "1 other sensor on" in verdict_text(0.995, 1).en
    assert "> 99%" in verdict_text(0.995, 1).zh
