"""Tests subscriptions against a real Mosquitto: mappings, acknowledgement after storage, availability."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from edge.agent.agent import Agent
from edge.agent.settings import Settings
from edge.agent.spool import Spool, SpoolBusyError
from edge.drivers.driver_options import DriverOptionsError
from edge.drivers.registry import DRIVERS
from edge.wire import senml
from edge.wire.broker_address import BrokerAddress
from tests.support.mqtt_publisher import MqttPublisher
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.drivers import Pack
    from edge.wire.senml import Record
    from tests.support.throwaway_servers import MosquittoServer

MEASURED = "2026-11-18T09:46:40+00:00"
SOURCES: list[dict[str, Any]] = [
    {
        "topic": "application/+/device/0102030405060708/event/up",
        "mapping": {
            "format": "chirpstack",
            "values": [{"channel": "water_temperature", "path": "temp", "unit": "°C", "scale": 0.1}],
        },
    },
    {
        "topic": "tele/bridge/SENSOR",
        "availability": {"topic": "tele/bridge/LWT", "channel": "bridge_online"},
        "mapping": {
            "format": "tasmota",
            "values": [{"channel": "air_temperature", "path": "DS18B20.Temperature", "unit": "C"}],
        },
    },
    {
        "topic": "telegraf/#",
        "mapping": {"format": "influx", "values": [{"channel": "ph", "path": "river.ph", "unit": "pH"}]},
    },
    {
        "topic": "radar/1",
        "mapping": {"values": [{"channel": "traffic_flow", "path": "n", "total": True}]},
    },
]
MESSAGES = {
    "application/a/device/0102030405060708/event/up": json.dumps(
        {"time": MEASURED, "object": {"temp": 191}}
    ).encode(),
    "tele/bridge/SENSOR": b'{"Time":"2026-11-18T09:46:40","DS18B20":{"Temperature":20.6},"TempUnit":"C"}',
    "telegraf/x/y": b"river ph=7.3 1795000000250000000",
    "radar/1": b'{"n": 100}',
}


def mqtt_driver(broker: MosquittoServer, sources: list[dict[str, Any]] | None = None, **options: Any) -> Any:
    return DRIVERS["mqtt"]({"broker": broker.url, "sources": sources or SOURCES, **options})


class Reading:
    """Reads a driver on a thread of its own, as a driver group does."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.packs: list[Pack] = []
        self.faults: list[str] = []
        driver.on_fault = self.faults.append
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        packs: Iterator[Pack | None] = self.driver.packs()
        while not self._stop.is_set():
            pack = next(packs)
            self.packs += [pack] if pack else []
        packs.close()  # type: ignore[attr-defined]

    @property
    def records(self) -> list[Record]:
        return [record for pack in self.packs for record in pack.records]

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.driver._subscription.subscribed, within_s=20, what="it is subscribed")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


def test_the_payloads_of_four_systems_become_readings(mosquitto: MosquittoServer) -> None:
    with MqttPublisher(mosquitto) as publisher, Reading(mqtt_driver(mosquitto)) as reading:
        for topic, payload in MESSAGES.items():
            publisher.publish(topic, payload)
        publisher.publish("radar/1", b"no json")
        time.sleep(0.05)
        publisher.publish("radar/1", b'{"n": 112}')
        wait_until(lambda: len(reading.records) == 4, within_s=20, what="four readings")
    values: dict[str, Any] = {one.name: (one.value, one.unit, one.time_s) for one in reading.records}
    assert values["water_temperature"] == (pytest.approx(19.1), "Cel", 1_794_995_200.0)
    assert values["air_temperature"] == (20.6, "Cel", 1_794_995_200.0)
    assert values["ph"] == (7.3, "pH", 1_795_000_000.25)
    assert values["traffic_flow"][1] == "1/s"
    assert values["traffic_flow"][0] > 0
    assert [pack.taken_s is not None for pack in reading.packs] == [False, False, False, True]
    assert ["no JSON" in one for one in reading.faults] == [True]


