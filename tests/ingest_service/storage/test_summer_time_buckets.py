"""Tests time buckets across clock changes: equal in every store, no hour lost or doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.query_api import QueryApi
from ingest_service.storage.postgres.store import PostgresStore
from ingest_service.storage.settings import Settings
from tests.support.store_samples import DIRECTORY, START_US, readings

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Store


def test_summer_time_buckets_are_the_same_everywhere(timescale_dsn: str, plain_dsn: str) -> None:
    answers = []
    stores: list[Store] = [MemoryStore(time_zone="Europe/Berlin")]
    for dsn in (timescale_dsn, plain_dsn):
        migrate(dsn)
        stores.append(PostgresStore.open(dsn, settings=Settings(time_zone="Europe/Berlin")))
    for one in stores:
        one.enrol(DIRECTORY)
        rows = readings(1, range(600))
        rows["time_us"] += 1_774_400_000_000_000 - START_US  # 2026-03-25: the clocks change on the 29th
        one.commit(Batch(fresh=rows))
        found = one.buckets(1, 1.7744e9, 1.7744e9 + 600 * 300, 86_400)
        answers.append([(bucket.time_s, bucket.count, bucket.min, bucket.max) for bucket in found])
        one.close()
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("width_s", [900, 1800, 3600, 86_400])
def test_an_hour_that_clocks_repeat_stays_two_hours_in_a_long_day(
    width_s: int, timescale_dsn: str, plain_dsn: str
) -> None:
    begin_s = 1792879200  # the 25th of October 2026 in Berlin, of 25 hours
    rows = readings(1, range(300))
    rows["time_us"] += begin_s * 1_000_000 - START_US
    answers = []
    for dsn in (timescale_dsn, plain_dsn):
        migrate(dsn)
        store = PostgresStore.open(dsn, settings=Settings(time_zone="Europe/Berlin"))
        store.enrol(DIRECTORY)
        store.commit(Batch(fresh=rows))
        answers.append(store.buckets(1, begin_s, begin_s + 90_000, width_s))
        snapshot = QueryApi(store).reader_at().snapshot
        reader_at = QueryApi(store).reader_at(snapshot)
        answers.append(reader_at.buckets(1, begin_s, begin_s + 90_000, width_s))
        store.close()
    memory = MemoryStore(time_zone="Europe/Berlin")
    memory.enrol(DIRECTORY)
    memory.commit(Batch(fresh=rows))
    expected = memory.buckets(1, begin_s, begin_s + 90_000, width_s)
    assert all(found == expected for found in answers)
    if width_s <= 3600:
        assert [one.time_s for one in expected] == list(range(begin_s, begin_s + 90_000, width_s))
    if width_s == 86_400:
        assert [one.count for one in expected] == [300]
