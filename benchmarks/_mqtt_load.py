"""Generates and publishes the MQTT load of the ingest benchmarks: fifty devices, four quantities each.

The devices are in two areas in turn; ``TOWNTWIN_BENCH_DEVICES`` is another number of them.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks._bulk_publisher import publish_all
from deploy.debian_servers.installation import PROGRAMS
from edge.wire import senml
from edge.wire.senml import Record
from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series, Site
from tests.support import server_installation
from tests.support.throwaway_servers import TIMESCALE, MosquittoServer, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paho.mqtt.client import MQTTMessage

AREAS = ("bench", "bench-b")
DEVICES = int(os.environ.get("TOWNTWIN_BENCH_DEVICES", "50"))
QUANTITIES = ("ph", "dissolved_oxygen", "conductivity", "turbidity")
SERIES = DEVICES * len(QUANTITIES)
WIRE = {
    "ph": ("pH", 7.2),
    "dissolved_oxygen": ("kg/m3", 0.008),
    "conductivity": ("S/m", 0.05),
    "turbidity": ("NTU", 12.0),
}
STEP_S = 60.0
FILTER = "towntwin/v1/+/+/data"
UNBOUNDED_QUEUE = ("max_queued_messages 0", "max_inflight_messages 0", "max_queued_bytes 0")
TIMEOUT_S = 120.0

Messages = list[tuple[str, bytes]]


class SharedCounter(Protocol):
    """A number that is shared by two processes."""

    value: int


def directory() -> Directory:
    """Return the directory to enrol: two areas, one site per device, four series per site."""
    names = [f"bench-{number:02}" for number in range(DEVICES)]
    return Directory(
        areas=[Area(area_id=area, level="town", en="Bench", zh="基准") for area in AREAS],
        sites=[
            Site(site_id=name, area_id=_area(number), kind="river_section", en=name, zh=name, lon=0, lat=0)
            for number, name in enumerate(names)
        ],
        devices=[Device(device_id=name, area_id=_area(number)) for number, name in enumerate(names)],
        series=[
            Series(site_id=name, quantity=one, interval_s=STEP_S) for name in names for one in QUANTITIES
        ],
        channels=[
            Channel(device_id=name, name=one, site_id=name, quantity=one)
            for name in names
            for one in QUANTITIES
        ],
    )


def data_topic(device: int) -> str:
    """Return the topic of a device's data."""
    return f"towntwin/v1/{_area(device)}/bench-{device:02}/data"


def _area(device: int) -> str:
    return AREAS[device % len(AREAS)]


def record(quantity: str, time_s: float, noise: float) -> Record:
    """Return a reading at the usual value times ``noise``."""
    unit, value = WIRE[quantity]
    return Record(name=quantity, time_s=time_s, value=value * noise, unit=unit)


def payloads(
    readings: int, per_message: int, encode: Callable[[list[Record]], bytes] = senml.encode_json
) -> Messages:
    """Return (topic, payload) of messages with ascending times, devices in turn."""
    noise = np.random.default_rng(1).normal(1, 0.01, readings).tolist()
    begin_s = time.time() - readings / SERIES * STEP_S - 86_400
    messages: Messages = []
    for number in range(readings // per_message):
        device, turn = number % DEVICES, number // DEVICES
        first = turn * per_message
        pack = [
            record(
                QUANTITIES[i % len(QUANTITIES)],
                begin_s + i // len(QUANTITIES) * STEP_S,
                noise[number * per_message + i - first],
            )
            for i in range(first, first + per_message)
        ]
        messages.append((data_topic(device), encode(pack)))
    return messages


def client(name: str = "") -> Client:
    """Return a paho client for MQTT 5; only one with a name can have a persistent session."""
    return Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5)


def persistent_session() -> Properties:
    """Return the properties of a session that never expires."""
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 0xFFFFFFFF
    return properties


def end_session(port: int, name: str) -> None:
    """Delete the session of a client id with its queued messages."""
    one = client(name)
    one.connect("127.0.0.1", port, clean_start=True)
    one.loop_start()
    while not one.is_connected():
        time.sleep(0.01)
    one.disconnect()
    one.loop_stop()


def publish(port: int, messages: Messages, acknowledged: SharedCounter | None = None) -> None:
    """Publish all at QoS 1 as fast as the broker acknowledges; ``acknowledged`` counts the messages."""

    def on_acknowledged(count: int) -> None:
        if acknowledged is not None:
            acknowledged.value = count

    publish_all(port, messages, on_acknowledged)


def publish_from_process(port: int, messages: Messages) -> None:
    """Publish all from another process; return when the broker has acknowledged all."""
    sender = multiprocessing.Process(target=publish, args=(port, messages))
    sender.start()
    sender.join()
    assert sender.exitcode == 0, "the sender failed"


def bare_receiver(port: int, messages: Messages) -> float:
    """Return messages/s of a paho client that decodes nothing and receives messages queued in the broker."""
    one = client("bare")
    one.connect("127.0.0.1", port, clean_start=False, properties=persistent_session())
    one.subscribe(FILTER, qos=1)
    one.loop_start()
    time.sleep(0.5)
    one.disconnect()
    one.loop_stop()
    publish_from_process(port, messages)

    received_count, done = [0], threading.Event()

    def on_message(_client: Client, _userdata: Any, _message: MQTTMessage) -> None:
        received_count[0] += 1
        if received_count[0] == len(messages):
            done.set()

    one = client("bare")
    one.on_message = on_message
    began_s = time.perf_counter()
    one.connect("127.0.0.1", port, clean_start=False, properties=persistent_session())
    one.loop_start()
    assert done.wait(TIMEOUT_S)
    took_s = time.perf_counter() - began_s
    one.unsubscribe(FILTER)
    one.disconnect()
    one.loop_stop()
    return len(messages) / took_s


@contextmanager
def servers() -> Iterator[tuple[PostgresServer, MosquittoServer]]:
    """Provide a TimescaleDB with fsync on and a Mosquitto with an unbounded queue."""
    found = server_installation.provide(print)
    database = PostgresServer(found, "postgres", PROGRAMS, TIMESCALE | {"fsync": "on"})
    broker = MosquittoServer(found, "mosquitto", persistence=False, lines=UNBOUNDED_QUEUE)
    try:
        database.create()
        broker.start()
        yield database, broker
    finally:
        broker.remove()
        database.remove()
