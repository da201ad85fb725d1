"""Tests the fair queue of heavy requests: turns by key, a time budget, pauses for slow readers."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from gateway.api.problems import ProblemError
from gateway.auth import api_keys, fair_queue
from gateway.auth.export_audit import EXPORT_THRESHOLD_ROWS, MAX_BURST_ENTRIES, ExportCounter
from gateway.auth.fair_queue import FairQueue, TimeBudget
from gateway.auth.principal import Role
from gateway.settings import Settings
from tests.support.asgi import send_request
from tests.support.gateway_access import MemoryApiKeyStore, gateway_app

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ingest_service.storage.postgres.store import PostgresStore


def test_keys_get_turns_one_after_the_other() -> None:
    async def scenario() -> list[str]:
        queue, done = FairQueue(per_key=2, total=2, max_waiting=50), list[str]()

        async def work(principal_id: str) -> None:
            async with queue.work_slot(principal_id):
                await asyncio.sleep(0.001)
                done.append(principal_id)

        many = [asyncio.create_task(work("greedy")) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.gather(work("other"), *many)
        assert queue.running == 0
        return done

    assert asyncio.run(scenario()).index("other") <= 3


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_long_response_rests_between_its_parts_while_other_requests_come_in(
    monkeypatch: pytest.MonkeyPatch, *, is_busy: bool
) -> None:
    async def scenario() -> tuple[list[float], float]:
        clock, rests = [1000.0], list[float]()

        async def sleep(seconds: float) -> None:
            rests.append(round(seconds, 3))
            clock[0] += seconds

        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        monkeypatch.setattr(asyncio, "sleep", sleep)
        regular = FairQueue(per_key=9, total=9, max_waiting=9)
        budget = TimeBudget(share=1e-9, burst_s=10.0)
        heavy = FairQueue(per_key=1, total=1, max_waiting=9, budget=budget, yields_to=regular)

        async def work(seconds: float) -> None:
            clock[0] += seconds
            if is_busy:
                async with regular.work_slot("other"):
                    pass

        async with heavy.work_slot("export") as work_slot:
            for worked_s in (0.02, 0.5):
                await work(worked_s)
                work_slot.pause()
                await work_slot.resume()
            await work(0.01)
            await work_slot.rest()
        return rests, 10.0 - budget._remaining["export"][0]

    rests, charged_s = asyncio.run(scenario())
    expected = [0.02 * fair_queue.REST_PER_WORK, fair_queue.MAX_REST_S, 0.01 * fair_queue.REST_PER_WORK]
    assert rests == (pytest.approx(expected) if is_busy else [])
    assert charged_s == pytest.approx(0.53), "for work alone"


def test_a_key_never_has_more_than_its_turns_and_waits_within_bounds() -> None:
    async def scenario() -> None:
        queue = FairQueue(per_key=2, total=10, max_waiting=3)
        running = [asyncio.create_task(hold_slot(queue, "a")) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert queue.running == 2
        with pytest.raises(ProblemError, match="3 requests of this key wait") as caught:
            await hold_slot(queue, "a")
        assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "1"})
        for one in running:
            one.cancel()
        for one in running:
            with suppress(asyncio.CancelledError):
                await one
        assert queue.running == 0, "whoever goes away while it waits takes no turn with it"
        async with queue.work_slot("b"):
            assert queue.running == 1

    asyncio.run(scenario())


async def hold_slot(queue: FairQueue, principal_id: str) -> None:
    async with queue.work_slot(principal_id):
        await asyncio.sleep(60)


def test_a_turn_that_pauses_lets_others_work() -> None:
    async def scenario() -> None:
        queue = FairQueue(per_key=1, total=1, max_waiting=3)
        async with queue.work_slot("slow reader") as work_slot:
            work_slot.pause()
            async with asyncio.timeout(1), queue.work_slot("other"):
                pass
            await work_slot.resume()
            assert queue.running == 1

    asyncio.run(scenario())


def test_a_key_that_has_spent_its_time_gets_the_time_to_retry() -> None:
    async def scenario() -> None:
        queue = FairQueue(per_key=1, total=1, max_waiting=3, budget=TimeBudget(share=0.5, burst_s=0.01))
        async with queue.work_slot("a"):
            await asyncio.sleep(0.1)
        with pytest.raises(ProblemError, match="share of the server's time"):
            await hold_slot(queue, "a")
        async with queue.work_slot("b"):
            pass

    asyncio.run(scenario())


def test_time_that_is_not_of_the_key_is_not_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> float:
        clock = [1000.0]
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        budget = TimeBudget(share=1e-9, burst_s=10.0)
        queue = FairQueue(per_key=1, total=1, max_waiting=3, budget=budget)
        async with queue.work_slot("a") as work_slot:
            clock[0] += 30.0
            work_slot.leave_out(28.0)
        async with queue.work_slot("a") as work_slot:
            clock[0] += 1.0
            work_slot.leave_out(28.0)
        return 10.0 - budget._remaining["a"][0]

    assert asyncio.run(scenario()) == pytest.approx(2.0), "and never less than nothing"


def test_an_export_is_counted_by_what_leaves_and_never_floods_the_audit() -> None:
    ledger = ExportCounter()
    pages = [
        ledger.add("a", "r", rows=EXPORT_THRESHOLD_ROWS // 4, is_file=False, now_s=0.0) for _ in range(4)
    ]
    assert pages == [None, None, None, {"rows": EXPORT_THRESHOLD_ROWS, "answers": 4}]
    files = [ledger.add("a", "r", rows=1, is_file=True, now_s=1.0) for _ in range(200)]
    assert sum(one is not None for one in files) < MAX_BURST_ENTRIES
    later = ledger.add("a", "r", rows=1, is_file=True, now_s=120.0)
    assert later is not None
    assert later["answers"] > 180, "those without a line are counted in the next one"


@pytest.fixture
def audited_gateway(filled_store: PostgresStore) -> tuple[FastAPI, MemoryApiKeyStore, dict[str, str]]:
    accounts = MemoryApiKeyStore()
    app = gateway_app(filled_store, accounts=accounts)
    _, text = api_keys.create_key(
        accounts, name="viewer", role=Role.VIEWER, area_id="330483", created_by="tests"
    )
    return app, accounts, {"X-API-Key": text}


def test_every_way_out_of_the_database_is_audited_by_rows(
    audited_gateway: tuple[FastAPI, MemoryApiKeyStore, dict[str, str]],
) -> None:
    app, accounts, headers = audited_gateway
    series = [one["series_id"] for one in send_request(app, "GET", "/v1/series", headers=headers).json()]
    plot: Any = {"series": series[:5], "points": 500, "format": "csv"}
    assert send_request(app, "GET", "/v1/plot", headers=headers, params=plot).status_code == 200
    for path in (
        f"/v1/series/{series[0]}/buckets?width=PT1H&format=csv",
        "/v1/latest?format=csv",
        "/v1/readings?format=ndjson",
        "/sta/v1.1/Observations?$resultFormat=dataArray&$top=10",
    ):
        assert send_request(app, "GET", path, headers=headers).status_code == 200, path
    actions = [one.action.removeprefix("GET ") for one in accounts.lines]
    expected = ["/v1/plot", "/v1/series/{series_id}/buckets", "/v1/latest", "/v1/readings"]
    assert actions == [*expected, "/sta/v1.1/{path:path}"]
    assert accounts.lines[0].detail["rows"] > 100
    for _ in range(3):
        assert send_request(app, "GET", "/v1/readings?limit=5000", headers=headers).status_code == 200
    assert accounts.lines[-1].detail["rows"] >= EXPORT_THRESHOLD_ROWS
    assert accounts.lines[-1].action == "GET /v1/readings"
    # what was posted comes back judged, which leaves as many rows
    many = {
        "time": [1.79e9 + 300 * i for i in range(EXPORT_THRESHOLD_ROWS)],
        "value": [7.0 + i % 7 for i in range(EXPORT_THRESHOLD_ROWS)],
    }
    few = {name: values[:500] for name, values in many.items()}
    for body, form in ((many, "json"), (few, "csv")):
        address = f"/v1/judge?quantity=ph&format={form}"
        assert send_request(app, "POST", address, headers=headers, json=body).status_code == 200
        assert accounts.lines[-1].action == "POST /v1/judge"
        assert accounts.lines[-1].detail["rows"] == len(body["time"])


def test_a_viewer_writes_no_audit_by_the_hundred(
    audited_gateway: tuple[FastAPI, MemoryApiKeyStore, dict[str, str]],
) -> None:
    app, accounts, headers = audited_gateway
    judged = {"time": [1.79e9, 1.79e9 + 300], "value": [7.0, 7.1]}
    for _ in range(60):
        send_request(app, "POST", "/v1/judge?quantity=ph", headers=headers, json=judged)
        send_request(app, "GET", "/v1/reports/330483/2020-01", headers=headers)
        send_request(app, "POST", "/sta/v1.1/Things", headers=headers)
    assert len(accounts.lines) <= MAX_BURST_ENTRIES


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/reports/%00/2026-10"),
        ("GET", "/v1/reports/330483%00/2026-10?language=en"),
        ("POST", "/sta/v1.1/a%00b"),
        ("GET", "/sta/v1.1/a%00b"),
        ("GET", "/v1/series/1/buckets?width=P999999999D"),
        ("GET", "/v1/sites/%00"),
    ],
)
def test_a_nul_or_an_endless_width_is_refused_and_not_a_failure(
    filled_store: PostgresStore, method: str, path: str
) -> None:
    """With the accounts of the database, where the audit refuses what PostgreSQL can't hold."""
    app = gateway_app(filled_store, accounts=None)
    accounts = app.state.context.accounts
    _, text = api_keys.create_key(accounts, name="viewer", role=Role.ADMINISTRATOR, created_by="tests")
    answer = send_request(app, method, path, headers={"X-API-Key": text})
    assert answer.status_code in {400, 404, 422, 501}, (path, answer.text)


