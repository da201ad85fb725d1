"""Tests that every store returns readings in the same order of receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import REVISION
from tests.support.store_samples import START_US, STEP_US, assert_same, readings

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Store

DAY_STEPS = 86_400_000_000 // STEP_US


def test_readings_received_after_a_time_come_in_that_order(store: Store) -> None:
    rows = np.concatenate([readings(1, range(600)), readings(2, range(600))])
    rows["received_us"] = START_US + np.random.default_rng(1).permutation(len(rows)) * 1_000_000
    store.commit(Batch(fresh=rows))
    store.commit(Batch(revisions=np.array([(1, START_US + 500 * STEP_US, 4, 8)], REVISION)))
    after_us = START_US + 300_000_000
    found = store.received([1, 2], after_us / 1e6, limit=10_000)
    expected = np.sort(rows[rows["received_us"] > after_us], order="received_us")
    for name in ("series_id", "time_us", "received_us", "value"):
        assert found[name].tolist() == expected[name].tolist()
    (revised,) = found[(found["series_id"] == 1) & (found["time_us"] == START_US + 500 * STEP_US)]
    assert (int(revised["quality"]), int(revised["rules"])) == (4, 8)
    assert_same(store.received([1, 2], after_us / 1e6, limit=7), found[:7])
    assert set(store.received([2], after_us / 1e6, limit=10_000)["series_id"]) == {2}
    assert len(store.received([], after_us / 1e6, limit=7)) == 0


def test_what_was_measured_a_day_before_is_left_out(store: Store) -> None:
    rows = readings(1, range(2 * DAY_STEPS))
    rows["received_us"] = rows["time_us"][-1]
    store.commit(Batch(fresh=rows))
    after_us = int(rows["received_us"][0]) - 1
    found = store.received([1], after_us / 1e6, limit=10_000)
    assert found["time_us"].tolist() == rows["time_us"][-DAY_STEPS - 1 :].tolist()
