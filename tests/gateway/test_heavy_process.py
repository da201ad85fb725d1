"""Heavy requests have a process of their own, which sees, refuses and is audited as the gateway is."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from httpx import ASGITransport, AsyncClient

from gateway.access import keys
from gateway.access.principal import Role
from gateway.app import create_app
from gateway.settings import Settings
from ingest_service.storage.accounts import Accounts, AuditQuery
from ingest_service.storage.migrate import migrate
from ingest_service.storage.postgres import PostgresStore
from tests.support.asgi import ask
from tests.support.services import fresh_database
from tests.support.world import ABROAD, OWN, enrol, series_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from fastapi import FastAPI
    from httpx import Response
    from starlette.types import Message

    from gateway.heavy_process import HeavyProcess
    from tests.support.services import NamedServer, PostgresServer

WORKER = [sys.executable, "-m", "deploy.heavy_worker", "{}"]
ALL_TIME = {"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


class Gateways(NamedTuple):
    """One with a process for heavy requests and one without, on one database, and a key of a town."""

    apart: FastAPI
    alone: FastAPI
    store: PostgresStore
    headers: dict[str, str]

    @property
    def process(self) -> psutil.Process:
        """The process for heavy requests."""
        heavy: HeavyProcess = self.apart.state.heavy
        heavy.start()
        assert heavy.pid is not None
        return psutil.Process(heavy.pid)

    def both(self, method: str, path: str, **given: Any) -> tuple[Response, Response]:
        """The answers of both gateways."""
        given["headers"] = self.headers | given.get("headers", {})
        return ask(self.apart, method, path, **given), ask(self.alone, method, path, **given)


@pytest.fixture(scope="module")
def gateways(timescale_server: PostgresServer | NamedServer) -> Iterator[Gateways]:
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        enrol(store)
        settings = Settings(heavy_burst_s=3600.0, body_bytes=100_000)
        apart = create_app(store, settings, console=False, heavy_worker=WORKER)
        alone = create_app(store, settings, console=False)
        given: Any = {"role": Role.ENGINEER, "area_id": OWN, "created_by": "tests"}
        _, key = keys.mint(Accounts(store), name="Wang Fang", **given)
        yield Gateways(apart, alone, store, {"Authorization": f"Bearer {key}"})
        apart.state.heavy.close()
        store.close()


def parquet() -> bytes:
    """A small posted series."""
    sink = io.BytesIO()
    times = 1.79e9 + 300.0 * np.arange(100)
    pq.write_table(pa.table({"time": times, "value": 7.0 + np.sin(times)}), sink)
    return sink.getvalue()


def test_answers_are_those_of_one_process(gateways: Gateways) -> None:
    series = series_at(gateways.store, OWN)
    for path, params in (
        ("/v1/readings", ALL_TIME | {"format": "csv"}),
        ("/v1/plot", ALL_TIME | {"series": series}),
        ("/v1/plot", ALL_TIME | {"series": series_at(gateways.store, ABROAD)}),
        ("/sta/v1.1/Things", {"$count": "true"}),
        ("/sta/v1.1/Observations", {"$filter": "result gt 1 and result lt"}),
        *[("/v1/plot", {"series": "x"})] * 20,  # answered before the gateway has handed over the body
    ):
        apart, alone = gateways.both("GET", path, params=params)
        assert (apart.status_code, apart.content) == (alone.status_code, alone.content), path
        for name in ("content-type", "vary", "cache-control"):
            assert apart.headers.get(name) == alone.headers.get(name), (path, name)
    assert gateways.process.nice() > psutil.Process().nice()


def test_bodies_are_handed_over_and_refused_as_in_one_process(gateways: Gateways) -> None:
    params = {"quantity": "ph"}
    headers = {"Content-Type": "application/vnd.apache.parquet"}
    for body in (parquet(), b"PAR1 is none"):
        apart, alone = gateways.both("POST", "/v1/judge", params=params, headers=headers, content=body)
        assert (apart.status_code, apart.content) == (alone.status_code, alone.content)

    async def endless() -> Any:
        for _ in range(20):
            yield b" " * 10_000

    for app in (gateways.apart, gateways.alone):
        given: Any = {"params": params, "headers": gateways.headers | headers}
        answer = ask(app, "POST", "/v1/judge", content=endless(), **given)
        assert answer.status_code == 413
        assert "larger than 100,000 bytes" in answer.json()["detail"]


def test_an_export_of_the_process_is_audited_with_its_rows(gateways: Gateways) -> None:
    params = ALL_TIME | {"series": series_at(gateways.store, OWN), "format": "csv"}
    given: Any = {"role": Role.VIEWER, "area_id": OWN, "created_by": "tests"}
    _, key = keys.mint(Accounts(gateways.store), name="of this test", **given)
    answer = ask(gateways.apart, "GET", "/v1/plot", params=params, headers={"X-API-Key": key})
    rows = len(answer.text.splitlines()) - 1
    assert rows > 0
    (line,) = Accounts(gateways.store).audit(AuditQuery(limit=1))
    assert (line.action, line.status, line.detail["rows"]) == ("GET /v1/plot", 200, rows)


def test_a_process_that_ends_is_started_again_for_what_waits(gateways: Gateways) -> None:
    before = gateways.process
    assert ask(gateways.apart, "GET", "/sta/v1.1/Things", headers=gateways.headers).status_code == 200
    before.suspend()  # so that the next request waits for it
    timer = threading.Timer(0.5, before.kill)
    timer.start()
    answer = ask(gateways.apart, "GET", "/sta/v1.1/Things", headers=gateways.headers)
    timer.join()
    assert answer.status_code in {200, 503}, "by the next process, or it was handed over before the end"
    assert ask(gateways.apart, "GET", "/sta/v1.1/Things", headers=gateways.headers).status_code == 200
    assert gateways.process.pid != before.pid


def test_the_process_ends_with_the_gateway(gateways: Gateways) -> None:
    """Its standard input ends with the gateway, however that ends."""
    app = create_app(gateways.store, Settings(), console=False, heavy_worker=WORKER)
    heavy: HeavyProcess = app.state.heavy
    heavy.start()
    process = psutil.Process(heavy.pid)
    heavy.close()
    assert not process.is_running()


def test_a_request_whose_client_left_while_it_waited_is_not_worked_on(gateways: Gateways) -> None:
    app, answered = gateways.alone, []

    async def scenario() -> None:
        turns = app.state.turns.heavy
        async with AsyncClient(transport=ASGITransport(app), base_url="http://gateway") as client:
            who = (await client.get("/v1/me", headers=gateways.headers)).json()["who"]
        left = asyncio.Event()

        async def receive() -> Message:
            if not left.is_set():
                left.set()
                return {"type": "http.request"}
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            answered.append(message)

        headers = [(name.lower().encode(), value.encode()) for name, value in gateways.headers.items()]
        scope: Any = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/sta/v1.1/Things"}
        scope |= {"query_string": b"", "headers": headers, "scheme": "http", "client": ("127.0.0.1", 5)}
        async with turns.turn(who):
            waiting = asyncio.create_task(app(scope, receive, send))
            await asyncio.sleep(0.2)
            assert not waiting.done()
        await waiting

    asyncio.run(scenario())
    assert answered == []
