"""An old question has its old answer, byte by byte, although data came late and flags were revised since."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from httpx import ASGITransport, AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import moments
from ingest_service.storage.answers import Answers
from ingest_service.storage.batch import Batch
from ingest_service.storage.migrate import migrate
from ingest_service.storage.model import REVISION
from ingest_service.storage.postgres import PostgresStore
from tests.support.access import HEADERS, opened
from tests.support.kept import DIRECTORY, LATE, START_US, STEP_US, anomaly, readings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from httpx import Response

    from ingest_service.storage.model import Anomaly

Change = tuple[str, int, int]
FROM, TO = "2026-09-21T14:00:00Z", "2026-09-22T10:00:00Z"
QUESTIONS = [
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
    async def asked() -> list[Response]:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://gateway") as client:
            return [await client.get(url, headers=HEADERS) for url in urls]

    return asyncio.run(asked())


def again(url: str, token: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}reproduce={token}"


def start(store: PostgresStore) -> dict[int, int]:
    """Two series and five anomalies, and nothing else; by series how many readings there are."""
    flags = "reading, flag_revision, flag_revision_history, latest, rollup_due, rejudge_due"
    rolled = "rollup_1min, rollup_15min, rollup_1h, rollup_1day"
    with store.transaction() as connection:
        connection.execute(f"TRUNCATE {flags}, {rolled}, anomaly, anomaly_history, feedback")
    for series in (1, 2):
        store.commit(Batch(fresh=readings(series, range(201))))
    store.record([anomaly_at(1, tick) for tick in range(0, 40, 8)])
    return {1: 201, 2: 201}


changes = st.lists(
    st.one_of(
        st.tuples(st.just("late"), st.integers(1, 2), st.integers(0, 200)),
        st.tuples(st.just("revised"), st.integers(1, 2), st.integers(0, 200)),
        st.tuples(st.just("found"), st.integers(1, 2), st.integers(0, 200)),
        st.tuples(st.just("changed"), st.integers(1, 2), st.integers(0, 40)),
        st.tuples(st.just("rolled up"), st.just(1), st.just(0)),
        st.tuples(st.just("more"), st.integers(1, 2), st.integers(0, 0)),
    ),
    min_size=1,
    max_size=12,
)


def happen(store: PostgresStore, what: str, series: int, tick: int, frontier: dict[int, int]) -> None:
    """Something that changes the answers of now."""
    at_us = START_US + tick * STEP_US
    if what == "late":
        rows = readings(series, range(tick, tick + 1), rules=LATE, quality=2, add=50.0)
        rows["time_us"] += 1_000_000
        store.commit(Batch(doubtful=rows))
    elif what == "revised":
        quality = 3 + tick % 2
        store.commit(Batch(revisions=np.array([(series, at_us // STEP_US * STEP_US, quality, 4)], REVISION)))
    elif what == "rolled up":
        store.refresh_rollups(limit=1000)
    elif what == "more":
        frontier[series] += 5
        store.commit(Batch(fresh=readings(series, range(frontier[series], frontier[series] + 5))))
    else:
        severity = 3 if what == "changed" else 1
        store.record([anomaly_at(series, tick, severity=severity, score=float(tick), reason_en="very high")])


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
    app = opened(store)
    frontier = start(store)
    for one in before:
        happen(store, *one, frontier=frontier)
    answers = ask(app, *QUESTIONS)
    for one in after:
        happen(store, *one, frontier=frontier)
    for url, answer in zip(QUESTIONS, answers, strict=True):
        token = answer.headers[moments.HEADER]
        (repeated,) = ask(app, again(url, token))
        assert (answer.status_code, repeated.status_code) == (200, 200), repeated.text
        assert repeated.content == answer.content, url
        assert repeated.headers[moments.HEADER] == token


def test_without_the_token_the_answers_are_those_of_now(store: PostgresStore) -> None:
    app = opened(store)
    frontier = start(store)
    before = ask(app, *QUESTIONS[:-1])
    for series in frontier:
        for what in ("late", "revised", "found", "changed", "more"):
            happen(store, what, series, 31, frontier=frontier)
        happen(store, "revised", series, 0, frontier=frontier)
        happen(store, "late", series, 0, frontier=frontier)
    for old, new in zip(before, ask(app, *QUESTIONS[:-1]), strict=True):
        assert new.content != old.content, new.url


def test_what_was_not_committed_when_asked_is_not_in_the_answer_of_then(store: PostgresStore) -> None:
    app = opened(store)
    start(store)
    url = f"/v1/readings?from={FROM}&to={TO}&format=csv"
    with store.transaction() as slow:
        slow.execute(
            """INSERT INTO reading SELECT "time" + interval '1 s', received, 7, series_id, 7, 1, 1, 0
            FROM reading"""
        )
        store.record([anomaly_at(2, 3)])  # a later transaction that ends earlier
        (before,) = ask(app, url)
    (repeated, now) = ask(app, again(url, before.headers[moments.HEADER]), url)
    assert repeated.content == before.content
    assert len(now.content) > 1.9 * len(before.content)


def test_where_a_table_keeps_no_transactions_the_receiving_time_decides(store: PostgresStore) -> None:
    app = opened(store)
    frontier = start(store)
    with store.transaction() as owner:  # a view has no xmin, as TimescaleDB's column store has none
        owner.execute("ALTER TABLE reading RENAME TO stored")
        owner.execute("CREATE VIEW reading AS SELECT * FROM stored")
        owner.execute("CALL wall_views()")
        owner.execute("GRANT SELECT ON stored TO towntwin_gateway")
    questions = [url for url in QUESTIONS[:-1] if "anomalies" not in url]
    before = ask(app, *questions)
    with store.transaction() as owner:
        owner.execute(
            "UPDATE stored SET received = now() + interval '1 hour' WHERE series_id = 1 AND value > 150"
        )
    for url, answer in zip(questions, before, strict=True):
        (repeated,) = ask(app, again(url, answer.headers[moments.HEADER]))
        assert (answer.status_code, repeated.status_code) == (200, 200)
        is_hit = ("series=2" in url and "series=1" not in url) or "limit=" in url
        assert (repeated.content == answer.content) is is_hit, url
    assert frontier


def test_a_token_that_is_none_is_a_problem(store: PostgresStore) -> None:
    app = opened(store)
    moment = Answers(store).then().moment
    forged = [
        "x",
        "AAAA",
        moments.encode(moment)[:-3],
        moments.encode(msgspec.structs.replace(moment, xmax=2**40)),
        moments.encode(msgspec.structs.replace(moment, database="1.1")),
        moments.encode(msgspec.structs.replace(moment, at_us=-1)),
    ]
    for answer in ask(app, *(again(url, one) for one in forged for url in QUESTIONS)):
        assert (answer.status_code, answer.json()["where"]) == (422, "reproduce"), answer.url
