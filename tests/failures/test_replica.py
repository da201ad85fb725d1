"""Tests the gateway on a streaming replica, and its promotion, with two real PostgreSQL servers."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from httpx import ASGITransport, AsyncClient

from gateway import metrics, read_replica
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.errors import StoreUnavailableError
from ingest_service.storage.postgres.store import PostgresStore
from ingest_service.storage.settings import Settings as Storage
from tests.support.gateway_access import ACCOUNTS, HEADERS, gateway_app
from tests.support.postgres_pair import PostgresPair, running_pair
from tests.support.processes import wait_until
from tests.support.store_samples import DIRECTORY, readings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from httpx import Response

URL = "/v1/readings?series=1&from=2026-09-21T00:00:00Z&to=2027-09-22T00:00:00Z&limit=10000"
WAIT_S, LOOK_S = 0.1, 0.1


@pytest.fixture(scope="module")
def pair() -> Iterator[PostgresPair]:
    with running_pair() as one:
        yield one


@pytest.fixture(scope="module")
def store(pair: PostgresPair) -> Iterator[PostgresStore]:
    one = PostgresStore.open(pair.dsn, settings=Storage(connect_timeout_s=2, answer_timeout_s=5.0))
    one.enrol(DIRECTORY)
    yield one
    one.close()


@pytest.fixture(scope="module")
def app(pair: PostgresPair, store: PostgresStore) -> Iterator[FastAPI]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(read_replica, "WATCH_INTERVAL_S", LOOK_S)
        one = gateway_app(store, settings=Settings(replica=pair.replica_dsn, replica_wait_s=WAIT_S))
        yield one
        one.state.context.replica.close()


def get(app: FastAPI, url: str, headers: dict[str, str] = HEADERS) -> Response:
    async def one() -> Response:
        async with AsyncClient(
            transport=ASGITransport(app), base_url="http://gateway", timeout=30, headers=headers
        ) as client:
            return await client.get(url)

    answer = asyncio.run(one())
    assert answer.status_code == 200, answer.text
    return answer


def commit(store: PostgresStore, tick: int, series: int = 1) -> None:
    store.commit(Batch(doubtful=readings(series, range(tick, tick + 1))))


def replica_state(app: FastAPI) -> dict[str, Any]:
    found: dict[str, Any] = get(app, "/v1/health").json()["replica"]
    return found


def wait_for(app: FastAPI, condition: str) -> None:
    replica: read_replica.ReadReplica = app.state.context.replica
    wait_until(lambda: replica.status.condition == condition, within_s=20, what=f"the replica is {condition}")


def answered_by(who: str) -> float:
    found: float = metrics.REPLICA_READS.labels(who)._value.get()
    return found


def get_from_replica(app: FastAPI, url: str) -> Response:
    """Repeat a request until the replica answers it: the primary does while the replica is late by chance."""
    for _ in range(100):
        before = answered_by("replica")
        answer = get(app, url)
        if answered_by("replica") == before + 1:
            return answer
    raise AssertionError("the primary answered a hundred times")


def test_every_answer_of_the_replica_has_what_was_committed_before_the_request(
    app: FastAPI, store: PostgresStore
) -> None:
    wait_for(app, "in use")
    before, n = answered_by("replica"), len(get(app, URL).json()["items"])
    while answered_by("replica") - before < 15:
        assert n < 90, "the replica hardly answered"
        commit(store, n)
        n += 1
        assert len(get(app, URL).json()["items"]) == n
    assert get_from_replica(app, f"{URL}&format=csv").text.count("\n") == n + 1
    wait_until(lambda: replica_state(app)["lag_s"] < 1, within_s=20, what="the lag is small")
    found = get_from_replica(app, "/sta/v1.1/Datastreams(1)/Observations?$count=true&$top=1").json()
    assert found["@iot.count"] == n
    _, key = api_keys.create_key(
        ACCOUNTS, name="of a town", role=Role.VIEWER, area_id="330483-d1", created_by="tests"
    )
    before = answered_by("replica")
    assert len(get(app, URL, {"X-API-Key": key}).json()["items"]) == n
    assert answered_by("replica") == before, "a scope of areas is only enforced where it can be signed"


def test_an_answer_of_the_replica_is_reproduced_after_transactions_that_ran_then(
    app: FastAPI, store: PostgresStore, pair: PostgresPair
) -> None:
    """A standby's own snapshot does not list the running transactions."""
    wait_for(app, "in use")
    with psycopg.connect(pair.dsn) as connection:
        connection.execute(
            "INSERT INTO reading SELECT time + interval '1 s', received, value, series_id, expected, spread,"
            " quality, rules FROM reading WHERE series_id = 1 LIMIT 1"
        )
        commit(store, 100, series=2)  # of the next transaction id
        first = get_from_replica(app, URL)
    token = first.headers["Towntwin-Reproduce"]
    later = get(app, URL)
    assert len(later.json()["items"]) == len(first.json()["items"]) + 1
    again = get(app, f"/v1/readings?series=1&limit=10000&reproduce={token}")
    assert again.json()["items"] == first.json()["items"]


