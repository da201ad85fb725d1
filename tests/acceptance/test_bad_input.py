"""Tests that bad input over a real broker becomes dead letters, is acknowledged, and stops nothing."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import cbor2

from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.mqtt_test_device import MqttTestDevice
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

DATA = "towntwin/v1/330483-d1/d1/data"


def pack(at_s: float, value: float = 7.2, **changed: Any) -> bytes:
    return json.dumps([{"n": "ph", "u": "pH", "v": value, "t": at_s, **changed}]).encode()


def test_every_kind_of_bad_input_ends_whole_in_the_dead_letters(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    now_s = float(int(time.time()) - 600)
    bad = [
        (DATA, b"hello", "payload"),
        (DATA, pack(now_s, u="Cel"), "unit"),
        (DATA, pack(now_s, n="unheard-of"), "channel"),
        (DATA, cbor2.dumps([{0: "ph", 1: "pH", 2: float("inf"), 6: now_s}]), "payload"),
        (DATA, pack(now_s + 86_400), "time"),
        (DATA.replace("/d1/", "/stranger/"), pack(now_s), "device"),
        (DATA.replace("330483-d1", "330402-d1"), pack(now_s), "device"),
        (DATA, b"\x00" * 10_000_000, "payload"),
        (DATA, cbor2.dumps([{0: "ph", 1: "pH", 2: 7.1, 6: now_s}])[:-2], "payload"),
        (DATA.replace("data", "status"), b'{"online": 3}', "payload"),
    ]
    ingest = PlatformProcess(
        "ingest", log=tmp_path / "ingest.log", TOWNTWIN_DSN=timescale_dsn, TOWNTWIN_BROKER=mosquitto.url
    )
    with running_processes(ingest), MqttTestDevice(mosquitto, DATA) as device:
        wait_until(lambda: "subscribed" in ingest.log.read_text(), within_s=60, what="ingest is ready")
        for number, (topic, payload, _) in enumerate(bad, start=1):
            device.send(payload, topic=topic, number=number)
            device.send(pack(now_s + number), number=100 + number)
        wait_until(lambda: store.health().readings == len(bad), within_s=60, what="the good ones are stored")
        wait_until(
            lambda: store.health().dead_letters == len(bad), within_s=60, what="the bad ones are letters"
        )
        kept = {*range(1, len(bad) + 1), *range(101, 101 + len(bad))}
        wait_until(lambda: device.receipted == kept, within_s=60, what="all of them have receipts")
        assert ingest.stop() == 0
    dead_letters_sorted = sorted(
        store.dead_letters(DeadLetterQuery()), key=lambda one: int(one.properties["number"])
    )
    assert [(one.topic, one.payload, one.reason) for one in dead_letters_sorted] == bad
    assert all(len(one.detail) > 20 for one in dead_letters_sorted)
    store.close()


def test_database_and_broker_away_at_start_are_waited_for(
    timescale_server: Any, timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    store.close()
    timescale_server.kill()
    mosquitto.kill()
    ingest = PlatformProcess(
        "ingest", log=tmp_path / "ingest.log", TOWNTWIN_DSN=timescale_dsn, TOWNTWIN_BROKER=mosquitto.url
    )
    with running_processes(ingest):
        wait_until(
            lambda: "database_away" in ingest.log.read_text(), within_s=60, what="it says what it waits for"
        )
        timescale_server.start()
        wait_until(lambda: "ingest_started" in ingest.log.read_text(), within_s=60, what="it goes on")
        mosquitto.start()
        wait_until(lambda: "subscribed" in ingest.log.read_text(), within_s=60, what="it is connected")
        store = PostgresStore.open(timescale_dsn)
        with MqttTestDevice(mosquitto, DATA) as device:
            device.send(pack(time.time() - 10))
            wait_until(lambda: store.health().readings == 1, within_s=60, what="a reading arrives")
        store.close()
        assert ingest.stop() == 0
