"""Tests that a query on a snapshot gives the same bytes after late data and revised flags."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from httpx import ASGITransport, AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.api import snapshots
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import REVISION, AnomalyQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.query_api import QueryApi
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.gateway_access import HEADERS, gateway_app
from tests.support.incident_world import store_verdict
from tests.support.store_samples import DIRECTORY, LATE, START_US, STEP_US, anomaly, readings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from httpx import Response

    from ingest_service.storage.contract.models import Anomaly

Change = tuple[str, int, int]
FROM, TO = "2026-09-21T14:00:00Z", "2026-09-22T10:00:00Z"
QUERY_URLS = [
    "/v1/anomalies?limit=2",
    "/v1/anomalies?format=csv&text=high",
    "/v1/anomalies?format=arrow",
    f"/v1/series/1/readings?from={FROM}&to={TO}&limit=7",
    f"/v1/readings?series=1&series=2&from={FROM}&to={TO}&format=csv",
    f"/v1/readings?from={FROM}&to={TO}&format=arrow",
    f"/v1/readings?from={FROM}&to={TO}&format=ndjson",
    f"/v1/plot?series=1&from={FROM}&to={TO}&points=10",
    f"/v1/plot?series=2&from={FROM}&to={TO}&points=10&method=minmax",
    f"/v1/readings?from={FROM}&to=9999-12-31T00:00:00Z&limit=9",
    "/v1/readings?series=1&from=0001-01-01T00:00:00Z&to=9999-01-01T00:00:00Z&format=csv",
    f"/v1/series/1/buckets?width=PT1H&from={FROM}&to={TO}",
    "/v1/series/2/readings",
]


@pytest.fixture
def store(timescale_dsn: str) -> Iterator[PostgresStore]:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    yield store
    store.close()


def ask(app: FastAPI, *urls: str) -> list[Response]:
    async def send() -> list[Response]:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://gateway") as client:
            return [await client.get(url, headers=HEADERS) for url in urls]

    return asyncio.run(send())


def url_with_token(url: str, token: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}reproduce={token}"


def start(store: PostgresStore) -> dict[int, int]:
    """Two series and five anomalies, and nothing else; by series how many readings there are."""
    flags = "reading, flag_revision, flag_revision_history, latest, rollup_due, rejudge_due"
    rolled = "rollup_1min, rollup_15min, rollup_1h, rollup_1day"
    with store.transaction() as connection:
        connection.execute(
            f"TRUNCATE {flags}, {rolled}, anomaly, anomaly_history, feedback, incident_anomaly,"
            " federated_anomaly, sensor_verdict, sensor_verdict_history"
        )
    for series in (1, 2):
        store.commit(Batch(fresh=readings(series, range(201))))
    store.record_anomalies([anomaly_at(1, tick) for tick in range(0, 40, 8)])
    return {1: 201, 2: 201}


changes = st.lists(
    st.one_of(
        st.tuples(st.just("late"), st.integers(1, 2), st.integers(0, 200)),
        st.tuples(st.just("revised"), st.integers(1, 2), st.integers(0, 200)),
        st.tuples(st.just("found"), st.integers(1, 2), st.integers(0, 200)),
        st.tuples(st.just("changed"), st.integers(1, 2), st.integers(0, 40)),
        st.tuples(st.just("verified"), st.integers(1, 2), st.integers(0, 40)),
        st.tuples(st.just("rolled up"), st.just(1), st.just(0)),
        st.tuples(st.just("more"), st.integers(1, 2), st.integers(0, 0)),
    ),
    min_size=1,
    max_size=12,
)


def apply_change(store: PostgresStore, what: str, series: int, tick: int, frontier: dict[int, int]) -> None:
    """Something that changes the answers of now."""
    at_us = START_US + tick * STEP_US
    if what == "late":
        rows = readings(series, range(tick, tick + 1), rules=LATE, quality=2, add=50.0)
        rows["time_us"] += 1_000_000
        store.commit(Batch(doubtful=rows))
    elif what == "revised":
        quality = 3 + tick % 2
        store.commit(Batch(revisions=np.array([(series, at_us // STEP_US * STEP_US, quality, 4)], REVISION)))
    elif what == "verified":
        for one in store.anomalies(AnomalyQuery(series_ids=[series], limit=2)):
            store_verdict(store, one.anomaly_id, series, tick / 40, ["a", "b"])
    elif what == "rolled up":
        store.refresh_rollups(limit=1000)
    elif what == "more":
        frontier[series] += 5
        store.commit(Batch(fresh=readings(series, range(frontier[series], frontier[series] + 5))))
    else:
        severity = 3 if what == "changed" else 1
        store.record_anomalies(
            [anomaly_at(series, tick, severity=severity, score=float(tick), reason_en="very high")]
        )


def anomaly_at(series: int, tick: int, **changed: Any) -> Anomaly:
    at_s = (START_US + tick * STEP_US) / 1e6
    return anomaly(subject=f"series/{series}", series_id=series, start_s=at_s, peak_s=at_s, **changed)


@given(before=changes, after=changes)
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_an_old_question_has_its_old_answer(
    store: PostgresStore, before: list[Change], after: list[Change]
) -> None:
    app = gateway_app(store)
    frontier = start(store)
    for one in before:
        apply_change(store, *one, frontier=frontier)
    answers = ask(app, *QUERY_URLS)
    for one in after:
        apply_change(store, *one, frontier=frontier)
    for url, answer in zip(QUERY_URLS, answers, strict=True):
        token = answer.headers[snapshots.SNAPSHOT_HEADER]
        (repeated,) = ask(app, url_with_token(url, token))
        assert (answer.status_code, repeated.status_code) == (200, 200), repeated.text
        assert repeated.content == answer.content, url
        assert repeated.headers[snapshots.SNAPSHOT_HEADER] == token


def test_without_the_token_the_answers_are_those_of_now(store: PostgresStore) -> None:
    app = gateway_app(store)
    frontier = start(store)
    before = ask(app, *QUERY_URLS[:-1])
    for series in frontier:
        for what in ("late", "revised", "found", "changed", "more"):
            apply_change(store, what, series, 31, frontier=frontier)
        apply_change(store, "revised", series, 0, frontier=frontier)
        apply_change(store, "late", series, 0, frontier=frontier)
    for old, new in zip(before, ask(app, *QUERY_URLS[:-1]), strict=True):
        assert new.content != old.content, new.url


def test_what_was_not_committed_at_the_snapshot_is_not_in_its_response(store: PostgresStore) -> None:
    app = gateway_app(store)
    start(store)
    url = f"/v1/readings?from={FROM}&to={TO}&format=csv"
    with store.transaction() as slow:
        slow.execute(
            """INSERT INTO reading SELECT "time" + interval '1 s', received, 7, series_id, 7, 1, 1, 0
            FROM reading"""
        )
        store.record_anomalies([anomaly_at(2, 3)])  # a later transaction that ends earlier
        (before,) = ask(app, url)
    (repeated, now) = ask(app, url_with_token(url, before.headers[snapshots.SNAPSHOT_HEADER]), url)
    assert repeated.content == before.content
    assert len(now.content) > 1.9 * len(before.content)


def test_where_a_table_keeps_no_transactions_the_receiving_time_decides(store: PostgresStore) -> None:
    app = gateway_app(store)
    frontier = start(store)
    with store.transaction() as owner:  # a view has no xmin, as TimescaleDB's column store has none
        owner.execute("ALTER TABLE reading RENAME TO stored")
        owner.execute("CREATE VIEW reading AS SELECT * FROM stored")
        owner.execute("CALL wall_views()")
        owner.execute("GRANT SELECT ON stored TO towntwin_gateway")
    questions = [url for url in QUERY_URLS[:-1] if "anomalies" not in url]
    before = ask(app, *questions)
    with store.transaction() as owner:
        owner.execute(
            "UPDATE stored SET received = now() + interval '1 hour' WHERE series_id = 1 AND value > 150"
        )
    for url, answer in zip(questions, before, strict=True):
        (repeated,) = ask(app, url_with_token(url, answer.headers[snapshots.SNAPSHOT_HEADER]))
        assert (answer.status_code, repeated.status_code) == (200, 200)
        is_hit = ("series=2" in url and "series=1" not in url) or "limit=" in url
        assert (repeated.content == answer.content) is is_hit, url
    assert frontier


def test_a_token_that_is_none_is_a_problem(store: PostgresStore) -> None:
    app = gateway_app(store)
    snapshot = QueryApi(store).reader_at().snapshot
    forged = [
        "x",
        "AAAA",
        snapshots.encode_token(snapshot)[:-3],
        snapshots.encode_token(msgspec.structs.replace(snapshot, xmax=2**40)),
        snapshots.encode_token(msgspec.structs.replace(snapshot, database="1.1")),
        snapshots.encode_token(msgspec.structs.replace(snapshot, at_us=-1)),
    ]
    for answer in ask(app, *(url_with_token(url, one) for one in forged for url in QUERY_URLS)):
        assert (answer.status_code, answer.json()["where"]) == (422, "reproduce"), answer.url
