"""Tests that the heavy-request process has the gateway's area scope, refusals and audit."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from httpx import ASGITransport, AsyncClient

from analytics.quality.compiled_judge_loader import CompiledJudgeLoader
from deploy.embedded.server_environment import free_port
from gateway import heavy_process, heavy_protocol
from gateway.app import create_app
from gateway.auth import api_keys, request_auth
from gateway.auth.fair_queue import WorkSlot
from gateway.auth.principal import Role
from gateway.auth.request_auth import RequestAuth
from gateway.heavy_process import WorkerStartup
from gateway.settings import Settings
from ingest_service.storage.postgres.api_keys import ApiKeyStore, AuditQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.asgi import send_request
from tests.support.four_areas import ABROAD, OWN, enrol, series_of_area
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from fastapi import FastAPI
    from httpx import Response
    from starlette.types import Message

    from gateway.heavy_process import HeavyProcess
    from tests.support.throwaway_servers import NamedServer, PostgresServer

WORKER = [sys.executable, "-m", "deploy.heavy_worker", "{}"]
ALL_TIME = {"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


class Gateways(NamedTuple):
    """One with a process for heavy requests and one without, on one database, and a key of a town."""

    with_process: FastAPI
    single_process: FastAPI
    store: PostgresStore
    headers: dict[str, str]

    @property
    def process(self) -> psutil.Process:
        """The process for heavy requests."""
        heavy: HeavyProcess = self.with_process.state.heavy
        heavy.start()
        assert heavy.pid is not None
        return psutil.Process(heavy.pid)

    def both(self, method: str, path: str, **arguments: Any) -> tuple[Response, Response]:
        """The answers of both gateways."""
        arguments["headers"] = self.headers | arguments.get("headers", {})
        return send_request(self.with_process, method, path, **arguments), send_request(
            self.single_process, method, path, **arguments
        )


@pytest.fixture(scope="module")
def gateways(timescale_server: PostgresServer | NamedServer) -> Iterator[Gateways]:
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        enrol(store)
        settings = Settings(heavy_burst_s=3600.0, body_bytes=100_000, device_ca=Path("a path"))
        with_process = create_app(store, settings, console=False, heavy_worker=WORKER)
        single_process = create_app(store, settings, console=False)
        arguments: Any = {"role": Role.ENGINEER, "area_id": OWN, "created_by": "tests"}
        _, key = api_keys.create_key(ApiKeyStore(store), name="Wang Fang", **arguments)
        yield Gateways(with_process, single_process, store, {"Authorization": f"Bearer {key}"})
        with_process.state.heavy.close()
        store.close()


def parquet() -> bytes:
    """A small posted series."""
    sink = io.BytesIO()
    times = 1.79e9 + 300.0 * np.arange(100)
    pq.write_table(pa.table({"time": times, "value": 7.0 + np.sin(times)}), sink)
    return sink.getvalue()


def test_answers_are_those_of_one_process(gateways: Gateways) -> None:
    series = series_of_area(gateways.store, OWN)
    for path, params in (
        ("/v1/readings", ALL_TIME | {"format": "csv"}),
        ("/v1/plot", ALL_TIME | {"series": series}),
        ("/v1/plot", ALL_TIME | {"series": series_of_area(gateways.store, ABROAD)}),
        ("/v1/twin/estimates", {"quantity": "ph", "at": "2026-09-21T14:20:00Z"}),
        ("/sta/v1.1/Things", {"$count": "true"}),
        ("/v1/anomalies", {"text": "氨氮"}),
        ("/v1/anomalies", {"text": b"\xff\x00%"}),
        ("/v1/anomalies", {"text": "csv", "format": "csv"}),
        ("/sta/v1.1/Observations", {"$filter": "result gt 1 and result lt"}),
        *[("/v1/plot", {"series": "x"})] * 20,  # answered before the gateway has handed over the body
    ):
        with_process, single_process = gateways.both("GET", path, params=params)
        assert (with_process.status_code, with_process.content) == (
            single_process.status_code,
            single_process.content,
        ), path
        for name in ("content-type", "vary", "cache-control"):
            assert with_process.headers.get(name) == single_process.headers.get(name), (path, name)
    assert gateways.process.nice() > psutil.Process().nice()


def test_a_page_of_the_console_stays_in_the_gateway_whatever_is_searched_for(gateways: Gateways) -> None:
    """A search for a word as csv went to the process, which has no such page, and was answered by a 503."""
    with_console = create_app(gateways.store, Settings(), heavy_worker=WORKER)
    try:
        for path in ("/", "/console/anomalies", "/console/incidents", "/console/sites", "/console/devices"):
            for word in ("csv", "氨氮"):
                headers = gateways.headers | {"Accept": "text/html"}
                params = {"text": word, "format": word}
                answer = send_request(with_console, "GET", path, params=params, headers=headers)
                assert answer.status_code == 200, (path, word)
    finally:
        with_console.state.heavy.close()


def test_bodies_are_handed_over_and_refused_as_in_one_process(gateways: Gateways) -> None:
    params = {"quantity": "ph"}
    headers = {"Content-Type": "application/vnd.apache.parquet"}
    for body in (parquet(), b"PAR1 is none"):
        with_process, single_process = gateways.both(
            "POST", "/v1/judge", params=params, headers=headers, content=body
        )
        assert (with_process.status_code, with_process.content) == (
            single_process.status_code,
            single_process.content,
        )

    async def endless() -> Any:
        for _ in range(20):
            yield b" " * 10_000

    for app in (gateways.with_process, gateways.single_process):
        arguments: Any = {"params": params, "headers": gateways.headers | headers}
        answer = send_request(app, "POST", "/v1/judge", content=endless(), **arguments)
        assert answer.status_code == 413
        assert "larger than 100,000 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("waited_s", [0.0, 3600.0])
def test_the_judge_being_compiled_is_not_charged_to_the_key(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch, waited_s: float
) -> None:
    """A first request in a fresh clone took the key's share of the server's time, and had no answer."""
    app = gateways.single_process
    loaded, app.state.judge_loader = app.state.judge_loader, CompiledJudgeLoader()
    loader = app.state.judge_loader
    loaded.start()
    assert loaded.wait_after_start(300.0)
    # As if the compiler had been started by another request so long ago; it does not end here.
    loader._is_started, loader._started_s = True, time.monotonic() - waited_s
    left_out_s: list[float] = []
    monkeypatch.setattr(WorkSlot, "leave_out", lambda _, one_s: left_out_s.append(one_s))
    arguments: Any = {"params": {"quantity": "ph"}, "headers": gateways.headers}
    small = {"time": [1.79e9 + 300.0 * i for i in range(300)], "value": [7.0] * 300}
    large = {"time": [1.79e9 + 300.0 * i for i in range(1001)], "value": [7.0] * 1001}
    try:
        by_numpy = send_request(app, "POST", "/v1/judge", json=small, **arguments)
        if waited_s:
            refused = send_request(app, "POST", "/v1/judge", json=large, **arguments)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "15")
            assert "is being compiled" in refused.json()["detail"]
        else:  # large files wait for the same end
            end = threading.Timer(0.2, loader._finished.set)
            end.start()
            assert send_request(app, "POST", "/v1/judge", json=large, **arguments).status_code == 200
            assert loader.is_finished
    finally:
        app.state.judge_loader = loaded
    compiled = send_request(app, "POST", "/v1/judge", json=small, **arguments)
    assert by_numpy.status_code == 200
    assert by_numpy.json()["readings"] == compiled.json()["readings"]
    assert all(one_s > 0 for one_s in left_out_s[:2])
    assert left_out_s[2:] == [0.0], "the compiled judge is charged"


def test_time_not_to_be_charged_is_reported_by_the_process() -> None:
    auth: Any = RequestAuth(None, "")  # type: ignore[arg-type]
    scope: Any = {request_auth.AUTH_SCOPE_KEY: auth}

    async def send(_message: Message) -> None:
        pass

    start = heavy_protocol.ResponseStart(
        200, [], "/v1/judge", heavy_protocol.ResponseAuditData(0, False, {}, uncharged_s=28.0)
    )
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(start), type=heavy_protocol.ResponseStart)
    asyncio.run(heavy_process._forward_response(sent, scope, send))
    assert auth.uncharged_s == 28.0


def test_an_export_of_the_process_is_audited_with_its_rows(gateways: Gateways) -> None:
    params = ALL_TIME | {"series": series_of_area(gateways.store, OWN), "format": "csv"}
    arguments: Any = {"role": Role.VIEWER, "area_id": OWN, "created_by": "tests"}
    _, key = api_keys.create_key(ApiKeyStore(gateways.store), name="of this test", **arguments)
    answer = send_request(gateways.with_process, "GET", "/v1/plot", params=params, headers={"X-API-Key": key})
    rows = len(answer.text.splitlines()) - 1
    assert rows > 0
    (line,) = ApiKeyStore(gateways.store).audit(AuditQuery(limit=1))
    assert (line.action, line.status, line.detail["rows"]) == ("GET /v1/plot", 200, rows)


def test_a_process_that_ends_is_started_again_for_what_waits(gateways: Gateways) -> None:
    before = gateways.process
    assert (
        send_request(gateways.with_process, "GET", "/sta/v1.1/Things", headers=gateways.headers).status_code
        == 200
    )
    before.suspend()  # so that the next request waits for it
    timer = threading.Timer(0.5, before.kill)
    timer.start()
    answer = send_request(gateways.with_process, "GET", "/sta/v1.1/Things", headers=gateways.headers)
    timer.join()
    assert answer.status_code in {200, 503}, "by the next process, or it was handed over before the end"
    assert (
        send_request(gateways.with_process, "GET", "/sta/v1.1/Things", headers=gateways.headers).status_code
        == 200
    )
    assert gateways.process.pid != before.pid


def test_the_process_loads_compiled_steps_before_the_first_scenario_needs_them(gateways: Gateways) -> None:
    """The first scenario on roads took twice as long as others, for it loaded SciPy, Numba and the steps."""
    process = gateways.process
    wanted = {"scipy/sparse/linalg", "llvmlite"}
    until_s = time.monotonic() + 120
    while missing := {one for one in wanted if not any(one in row.path for row in process.memory_maps())}:
        assert time.monotonic() < until_s, f"the process has not loaded {missing}"
        time.sleep(0.2)


def test_a_compiler_of_steps_ends_with_its_process_though_it_ignores_signals(tmp_path: Path) -> None:
    """It compiled on after the worker's end, and held up the stop of the service, for it ignored SIGTERM."""
    program = """
import os, psutil, signal, time
from gateway import compile_steps
signal.signal(signal.SIGTERM, signal.SIG_IGN)
compile_steps.start_loading()
while not (children := psutil.Process().children()):
    time.sleep(0.05)
print(children[0].pid, flush=True)
os._exit(0)
"""
    environ = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", program], env=environ, stdout=subprocess.PIPE, check=True)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(ended.stdout)).wait(120)
    assert not list(tmp_path.rglob("*.nbi")), "it has compiled nothing more"


