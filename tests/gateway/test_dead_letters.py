"""Tests dead letters by API while ingest runs, and the devices' clock offsets."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from edge.wire.status import StatusMessage
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import Channel, DeadLetter, DeviceStatus, Directory, Series
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.gateway_access import HEADERS, gateway_app
from tests.support.mqtt_test_device import MqttTestDevice, pack
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

    from httpx import Response

    from ingest_service.storage.contract.store import Store

WITHIN_S = 60.0
DATA = "towntwin/v1/330483-d1/d1/data"


class DeadLetterClient:
    """The API of a store, without a socket."""

    def __init__(self, store: Store) -> None:
        self._app = gateway_app(store)

    def ask(self, method: str, path: str, **changed: Any) -> Response:
        async def once() -> Response:
            transport = ASGITransport(self._app, raise_app_exceptions=False)
            async with AsyncClient(transport=transport, base_url="http://gateway", headers=HEADERS) as client:
                return await client.request(method, path, **changed)

        return asyncio.run(once())

    def get(self, path: str, **params: Any) -> Any:
        answer = self.ask("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, replay_filter: dict[str, Any]) -> Any:
        answer = self.ask("POST", path, json=replay_filter)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def dead_letters(self, **params: Any) -> list[Any]:
        items: list[Any] = self.get("/v1/dead-letters", **params)["items"]
        return items


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.enrol(DIRECTORY)
    dead_letters = [
        DeadLetter(
            received_s=1.79e9 + number,
            topic=f"towntwin/v1/330483-d1/d{number % 2}/data",
            payload=bytes(number),
            reason="unit" if number % 3 else "channel",
            detail="what was wrong",
        )
        for number in range(10)
    ]
    store.commit(Batch(dead_letters=dead_letters))
    return store


def test_a_dead_letter_is_replayed_by_api_and_stored_once(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    api = DeadLetterClient(store)
    at_s = float(int(time.time()) - 600)
    payload = pack("conductivity", "S/m", {at_s: 0.05})
    ingest = PlatformProcess(
        "ingest", log=tmp_path / "ingest.log", TOWNTWIN_DSN=timescale_dsn, TOWNTWIN_BROKER=mosquitto.url
    )
    with running_processes(ingest), MqttTestDevice(mosquitto, DATA) as device:
        wait_until(lambda: "subscribed" in ingest.log.read_text(), within_s=WITHIN_S, what="ingest is ready")
        device.send(payload)
        wait_until(lambda: len(api.dead_letters()) == 1, within_s=WITHIN_S, what="it is a letter")
        (letter,) = api.dead_letters(reason="channel", device="d1")
        one = f"/v1/dead-letters/{letter['letter_id']}"
        whole = api.get(one)
        assert base64.b64decode(whole["payload_base64"]) == payload
        assert whole["properties"] == {"epoch": "e", "number": "1"}
        assert letter.items() <= whole.items()
        assert (letter["bytes"], letter["state"], letter["replays"]) == (len(payload), "waiting", 0)
        assert "enrol it, then replay" in letter["detail"]

        replay_filter = {"ids": [letter["letter_id"]]}
        assert api.post("/v1/dead-letters/replay", replay_filter) == {"letters": 1}
        wait_until(lambda: api.get(one)["replays"] == 1, within_s=WITHIN_S, what="replayed in vain, it stays")
        assert api.get(one)["state"] == "waiting"

        store.enrol(
            Directory(
                series=[Series(site_id="s1", quantity="conductivity")],
                channels=[
                    Channel(device_id="d1", name="conductivity", site_id="s1", quantity="conductivity")
                ],
            )
        )
        assert api.post("/v1/dead-letters/replay", {"reason": "channel"}) == {"letters": 1}
        wait_until(lambda: not api.dead_letters(), within_s=WITHIN_S, what="it is stored")
        gone = api.ask("GET", one)
        assert (gone.status_code, gone.headers["content-type"]) == (404, "application/problem+json")
        assert api.post("/v1/dead-letters/replay", replay_filter) == {"letters": 0}
        (latest,) = DeadLetterClient(store).get("/v1/latest", quantity="conductivity")
        assert latest["value"] == pytest.approx(500)
        assert api.get("/v1/health")["readings"] == 1
        assert ingest.stop() == 0
    store.close()


def test_dead_letters_are_paged_newest_first_and_filtered(store: MemoryStore) -> None:
    api = DeadLetterClient(store)
    ids_and_sizes: list[tuple[int, int]] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get("/v1/dead-letters", limit=3, **cursor)
        ids_and_sizes += [(one["letter_id"], one["bytes"]) for one in page["items"]]
        if page["next"] is None:
            break
        store.commit(
            Batch(
                dead_letters=[DeadLetter(received_s=1.0, topic="t", payload=b"", reason="topic", detail="")]
            )
        )
        cursor = {"cursor": page["next"]}
    assert ids_and_sizes == [(number + 1, number) for number in reversed(range(10))], (
        "what comes meanwhile moves nothing"
    )
    assert [one["letter_id"] for one in api.dead_letters(device="d1", reason="unit")] == [8, 6, 2]


def test_dead_letters_are_purged_by_filter(store: MemoryStore) -> None:
    api = DeadLetterClient(store)
    assert api.post("/v1/dead-letters/purge", {"device": "d1", "reason": "unit"}) == {"letters": 3}
    moment = "2026-09-21T14:13:22Z"  # 1 790 000 002 s
    assert api.post("/v1/dead-letters/purge", {"received_before": moment}) == {"letters": 1}
    assert api.post("/v1/dead-letters/purge", {"ids": []}) == {"letters": 0}
    assert [one["letter_id"] for one in api.dead_letters()] == [10, 9, 7, 5, 4, 3]
    assert api.get("/v1/health")["dead_letters"] == 6


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/purge", {}, 422, "filter is empty"),
        ("/replay", {}, 422, "filter is empty"),
        ("/purge", {"resaon": "channel"}, 422, "resaon"),
        ("/purge", {"ids": [0]}, 422, "ids"),
        ("/purge", {"received_before": "2026-09-21T14:13:22"}, 422, "received_before"),
        ("/999", None, 404, "no dead letter 999"),
        ("/0", None, 422, "letter_id"),
        ("?cursor=garbage", None, 422, "cursor"),
        ("?limit=1001", None, 422, "limit"),
    ],
)
def test_wrong_calls_are_problems_and_touch_nothing(
    path: str, body: Any, status: int, says: str, store: MemoryStore
) -> None:
    api = DeadLetterClient(store)
    answer = api.ask("GET" if body is None else "POST", f"/v1/dead-letters{path}", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]
    assert {one["state"] for one in api.dead_letters()} == {"waiting"}
    assert len(api.dead_letters()) == 10


def test_devices_are_shown_with_their_status_and_how_wrong_their_clock_is(store: MemoryStore) -> None:
    device_status = {"online": True, "agent": "0.1", "spool_depth": 3, "clock_offset_s": 1.0, "time_s": 1.0}
    store.commit(
        Batch(
            statuses=[
                DeviceStatus(device_id="d1", received_s=1.79e9, status=device_status, clock_offset_s=-7200.0)
            ]
        )
    )
    api = DeadLetterClient(store)
    first, second = api.get("/v1/devices")
    assert (first["device_id"], first["area_id"], first["clock_offset_s"]) == ("d1", "330483-d1", -7200.0)
    assert first["status"]["online"]
    assert first["status"]["spool_depth"] == 3
    assert first["status"]["received"] == "2026-09-21T14:13:20.000Z"
    assert (second["device_id"], second["status"], second["clock_offset_s"], second["received"]) == (
        "d2",
        None,
        None,
        None,
    )
    assert len(api.get("/v1/devices", area="330400")) == 2
    assert api.ask("GET", "/v1/devices", params={"area": "nowhere"}).status_code == 404


def test_the_offset_of_a_clock_comes_from_the_field_to_the_api(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    """A device two hours ahead: its readings are letters that say so; once mended, they are stored again."""
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    api = DeadLetterClient(store)

    def offset_s() -> float | None:
        found: float | None = api.get("/v1/devices")[0]["clock_offset_s"]
        return found

    ingest = PlatformProcess(
        "ingest", log=tmp_path / "ingest.log", TOWNTWIN_DSN=timescale_dsn, TOWNTWIN_BROKER=mosquitto.url
    )
    with running_processes(ingest), MqttTestDevice(mosquitto, DATA) as device:
        wait_until(lambda: "subscribed" in ingest.log.read_text(), within_s=WITHIN_S, what="ingest is ready")
        device.publish_status(StatusMessage(online=True, time_s=time.time() + 7200))
        wait_until(lambda: offset_s() is not None, within_s=WITHIN_S, what="the offset is known")
        assert offset_s() == pytest.approx(7200, abs=30)
        device.send(pack("ph", "pH", {time.time() + 7200: 7.5}))
        wait_until(
            lambda: len(api.dead_letters(reason="clock")) == 1,
            within_s=WITHIN_S,
            what="its reading is a letter",
        )
        assert "by its status it is +7" in api.dead_letters()[0]["detail"]

        device.publish_status(StatusMessage(online=True, time_s=time.time()))
        wait_until(
            lambda: abs(offset_s() or 7200) < 30, within_s=WITHIN_S, what="the clock is known to be mended"
        )
        device.send(pack("ph", "pH", {time.time() - 1: 7.5}))
        wait_until(lambda: bool(api.get("/v1/latest")), within_s=WITHIN_S, what="a reading is stored")
        assert "CLOCK" not in api.get("/v1/latest")[0]["rules"]
        assert ingest.stop() == 0
    store.close()
