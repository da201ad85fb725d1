"""Compares rollups with a slow reference on every edition: late, revised, dropped and compressed data."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import Directory, Series
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres import migrate, named_queries, rollups, write_batch
from ingest_service.storage.postgres.observations import ObservationReader
from ingest_service.storage.postgres.retention import RetentionPolicy
from ingest_service.storage.postgres.store import PostgresStore
from ingest_service.storage.settings import Settings
from tests.support import rollup_samples
from tests.support.rollup_samples import (
    BEGIN_US,
    FAST,
    FLOW,
    SLOW,
    SPEED,
    TOWN,
    ExpectedRollup,
    commit_all,
    naive_rollup,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ingest_service.storage.contract.models import Bucket
    from ingest_service.storage.contract.store import Store
    from tests.support.timescale_community import TimescaleCommunity

ALL = (SPEED, FLOW, FAST, SLOW)
BEGIN_S = BEGIN_US / 1e6
COUNT = "SELECT count(*) FROM reading WHERE %(of)s::int[] IS NULL OR series_id = ANY (%(of)s)"
ROLLUP = """
SELECT series_id, extract(epoch FROM bucket)::float8 AS begins, count, good, min, max, judged, flagged,
    total, expected, spread, weight, weighted
FROM rollup_{level}_view ORDER BY 1, 2"""
ALL_COMPRESSED = """
DO $$ BEGIN
    ASSERT (SELECT bool_and(is_compressed) FROM timescaledb_information.chunks), 'not every chunk';