def test_a_replica_that_lags_is_shown_and_the_primary_answers(
    app: FastAPI, store: PostgresStore, pair: PostgresPair
) -> None:
    wait_for(app, "in use")
    n_before, before = len(get(app, URL).json()["items"]), answered_by("primary")
    pair.on_replica("SELECT pg_wal_replay_pause()")
    try:
        commit(store, 200)
        assert len(get(app, URL).json()["items"]) == n_before + 1, "a stale answer"
        assert answered_by("primary") == before + 1
        wait_for(app, "behind")
        state = replica_state(app)
        assert state["lag_s"] > WAIT_S
        assert "primary answers" in state["sentence_en"]
        assert metrics.REPLICA_LAG._value.get() > WAIT_S
        began_s = time.monotonic()
        assert len(get(app, URL).json()["items"]) == n_before + 1
        assert time.monotonic() - began_s < 5
    finally:
        pair.on_replica("SELECT pg_wal_replay_resume()")
    wait_for(app, "in use")
    pair.replica.kill()
    assert len(get(app, URL).json()["items"]) == n_before + 1
    wait_for(app, "away")
    assert math.isnan(metrics.REPLICA_LAG._value.get())
    pair.replica.start()
    wait_for(app, "in use")


def test_a_user_who_may_not_read_all_rows_is_refused_before_a_query(
    pair: PostgresPair, store: PostgresStore
) -> None:
    with psycopg.connect(pair.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE limited LOGIN IN ROLE towntwin_gateway")
    dsn = pair.replica_dsn.replace("towntwin-replica@", "limited@")
    replica = read_replica.ReadReplica(store, dsn, Settings())
    try:
        wait_until(lambda: replica.status.condition == "refused", within_s=20, what="the user is refused")
        assert replica.status.reason == "restricted"
        assert replica.catch_up() is None
    finally:
        replica.close()


def test_nothing_acknowledged_is_lost_when_the_replica_is_promoted(
    app: FastAPI, store: PostgresStore, pair: PostgresPair
) -> None:
    """The steps of read-from-a-replica.md; processes find the new primary by themselves."""
    pair.commit_on_both()
    acknowledged: list[int] = []
    stop = threading.Event()

    def write() -> None:
        tick = 1000
        while not stop.is_set():
            try:
                commit(store, tick)
            except StoreUnavailableError:  # outcome unknown: the message is sent again, as a device does
                time.sleep(0.05)
                continue
            acknowledged.append(tick)
            tick += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: len(acknowledged) > 50, within_s=20, what="writing goes on")
        pair.primary.kill()
        n_before = len(acknowledged)
        pair.on_replica("SELECT pg_promote()")
        pair.on_replica("ALTER SYSTEM SET synchronous_standby_names = ''")
        pair.on_replica("SELECT pg_reload_conf()")
        began_s = time.monotonic()
        wait_until(lambda: len(acknowledged) > n_before + 50, within_s=30, what="writing goes on after it")
        print(f"writing again {time.monotonic() - began_s:.2f} s after the promotion")
    finally:
        stop.set()
        writer.join()
    found = store.readings(1, 0.0, 4e9, limit=10**6)
    ticks = np.round(found["value"] - 0.25).astype(int)
    stored = ticks[ticks >= 1000]
    assert len(stored) == len(set(stored)), "stored twice"
    assert set(acknowledged) <= set(stored), "acknowledged and lost"
    assert set(get(app, "/v1/latest").json()[0]) >= {"value"}
    wait_for(app, "refused")
    assert app.state.context.replica.status.reason == "promoted"
