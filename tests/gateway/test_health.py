"""Tests the responses of `/v1/health`, `/readyz` and background tasks during failures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.background_tasks import STABLE_AFTER_S, BackgroundTasks
from gateway.live.broadcaster import EventBroadcaster
from ingest_service.storage.health.heartbeat_thread import WorkStatus
from ingest_service.storage.memory.store import MemoryStore
from tests.support.asgi import StreamedResponse
from tests.support.gateway_access import ACCOUNTS, HEADERS, gateway_app
from tests.support.process_heartbeats import alive
from tests.support.processes import wait_until
from tests.support.store_samples import DIRECTORY, anomaly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from httpx import Response

    from ingest_service.storage.health.processes import ProcessInfo

HOME = "330483-d1"


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    one = MemoryStore()
    one.enrol(DIRECTORY)
    yield one
    one.close()


def ask(app: FastAPI, path: str, headers: dict[str, str] = HEADERS) -> Response:
    async def original_read() -> Response:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://gateway") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(original_read())


def health(store: MemoryStore, headers: dict[str, str] = HEADERS) -> Any:
    return ask(gateway_app(store), "/v1/health", headers).json()


def test_without_ingest_a_gateway_lives_and_is_not_ready(store: MemoryStore) -> None:
    app = gateway_app(store)
    assert ask(app, "/healthz").status_code == 200
    answer = ask(app, "/readyz")
    assert answer.status_code == 503
    assert "ingest is absent: no such process reports to this database: start one" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0
    found = ask(app, "/v1/health", HEADERS).json()
    assert found["status"] == "failing"
    assert [(one["kind"], one["state"], one["works"]) for one in found["processes"]] == [
        ("ingest", "absent", False),
        ("service", "absent", False),
    ]
    assert "接收服务 缺失" in found["problems"][0]["zh"]


def test_with_ingest_it_is_ready_whatever_becomes_of_the_service(store: MemoryStore) -> None:
    with alive(store, every_s=0.05) as pulses:
        assert ask(gateway_app(store), "/readyz").json() == {"status": "ok"}
        assert health(store)["status"] == "ok"
        pulses["service"].waiting_for("task")
        wait_until(lambda: not _of(health(store), "service")["works"], within_s=30, what="it shows")
        assert health(store)["status"] == "ok", "a reading would be stored and judged"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("broker", "the broker does not answer"),
        ("refused", "the broker refuses"),
        ("subscribing", "not subscribed yet"),
        ("receiver", "the thread that receives from the broker has ended"),
        ("judge", "judging fails"),
        ("compiling", "its judge is being compiled"),
        ("database", "the database took no write at the last attempt"),
    ],
)
def test_what_keeps_a_reading_out_is_reported(store: MemoryStore, fault: str, sentence: str) -> None:
    with alive(store, every_s=0.02) as pulses:
        pulses["ingest"].read_work_status = lambda: WorkStatus(fault, "a host of ours")
        wait_until(lambda: health(store)["status"] == "failing", within_s=30, what="it shows")
        answer = ask(gateway_app(store), "/readyz")
        assert answer.status_code == 503
        assert sentence in answer.json()["detail"]
        assert "of ours" not in answer.text, "anybody may ask"
        assert _of(health(store), "ingest")["detail"] == "a host of ours"


def test_a_key_of_an_area_does_not_get_where_processes_run(store: MemoryStore) -> None:
    _, key = api_keys.create_key(ACCOUNTS, name="home", role=Role.VIEWER, created_by="tests", area_id=HOME)
    with alive(store) as pulses:
        assert _of(health(store), "ingest")["pid"] > 0
        found = health(store, {"X-API-Key": key})
        assert found["status"] == "ok"
        assert {(one["host"], one["pid"], one["detail"]) for one in found["processes"]} == {
            (None, None, None)
        }
        pulses["ingest"].areas = ["elsewhere"]
        wait_until(
            lambda: health(store, {"X-API-Key": key})["status"] == "failing", within_s=30, what="not ours"
        )
        assert f"no process takes the readings of {HOME}" in health(store)["problems"][0]["en"]
        assert HOME not in ask(gateway_app(store), "/readyz").text


def _of(found: Any, kind: str) -> Any:
    return next(one for one in found["processes"] if one["kind"] == kind)


def test_open_anomalies_of_an_area_are_counted_beyond_ten_thousand(store: MemoryStore) -> None:
    """They were fetched, and no more than 10,000 of them."""
    store.record_anomalies([anomaly(subject=f"series/{n}", site_id="s1") for n in range(10_050)])
    _, key = api_keys.create_key(ACCOUNTS, name="counts", role=Role.VIEWER, created_by="tests", area_id=HOME)
    assert health(store, {"X-API-Key": key})["open_anomalies"] == 10_050


# -- background tasks --------------------------------------------------------------------------------


def test_a_background_task_goes_on_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    now_s = [0.0]
    tasks = BackgroundTasks(clock=lambda: now_s[0])
    rounds = iter([KeyError("a"), KeyError("b"), None])

    async def work() -> None:
        error = next(rounds)
        if error:
            raise error

    async def pause(wait_s: float) -> None:
        waits.append(wait_s)

    monkeypatch.setattr("gateway.background_tasks.asyncio.sleep", pause)
    asyncio.run(tasks.run_restarting("live", work))
    assert waits == [0.5, 1.0], "later each time"
    assert tasks.failing == ["live"]
    now_s[0] += STABLE_AFTER_S
    assert tasks.failing == []


def test_a_round_of_a_timer_that_fails_is_noted() -> None:
    tasks = BackgroundTasks()

    async def work() -> None:
        raise KeyError("x")

    asyncio.run(tasks.run_once("console", work))
    assert tasks.failing == ["console"]


def test_a_live_stream_outlives_an_unforeseen_exception(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that asks the store ended, and every stream was silent from then on."""
    original_read = EventBroadcaster._read_new_events
    failed: list[bool] = []

    def fails_once(self: EventBroadcaster, since_s: float | None) -> Any:
        if not failed:
            failed.append(True)
            raise KeyError("a defect")
        return original_read(self, since_s)

    monkeypatch.setattr(EventBroadcaster, "_read_new_events", fails_once)

    async def scenario() -> list[str]:
        app = gateway_app(store)
        stream = StreamedResponse(app, "/v1/live", HEADERS)
        await stream.until(lambda: bool(failed), within_s=30)
        store.record_anomalies([anomaly(site_id="s1")])
        await stream.until(lambda: "event: anomaly" in stream.text, within_s=30)
        stream.task.cancel()
        failing: list[str] = app.state.context.platform_health.tasks.failing
        return failing

    assert asyncio.run(scenario()) == ["live"]


def test_the_gateways_own_heartbeat_shows_its_tasks_and_its_loop(store: MemoryStore) -> None:
    async def scenario() -> tuple[ProcessInfo, ProcessInfo]:
        platform_health = gateway_app(store).state.context.platform_health
        platform_health._heartbeat._every_s = 0.02

        async def own(why: str) -> ProcessInfo:
            while True:
                found = [one for one in store.processes() if one.kind == "gateway" and one.why == why]
                if found:
                    return found[0]
                await asyncio.sleep(0.01)

        async with platform_health.sending_heartbeats(), asyncio.timeout(20):
            well = await own("")
            platform_health.tasks._failure_times_s["live"] = platform_health.tasks._clock()
            failing = await own("task")
        return well, failing

    well, failing = asyncio.run(scenario())
    assert (well.state, failing.state, failing.detail) == ("alive", "stuck", "live")
    assert [one.kind for one in store.processes()] == ["ingest", "service"], "it left as it was asked to"
