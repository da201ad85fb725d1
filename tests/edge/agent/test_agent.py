"""Tests an agent against a real broker: everything arrives in order, whatever is lost on the way."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.agent.agent import Agent
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers import Pack
from edge.wire import broker_address, receipts, senml, status
from edge.wire.receipts import SpoolPosition
from edge.wire.senml import Record
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AREA, DEVICE = "330483-d1", "wz-01"


class RecordedDriver:
    """A driver whose packs are all overdue."""

    def __init__(self, n: int) -> None:
        self.n = n

    def packs(self) -> Iterator[Pack]:
        for tick in range(self.n):
            time_s = 1.7e9 + tick
            yield Pack(due_s=time_s, records=[Record(name="ph", time_s=time_s, value=float(tick), unit="pH")])


class ReceiptSender:
    """What an agent needs of the platform: it takes messages, and sends the receipts it is told to."""

    def __init__(self, broker: Any, *, receipt_for: Any = lambda _number, _times: True) -> None:
        self.received: list[float] = []
        self.statuses: list[status.StatusMessage] = []
        self._times: dict[int, int] = {}
        self._receipt_for = receipt_for
        self._broker = broker
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.on_message = self._on_message
        self.client.on_connect = lambda client, *_: client.subscribe(f"towntwin/v1/{AREA}/{DEVICE}/+", qos=1)
        listening = threading.Event()
        self.client.on_subscribe = lambda *_: listening.set()
        self.client.reconnect_delay_set(1, 1)
        self.client.connect_async(broker.host, broker.port)
        self.client.loop_start()
        assert listening.wait(30), "the broker takes the subscription"

    def _on_message(self, client: Client, _userdata: object, message: Any) -> None:
        if message.topic.endswith("status"):
            self.statuses.append(status.decode_status(message.payload))
        if not message.topic.endswith("data"):
            return
        position = receipts.position_of(message.properties.UserProperty)
        assert position is not None
        assert message.properties.ContentType == senml.CONTENT_TYPE_JSON
        self._times[position.number] = self._times.get(position.number, 0) + 1
        records = senml.decode(message.payload, content_type=message.properties.ContentType, now_s=0)
        self.received += [record.value or 0.0 for record in records]
        if self._receipt_for(position.number, self._times[position.number]):
            (receipt,) = receipts.receipts_for([SpoolPosition(position.epoch, position.number)])
            client.publish(message.topic.replace("data", "receipt"), receipts.encode_receipt(receipt), qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def agent(folder: Path, broker: Any, n: int, **settings: Any) -> Agent:
    return Agent(
        area=AREA,
        device=DEVICE,
        driver=RecordedDriver(n),
        spool=Spool.open(folder / "spool", Settings(**settings)),
        broker=broker_address.parse_broker_address(broker.url),
        settings=Settings(**settings),
    )


def run_to_the_end(one: Agent, *, within_s: float = 60) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    thread.join(within_s)
    ended = not thread.is_alive()
    stop.set()
    thread.join()
    assert ended, f"not within {within_s} s: {one.counts()}"


def in_order(values: list[float]) -> list[float]:
    """Without the repeats; what is late would stand out of order."""
    return list(dict.fromkeys(values))


def test_everything_arrives_in_order_and_is_deleted_from_the_spool(mosquitto: Any, tmp_path: Path) -> None:
    platform = ReceiptSender(mosquitto)
    one = agent(tmp_path, mosquitto, 500)
    began_s = time.time()
    run_to_the_end(one)
    platform.close()
    assert platform.received == [float(tick) for tick in range(500)]
    assert one.counts() == (500, 500, 0, 0)
    assert platform.statuses[0].online
    assert not platform.statuses[-1].online
    clock_s = [statuses_sent.time_s or 0.0 for statuses_sent in platform.statuses]
    assert began_s <= min(clock_s) <= max(clock_s) <= time.time(), "they tell what the device's clock shows"


def test_lost_receipts_are_requested_again(mosquitto: Any, tmp_path: Path) -> None:
    platform = ReceiptSender(mosquitto, receipt_for=lambda number, times: number % 10 or times > 1)
    run_to_the_end(agent(tmp_path, mosquitto, 100, receipt_timeout_s=0.5, window=20))
    platform.close()
    assert in_order(platform.received) == [float(tick) for tick in range(100)]


def test_a_broker_that_lost_its_memory_costs_nothing(mosquitto: Any, tmp_path: Path) -> None:
    platform = ReceiptSender(mosquitto)
    one = agent(tmp_path, mosquitto, 1500, drain_readings_per_s=750, receipt_timeout_s=2)
    stop = threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    for threshold in (250, 750):
        wait_until(lambda: len(platform.received) > threshold, within_s=60, what="some arrive")  # noqa: B023
        mosquitto.kill()
        mosquitto.start()
    thread.join(60)
    platform.close()
    assert not thread.is_alive()
    assert sorted(set(platform.received)) == [float(tick) for tick in range(1500)]


def test_a_broker_away_at_start_is_waited_for(mosquitto: Any, tmp_path: Path) -> None:
    mosquitto.kill()
    one = agent(tmp_path, mosquitto, 20, receipt_timeout_s=2)
    stop = threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    wait_until(lambda: one.counts().waiting == 20, within_s=30, what="the readings are in the spool")
    mosquitto.start()
    platform = ReceiptSender(mosquitto)
    thread.join(60)
    platform.close()
    assert not thread.is_alive()
    assert platform.received[-20:] == [float(tick) for tick in range(20)]


def test_the_pace_bounds_a_backlog(mosquitto: Any, tmp_path: Path) -> None:
    platform = ReceiptSender(mosquitto)
    began_s = time.monotonic()
    run_to_the_end(agent(tmp_path, mosquitto, 600, drain_readings_per_s=200))
    platform.close()
    assert time.monotonic() - began_s > 1.5, "600 readings at 200/s, the first 200 at once"


def test_without_receipts_a_puback_deletes_from_the_spool(mosquitto: Any, tmp_path: Path) -> None:
    one = agent(tmp_path, mosquitto, 50, receipts=False)
    run_to_the_end(one)
    assert one.counts() == (50, 50, 0, 0)


@pytest.mark.parametrize("n", [30])
def test_what_has_no_receipt_is_sent_by_the_next_start(n: int, mosquitto: Any, tmp_path: Path) -> None:
    stop = threading.Event()
    first = agent(tmp_path, mosquitto, n)
    thread = threading.Thread(target=first.run, args=(stop,))
    thread.start()
    wait_until(lambda: first.counts().waiting == n, within_s=30, what="the readings are in the spool")
    stop.set()
    thread.join(30)
    assert first.counts().waiting == n, "nobody sent receipts"
    platform = ReceiptSender(mosquitto)
    run_to_the_end(agent(tmp_path, mosquitto, 0))
    platform.close()
    assert in_order(platform.received) == [float(tick) for tick in range(n)]