END $$"""


@pytest.fixture(params=["plain_dsn", "timescale_dsn"])
def dsn(request: pytest.FixtureRequest) -> str:
    made: str = request.getfixturevalue(request.param)
    migrate.migrate(made)
    return made


@pytest.fixture
def store(dsn: str) -> Iterator[PostgresStore]:
    made = PostgresStore.open(dsn)
    made.enrol(TOWN)
    yield made
    made.close()


def roll_up(store: Store, limit: int = 1000) -> None:
    while store.refresh_rollups(limit=limit):
        pass


def due_ranges(rows: list[dict[str, Any]]) -> dict[int, dict[datetime, ExpectedRollup]]:
    """The rows of `ROLLUP` as the slow twin says them."""
    found: dict[int, dict[datetime, ExpectedRollup]] = {}
    for row in rows:
        begins = datetime.fromtimestamp(row["begins"], UTC)
        sums = tuple(
            np.nan if row[name] is None else row[name]
            for name in ("total", "expected", "spread", "weight", "weighted")
        )
        found.setdefault(row["series_id"], {})[begins] = ExpectedRollup(
            row["count"], row["good"], row["min"], row["max"], row["judged"], row["flagged"], sums
        )
    return found


def level(dsn: str, name: str) -> dict[int, dict[datetime, ExpectedRollup]]:
    with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as connection:
        return due_ranges(
            connection.execute(ROLLUP.format(level=name.removeprefix("rollup_")).encode()).fetchall()
        )


def assert_same(
    found: Mapping[datetime, ExpectedRollup], expected: Mapping[datetime, ExpectedRollup]
) -> None:
    assert found.keys() == expected.keys()
    for begins, one in found.items():
        other = expected[begins]
        assert one[:-1] == other[:-1], begins
        assert one.sums == pytest.approx(other.sums, rel=1e-12, nan_ok=True), begins


def test_what_is_due_is_whole_minutes_cut_at_gaps_and_weeks() -> None:
    week_s = 604_800
    times_s = np.array([60, 119, 3700, 7301, week_s - 1, week_s, 30])
    series_id = np.array([1, 1, 1, 1, 1, 1, 2], np.int32)
    assert write_batch.rollup_ranges(series_id, times_s * 1_000_000) == [
        [1, 1, 1, 1, 2],
        [60, 7260, week_s - 60, week_s, 0],
        [3720, 7320, week_s, week_s + 60, 60],
    ]


@pytest.mark.parametrize(
    ("dsn", "limit"), [("timescale_dsn", 100), ("plain_dsn", 10**6)], indirect=["dsn"]
)  # in pieces and at once
def test_every_rollup_is_what_the_slow_twin_finds(dsn: str, store: PostgresStore, limit: int) -> None:
    commit_all(store)
    roll_up(store, limit)
    for name, width_s in rollups.ROLLUP_WIDTHS_S.items():
        found = level(dsn, name)
        assert found.keys() == ({FAST} if width_s == 60 else {*ALL}), "minutes of what is measured more often"
        for series_id, buckets in found.items():
            assert_same(buckets, naive_rollup(store, series_id, width_s))
    days = level(dsn, "rollup_1day")[SPEED]
    assert all(one.sums[3] and one.sums[4] for one in days.values())
    assert store.health().rollups_due == 0


def test_three_editions_have_the_same_content(
    plain_dsn: str, timescale_dsn: str, community: TimescaleCommunity
) -> None:
    """The same statements and stretches on all three; on Community they meet compressed chunks, too."""
    answers = []
    for dsn in (timescale_dsn, plain_dsn):
        migrate.migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(TOWN)
        commit_all(store)
        roll_up(store)
        answers.append({name: level(dsn, name) for name in rollups.ROLLUP_WIDTHS_S})
        store.close()
    queries = [ROLLUP.format(level=name.removeprefix("rollup_")) for name in rollups.ROLLUP_WIDTHS_S]
    first, *later = [named_queries.read_sql_file(f"migrations/{name}") for name in migrate.migration_names()]
    schema = [
        "CREATE EXTENSION timescaledb",
        first,
        named_queries.read_sql_file("timescale.sql"),
        *later,
        "SET timezone = 'UTC'",
    ]
    refresh = refreshing(plain_dsn)
    after = f"to_timestamp({BEGIN_S + 11 * 365 * 86_400})"
    compress = [
        f"SELECT compress_before('{what}', {after}, 100)" for what in ("reading", *rollups.ROLLUP_WIDTHS_S)
    ]
    for late in ([], [*compress, ALL_COMPRESSED, *refresh]):
        found = community.run(*schema, *enrolled(plain_dsn), *refresh, *late, queries=queries)
        answers.append(
            {name: due_ranges(rows) for name, rows in zip(rollups.ROLLUP_WIDTHS_S, found, strict=True)}
        )
    for other in answers[1:]:
        for name in rollups.ROLLUP_WIDTHS_S:
            assert other[name].keys() == answers[0][name].keys()
            for series_id, buckets in other[name].items():
                assert_same(buckets, answers[0][name][series_id])


def enrolled(dsn: str) -> list[str]:
    """Statements that make what a database holds below the rollups."""
    made = []
    with psycopg.connect(dsn) as connection:
        for table in ("area", "site", "series", "reading", "flag_revision"):
            rows = connection.execute(f"SELECT json_agg(t) FROM {table} AS t".encode()).fetchone()
            assert rows is not None
            text = json.dumps(rows[0]).replace("'", "''")
            made.append(
                f"INSERT INTO {table} OVERRIDING SYSTEM VALUE"
                f" SELECT * FROM json_populate_recordset(null::{table}, '{text}')"
            )
    return made


def refreshing(dsn: str) -> list[str]:
    """The refresh of everything, as statements with their values in them."""
    stretch = ([*ALL], *([datetime.fromtimestamp(BEGIN_S + add, UTC)] * 4 for add in (0, 3 * 86_400)))
    values = dict(zip(("series_ids", "since", "until"), stretch, strict=True)) | {"zone": "Asia/Shanghai"}
    with psycopg.connect(dsn, cursor_factory=psycopg.ClientCursor) as connection:
        cursor = psycopg.ClientCursor(connection)
        return [
            cursor.mogrify(named_queries.QUERIES[f"refresh_{name.removeprefix('rollup_')}"], values)
            for name in rollups.ROLLUP_WIDTHS_S
        ]


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Asia/Kolkata", "Europe/Berlin"])
@pytest.mark.parametrize("series_id", [SPEED, FAST])
def test_buckets_are_the_same_from_rollups_and_from_readings(dsn: str, zone: str, series_id: int) -> None:
    """Of every width, aligned or not, rolled up whole or in part."""
    stores: list[Store] = [
        MemoryStore(time_zone=zone),
        PostgresStore.open(dsn, settings=Settings(time_zone=zone)),
    ]
    for one in stores:
        one.enrol(TOWN)
        commit_all(one)
        roll_up(one)
        one.commit(
            Batch(fresh=rollup_samples.expected_rows(series_id, np.arange(0, 600, 60.0) + 3 * 86_400, seed=9))
        )
    for width_s in (60, 420, 900, 1800, 3600, 7200, 86_400, 3 * 86_400):
        for from_s, to_s in ((BEGIN_S - 40, BEGIN_S + 86_400 * 4), (BEGIN_S + 4321, BEGIN_S + 200_000)):
            expected, found = (one.buckets(series_id, from_s, to_s, width_s) for one in stores)
            assert [(b.time_s, b.count, b.good, b.min, b.max) for b in found] == [
                (b.time_s, b.count, b.good, b.min, b.max) for b in expected
            ]
            assert means(found) == pytest.approx(means(expected), rel=1e-12, nan_ok=True)
    stores[1].close()


def means(found: list[Bucket]) -> list[float]:
    return [np.nan if one.mean is None else one.mean for one in found]


def test_buckets_read_the_coarsest_rollup(store: PostgresStore, dsn: str) -> None:
    """Rollups that say something else are believed: proof of what is read."""
    commit_all(store)
    roll_up(store)
    day_s = (BEGIN_S + 8 * 3600) // 86_400 * 86_400 - 8 * 3600 + 86_400
    with psycopg.connect(dsn, autocommit=True) as connection:
        for add, name in enumerate(rollups.ROLLUP_WIDTHS_S, 1):
            connection.execute(f"UPDATE {name} SET count = {add}".encode())
    for width_s, each in ((900, 2), (1800, 4), (3600, 3), (86_400, 4)):
        found = store.buckets(SPEED, day_s, day_s + 86_400, width_s)
        assert found[0].count == each
    assert store.buckets(FAST, BEGIN_S // 60 * 60, BEGIN_S + 3600, 60)[1].count == 1
    assert store.buckets(SPEED, day_s, day_s + 86_400, 300)[0].count == 1


def test_values_whose_sum_overflows_stop_neither_rollups_nor_buckets(store: PostgresStore, dsn: str) -> None:
    """Two readings of 1e308 with the flag 1 in one quarter of an hour failed at every try."""
    memory = MemoryStore()
    memory.enrol(TOWN)
    for series_id in ALL:
        made = rollup_samples.expected_rows(series_id, np.arange(0, 86_400, 60.0), seed=series_id)
        made["quality"] = 1
        made["value"][:40] = 1e308
        for one in (store, memory):
            one.commit(Batch(fresh=made))
    times = (BEGIN_S, BEGIN_S + 86_400, 900)
    from_readings = [store.buckets(one, *times) for one in ALL]
    assert [[one.good for one in buckets] for buckets in from_readings] == [
        [one.good for one in memory.buckets(each, *times)] for each in ALL
    ]
    roll_up(store)
    assert [[one.good for one in store.buckets(each, *times)] for each in ALL] == [
        [one.good for one in buckets] for buckets in from_readings
    ]
    with psycopg.connect(dsn) as connection:  # what was rolled up before migration 0063
        connection.execute("UPDATE rollup_15min SET total = 1.7e308, weight = 1.7e308, weighted = 1.7e308")
        connection.execute(
            "INSERT INTO rollup_due SELECT %s, min(bucket), min(bucket) + interval '1 minute'"
            " FROM rollup_15min",
            (SLOW,),
        )
    roll_up(store)
    assert len(store.buckets(SLOW, BEGIN_S, BEGIN_S + 86_400, 7200)) > 1


def test_a_series_that_is_measured_more_often_gets_its_minutes(dsn: str, store: PostgresStore) -> None:
    commit_all(store)
    roll_up(store)
    store.enrol(Directory(series=[Series(site_id="s1", quantity="traffic_flow", interval_s=30)]))
    assert store.health().rollups_due >= 72
    roll_up(store)
    assert_same(level(dsn, "rollup_1min")[FLOW], naive_rollup(store, FLOW, 60))


def test_readings_are_counted_by_days_and_to_the_last(dsn: str, store: PostgresStore) -> None:
    def both(series_ids: list[int] | None) -> tuple[int, int]:
        with psycopg.connect(dsn) as connection:
            bucket_query = {"of": series_ids}
            (n,) = connection.execute(COUNT, bucket_query).fetchone() or (0,)
        if series_ids is None:
            return store.health().readings, n
        return sum(ObservationReader(store, meanings=[], rules=[]).counts(series_ids).values()), n

    commit_all(store)
    for _ in range(20):
        for series_ids in (None, [SPEED], [FLOW, FAST], []):
            counted, present = both(series_ids)
            assert counted == present
        store.refresh_rollups(limit=200)
    roll_up(store)
    assert both(None)[0] == both(None)[1] > 0


def test_what_retention_deletes_stays_in_the_rollups(dsn: str, store: PostgresStore) -> None:
    commit_all(store)
    retention, until_s = RetentionPolicy(store), BEGIN_S + 200 * 86_400
    kept_s = retention.set_retention_start("reading", until_s)
    assert kept_s <= BEGIN_S, "what waits to be rolled up is kept"
    assert retention.delete_expired("reading", max_rows=100) == 0
    roll_up(store)
    before = {name: level(dsn, name) for name in rollups.ROLLUP_WIDTHS_S}
    buckets = store.buckets(SPEED, BEGIN_S - 86_400, BEGIN_S + 4 * 86_400, 86_400)
    kept_s = retention.set_retention_start("reading", until_s)
    assert (kept_s + 8 * 3600) % 86_400 == 0
    assert kept_s > until_s - 86_400
    while retention.delete_expired("reading", max_rows=1000):
        pass
    assert store.health().readings == 0
    store.commit(Batch(doubtful=rollup_samples.expected_rows(SPEED, np.array([30.0]), seed=1)))
    roll_up(store)
    assert {name: level(dsn, name) for name in rollups.ROLLUP_WIDTHS_S} == before, "never rolled up again"
    assert store.buckets(SPEED, BEGIN_S - 86_400, BEGIN_S + 4 * 86_400, 86_400)[1:] == buckets[1:]
    retention.set_retention_start("rollup_15min", until_s)
    while retention.delete_expired("rollup_15min", max_rows=100):
        pass
    assert level(dsn, "rollup_15min") == {}
    assert level(dsn, "rollup_1h") == before["rollup_1h"]
    assert retention.compress("reading", until_s, max_rows=1) == 0