def test_the_process_ends_with_the_gateway(gateways: Gateways) -> None:
    """Its standard input ends with the gateway, however that ends."""
    app = create_app(gateways.store, Settings(), console=False, heavy_worker=WORKER)
    heavy: HeavyProcess = app.state.heavy
    heavy.start()
    process = psutil.Process(heavy.pid)
    heavy.close()
    assert not process.is_running()


def test_the_process_ends_with_the_gateway_while_the_database_is_away() -> None:
    startup = msgspec.msgpack.encode(WorkerStartup(f"postgresql://a@127.0.0.1:{free_port()}/none", {}, {}))
    with socket.socket(socket.AF_UNIX) as listening:
        command = [*WORKER, str(listening.fileno())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listening.fileno()])
    try:
        process.communicate(struct.pack(">I", len(startup)) + startup, timeout=60)
    finally:
        process.kill()  # it ignores SIGTERM
    assert process.returncode == 0


def test_a_request_whose_client_left_while_it_waited_is_not_worked_on(gateways: Gateways) -> None:
    app, answered = gateways.single_process, []

    async def scenario() -> None:
        request_queues = app.state.request_queues.heavy
        async with AsyncClient(transport=ASGITransport(app), base_url="http://gateway") as client:
            principal_id = (await client.get("/v1/me", headers=gateways.headers)).json()["who"]
        has_left = asyncio.Event()

        async def receive() -> Message:
            if not has_left.is_set():
                has_left.set()
                return {"type": "http.request"}
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            answered.append(message)

        headers = [(name.lower().encode(), value.encode()) for name, value in gateways.headers.items()]
        scope: Any = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/sta/v1.1/Things"}
        scope |= {"query_string": b"", "headers": headers, "scheme": "http", "client": ("127.0.0.1", 5)}
        async with request_queues.work_slot(principal_id):
            waiting = asyncio.create_task(app(scope, receive, send))
            await asyncio.sleep(0.2)
            assert not waiting.done()
        await waiting

    asyncio.run(scenario())
    assert answered == []