def test_slow_requests_of_one_key_leave_another_its_turn(
    filled_store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 requests of a viewer hang in the database; a second key is answered meanwhile."""
    from gateway.sensorthings import routes  # noqa: PLC0415 - what is slowed down

    released, began = threading.Event(), threading.Semaphore(0)
    answered = routes._open_and_answer

    def slow(*given: Any) -> Any:
        began.release()
        released.wait(20)
        return answered(*given)

    monkeypatch.setattr(routes, "_open_and_answer", slow)
    accounts = MemoryApiKeyStore()
    app = gateway_app(filled_store, accounts=accounts, settings=Settings(heavy_per_key=2))
    greedy, other = (
        {"X-API-Key": api_keys.create_key(accounts, name=name, role=Role.VIEWER, created_by="tests")[1]}
        for name in ("greedy", "other")
    )

    async def scenario() -> float:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://x", timeout=60) as client:
            for key in (greedy, other):  # a key is proven once
                await client.get("/v1/me", headers=key)
            slow_ones = [
                asyncio.create_task(client.get("/sta/v1.1/Things", headers=greedy)) for _ in range(30)
            ]
            await asyncio.to_thread(began.acquire)
            began_s = time.monotonic()
            answer = await client.get("/v1/latest", headers=other)
            took_s = time.monotonic() - began_s
            assert answer.status_code == 200
            assert [one.result().text for one in slow_ones if one.done()] == []
            released.set()
            assert {one.status_code for one in await asyncio.gather(*slow_ones)} == {200}
        return took_s

    assert asyncio.run(scenario()) < 10
