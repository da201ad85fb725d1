"""Tests the deletion of old data: by setting, only after rollup, and checked rarely."""

from __future__ import annotations

import pytest

from analytics.service import process
from analytics.service.housekeeping import retention_days, tidy
from analytics.service.process import roll_up
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.scenarios import Scenario, ScenarioLog
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.rollup_samples import BEGIN_US, SPEED, TOWN, commit_all

DAY_S = 86_400.0
SCENARIO = Scenario(
    area_ids=[TOWN.areas[0].area_id],
    kind="water",
    name="kept",
    who="tests",
    network_version=1,
    at_s=0.0,
    computing_s=0.1,
    inputs={},
    result={},
)
NOW_S = BEGIN_US / 1e6 + 40 * DAY_S


@pytest.mark.parametrize("server", ["plain_dsn", "timescale_dsn"])
def test_readings_go_and_rollups_stay(server: str, request: pytest.FixtureRequest) -> None:
    dsn = request.getfixturevalue(server)
    migrate(dsn)
    store = PostgresStore.open(dsn)
    store.enrol(TOWN)
    commit_all(store)
    settings = Settings(keep_readings_days=5)
    bucket_range = (SPEED, BEGIN_US / 1e6 - DAY_S, BEGIN_US / 1e6 + 4 * DAY_S, 86_400)
    before = store.buckets(*bucket_range)
    tidy(store, settings, now_s=NOW_S)
    assert store.buckets(*bucket_range) == before, "what waits to be rolled up stays"
    roll_up(store, settings)
    tidy(store, Settings(), now_s=NOW_S)
    assert store.health().readings > 0, "for ever, without a setting"
    tidy(store, settings, now_s=NOW_S)
    assert store.health().readings == 0
    assert [one.count for one in store.buckets(*bucket_range)] == [one.count for one in before]
    scenarios = ScenarioLog(store)
    stored = scenarios.insert(SCENARIO)
    tidy(store, Settings(), now_s=stored.created_s + 400 * DAY_S)
    tidy(store, Settings(keep_scenarios_days=30), now_s=stored.created_s + 29 * DAY_S)
    assert scenarios.one(stored.scenario_id) == stored
    tidy(store, Settings(keep_scenarios_days=30), now_s=stored.created_s + 31 * DAY_S)
    assert scenarios.newest(limit=5) == []
    store.close()


def test_every_kind_has_its_setting() -> None:
    settings = Settings(
        keep_readings_days=1, keep_1min_days=2, keep_15min_days=3, keep_1h_days=4, keep_1day_days=5
    )
    assert list(retention_days(settings).values()) == [1, 2, 3, 4, 5]


def test_tidying_is_done_at_once_and_then_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(process, "tidy", lambda *_: done.append("done"))
    service_state = ServiceState()
    for _ in range(3):
        process.tidy_when_due(MemoryStore(), Settings(tidy_s=3600), UNLIMITED, service_state)
    assert done == ["done"]
    tidy(MemoryStore(), Settings(keep_readings_days=1))
