"""The planned faults of the demo are found whatever the minute at which it is started."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from deploy import demo
from deploy.up.run_summary import match_faults
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies
from ingest_service.storage.memory.store import MemoryStore
from tests.support.demo_store import fill_with_demo

HISTORY_DAYS = 7.0  # as `towntwin up` plays


@pytest.mark.parametrize(("hour", "minute"), [(6, 3), (12, 3), (18, 3)])
def test_every_planned_fault_is_found_in_time_whatever_the_start(hour: int, minute: int) -> None:
    present_s = datetime(2026, 11, 28, hour, minute, tzinfo=UTC).timestamp()
    store = MemoryStore()
    fill_with_demo(store, days=HISTORY_DAYS, until_s=present_s)
    found = match_faults(
        demo.plan(),
        list(all_anomalies(store, AnomalyQuery())),
        store.directory(),
        live_from_s=present_s,
        now_s=present_s,
    )
    assert len(found) >= 10
    assert [one.fault.fault_id for one in found if one.anomaly is None] == []