def test_a_message_is_acknowledged_only_when_its_readings_are_on_disk(
    mosquitto: MosquittoServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The spool fails at first; after a restart of the agent the broker delivers the same messages again."""
    disk_works = threading.Event()
    put = Spool._put

    def put_if_it_works(spool: Spool, messages: Any) -> None:
        if not disk_works.is_set():
            raise SpoolBusyError("the disk is full")
        put(spool, messages)

    monkeypatch.setattr(Spool, "_put", put_if_it_works)

    def run_agent(stop: threading.Event) -> tuple[threading.Thread, Any, Spool]:
        driver = mqtt_driver(mosquitto)
        spool = Spool.open(tmp_path / "spool", Settings())
        agent = Agent(
            area="a", device="d", driver=driver, spool=spool,
            broker=BrokerAddress("127.0.0.1", 9), settings=Settings(),
        )  # fmt: skip
        thread = threading.Thread(target=agent.run, args=(stop,), daemon=True)
        thread.start()
        wait_until(lambda: driver._subscription.subscribed, within_s=20, what="it is subscribed")
        return thread, driver, spool

    first_stop, second_stop = threading.Event(), threading.Event()
    thread, _, spool = run_agent(first_stop)
    with MqttPublisher(mosquitto) as publisher:
        for number in range(5):
            publisher.publish("telegraf/x", f"river ph=7.{number} {1795000000 + number}000000000".encode())
        wait_until(lambda: "the disk is full" in caplog.text, within_s=20, what="a reading is not stored")
        first_stop.set()
        thread.join(30)
        assert spool.waiting == 0
        spool.close()
        publisher.publish("telegraf/x", b"river ph=7.9 1795000009000000000")  # while it is away
    disk_works.set()
    thread, driver, spool = run_agent(second_stop)
    wait_until(lambda: spool.waiting == 6, within_s=20, what="six messages on disk")
    wait_until(lambda: not driver._subscription._unacknowledged, within_s=20, what="they are acknowledged")
    second_stop.set()
    thread.join(30)
    found = [senml.decode(one.payload, content_type=None, now_s=0)[0].value for one in spool.after(0, 10)]
    spool.close()
    assert found == [7.0, 7.1, 7.2, 7.3, 7.4, 7.9]
    with Reading(mqtt_driver(mosquitto)) as reading:
        time.sleep(0.5)
    assert reading.packs == [], "all were acknowledged"


def test_a_message_that_is_delivered_again_after_a_lost_connection_is_no_second_reading(
    mosquitto: MosquittoServer,
) -> None:
    with MqttPublisher(mosquitto) as publisher, Reading(mqtt_driver(mosquitto)) as reading:
        publisher.publish("radar/1", b'{"n": 1}')
        for number in (2, 3):
            time.sleep(0.01)
            publisher.publish("radar/1", b'{"n": %d}' % number)
        wait_until(lambda: len(reading.packs) == 2, within_s=20, what="two rates")
        subscription = reading.driver._subscription
        subscription._client.socket().shutdown(2)  # before they are acknowledged
        wait_until(lambda: any("again" in one for one in reading.faults), within_s=20, what="a new session")
        wait_until(lambda: len(subscription._unacknowledged) == 2, within_s=20, what="the same messages")
        for pack in reading.packs:
            assert pack.on_stored is not None
            pack.on_stored()
        wait_until(lambda: not subscription._unacknowledged, within_s=20, what="they are acknowledged")
        assert len(reading.packs) == 2


def test_an_offline_instrument_is_reported_and_a_kept_message_without_time_is_no_reading(
    mosquitto: MosquittoServer,
) -> None:
    with MqttPublisher(mosquitto) as publisher:
        publisher.publish("tele/bridge/LWT", b"Online", retain=True)
        publisher.publish("radar/1", b'{"n": 7}', retain=True)
        with Reading(mqtt_driver(mosquitto)) as reading:
            wait_until(lambda: reading.records != [], within_s=20, what="the state")
            for state in (b"Offline", b"Offline", b"?", b"Online"):
                publisher.publish("tele/bridge/LWT", state)
            wait_until(lambda: len(reading.records) == 3, within_s=20, what="three states")
    assert [(one.name, one.value) for one in reading.records] == [
        ("bridge_online", 1.0), ("bridge_online", 0.0), ("bridge_online", 1.0),
    ]  # fmt: skip
    assert sorted(one.partition(": ")[2].partition(":")[0] for one in reading.faults) == [
        "the broker kept the message, which has no time", "the instrument is offline",
        "the instrument is online again",
    ]  # fmt: skip


def test_a_broker_that_is_away_or_refuses_is_reported_once_and_tried_again(
    start_mosquitto: Any, tmp_path: Path
) -> None:
    broker = start_mosquitto(persistence=True)
    broker.stop()
    driver = mqtt_driver(broker, mqtt="3.1.1")
    faults: list[str] = []
    driver.on_fault = faults.append
    packs = driver.packs()
    wait_until(lambda: next(packs) is None and bool(faults), within_s=20, what="it is reported")
    ends_s = time.monotonic() + 1.5  # of some attempts
    while time.monotonic() < ends_s:
        assert next(packs) is None
    assert len(faults) == 1
    assert "can't be reached" in faults[0]
    broker.start()
    wait_until(lambda: next(packs) is None and len(faults) == 2, within_s=20, what="it is subscribed")
    packs.close()
    (tmp_path / "password").write_text("secret\n")
    options = {"broker": broker.url.replace("//", "//me@"), "password_file": "password", "sources": SOURCES}
    with_password: Any = DRIVERS["mqtt"](options, tmp_path)
    assert with_password._subscription._broker.password == "secret"  # noqa: S105 - of the test


def test_vehicles_by_mqtt_are_aggregated(mosquitto: MosquittoServer) -> None:
    driver: Any = DRIVERS["traffic_counter"]({
        "period_s": 1.0,
        "vehicles": {
            "broker": mosquitto.url, "topic": "camera/+/vehicle", "speed_path": "v", "ms_path": "ms",
        },
    })  # fmt: skip
    packs, found = driver.packs(), list[Any]()
    next(packs)
    with MqttPublisher(mosquitto) as publisher:
        ends_s = time.monotonic() + 20
        while len(found) < 2 and time.monotonic() < ends_s:
            for payload in (b'{"v": 36, "ms": 50}', b"?", b"[]"):
                publisher.publish("camera/1/vehicle", payload)
            pack = next(packs)
            found += [pack] if pack else []
        values = {one.name: one.value for one in found[1].records}
        assert values["traffic_speed"] == pytest.approx(10.0)
        assert values["traffic_flow"] > 1
        faults: list[str] = []
        driver.on_fault = faults.append
        mosquitto.stop()
        wait_until(lambda: next(packs) is None and bool(faults), within_s=20, what="it is reported")
    packs.close()
    assert "opened again" in faults[0]


@pytest.mark.parametrize(
    "change",
    [
        {"sources": []},
        {"broker": "http://x"},
        {"sources": [{"topic": "a", "mapping": {"values": []}}]},
        {"sources": [{"topic": "a", "mapping": {"values": [{"channel": "p h", "path": ""}]}}]},
        {"mqtt": "4"},
    ],
)
def test_wrong_options_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DriverOptionsError):
        DRIVERS["mqtt"]({"broker": "mqtt://127.0.0.1", "sources": SOURCES, **change})
