"""How fast readings are taken, beside what the database and the broker could do at all.

On one machine in one run, with a real Mosquitto and a real TimescaleDB: (a) bare binary COPY of the same rows
into the same table; (b) end to end at 100 readings a message, QoS 1, judged, acknowledged after COMMIT; (c) a
bare paho receiver that decodes nothing; (d) end to end at one reading a message. Prints a table, and last one
JSON line with ``ratio_copy`` = b/a and ``ratio_paho`` = d/c.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.wire import senml
from edge.wire.senml import Record
from ingest_service.storage import binary
from ingest_service.storage.migrate import migrate
from ingest_service.storage.model import READING, Area, Channel, Device, Directory, Series, Site
from ingest_service.storage.postgres import PostgresStore
from ingest_service.storage.sql import QUERIES
from tests.support import installation
from tests.support.processes import Process, running
from tests.support.services import TIMESCALE, MosquittoServer, PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICES, QUANTITIES = 50, ("ph", "dissolved_oxygen", "conductivity", "turbidity")
WIRE = {
    "ph": ("pH", 7.2),
    "dissolved_oxygen": ("kg/m3", 0.008),
    "conductivity": ("S/m", 0.05),
    "turbidity": ("NTU", 12.0),
}
READINGS = int(os.environ.get("TOWNTWIN_BENCH_READINGS", "400000"))
SINGLES = READINGS // 8
STEP_S = 60.0
BATCH = 20_000


def directory() -> Directory:
    """Fifty devices of four quantities."""
    names = [f"bench-{number:02}" for number in range(DEVICES)]
    return Directory(
        areas=[Area(area_id="bench", level="town", en="Bench", zh="基准")],
        sites=[
            Site(site_id=name, area_id="bench", kind="river_section", en=name, zh=name, lon=0, lat=0)
            for name in names
        ],
        devices=[Device(device_id=name, area_id="bench") for name in names],
        series=[
            Series(site_id=name, quantity=one, interval_s=STEP_S) for name in names for one in QUANTITIES
        ],
        channels=[
            Channel(device_id=name, name=one, site_id=name, quantity=one)
            for name in names
            for one in QUANTITIES
        ],
    )


def payloads(readings: int, per_message: int) -> list[tuple[str, bytes]]:
    """(topic, pack) of readings that go on in time, device by device in turn."""
    noise = np.random.default_rng(1).normal(1, 0.01, readings)
    begin_s = time.time() - readings / DEVICES / len(QUANTITIES) * STEP_S - 86_400
    messages = []
    ticks = max(1, per_message // len(QUANTITIES))
    sent = [0] * DEVICES
    number = 0
    while number < readings:
        device = len(messages) % DEVICES
        records = []
        for i in range(per_message):
            name = QUANTITIES[(sent[device] + i) % len(QUANTITIES)]
            tick = (sent[device] + i) // len(QUANTITIES)
            unit, value = WIRE[name]
            records.append(
                Record(
                    name=name, time_s=begin_s + tick * STEP_S, value=value * float(noise[number]), unit=unit
                )
            )
            number += 1
        sent[device] += per_message
        messages.append((f"towntwin/v1/bench/bench-{device:02}/data", senml.encode_json(records)))
    assert ticks
    return messages


def publish(port: int, messages: list[tuple[str, bytes]]) -> None:
    """Send everything at QoS 1 as fast as the broker takes it, from a process of its own."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    infos = [client.publish(topic, payload, qos=1) for topic, payload in messages]
    infos[-1].wait_for_publish(300)
    client.disconnect()
    client.loop_stop()


def bare_copy(dsn: str) -> float:
    """Readings a second of binary COPY into the table, and nothing else."""
    rows = np.zeros(READINGS, READING)
    rows["series_id"] = np.arange(READINGS) % (DEVICES * len(QUANTITIES)) + 1
    rows["time_us"] = 1_600_000_000_000_000 + np.arange(READINGS) // (DEVICES * len(QUANTITIES)) * 60_000_000
    rows["value"] = 7.2
    blobs = [binary.encode(rows[at : at + BATCH]) for at in range(0, READINGS, BATCH)]
    with psycopg.connect(dsn) as connection:
        began_s = time.perf_counter()
        for blob in blobs:
            with connection.cursor() as cursor, cursor.copy(QUERIES["copy_readings"]) as copy:
                copy.write(blob)
            connection.commit()
        took_s = time.perf_counter() - began_s
        connection.execute("TRUNCATE reading")
    return READINGS / took_s


def bare_receiver(port: int, messages: list[tuple[str, bytes]]) -> float:
    """Messages a second of a paho client that looks at nothing."""
    seen, done = [0], threading.Event()

    def on_message(*_: Any) -> None:
        seen[0] += 1
        if seen[0] == len(messages):
            done.set()

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.subscribe("towntwin/v1/+/+/data", qos=1)
    client.loop_start()
    time.sleep(0.5)
    sender = multiprocessing.Process(target=publish, args=(port, messages))
    began_s = time.perf_counter()
    sender.start()
    done.wait(300)
    took_s = time.perf_counter() - began_s
    sender.join()
    client.disconnect()
    client.loop_stop()
    return len(messages) / took_s


def end_to_end(dsn: str, port: int, messages: list[tuple[str, bytes]], readings: int, log: Path) -> float:
    """Readings a second from the first publish until all of them are committed."""
    store = PostgresStore.open(dsn)
    store.enrol(directory())
    before = store.health().readings
    ingest = Process(
        "ingest", "--checkpoint-s", "5", log=log, TOWNTWIN_DSN=dsn, TOWNTWIN_BROKER=f"mqtt://127.0.0.1:{port}"
    )
    with running(ingest):
        while "broker_connected" not in log.read_text():
            time.sleep(0.05)
        sender = multiprocessing.Process(target=publish, args=(port, messages))
        began_s = time.perf_counter()
        sender.start()
        with psycopg.connect(dsn, autocommit=True) as connection:
            while connection.execute("SELECT count(*) FROM reading").fetchone() != (before + readings,):
                time.sleep(0.1)
        took_s = time.perf_counter() - began_s
        sender.join()
        ingest.stop()
    store.close()
    return readings / took_s


@contextmanager
def servers() -> Iterator[tuple[PostgresServer, MosquittoServer]]:
    """A TimescaleDB and a Mosquitto that queues without a bound."""
    found = installation.provide(print)
    database = PostgresServer(found, "postgres", installation.PROGRAMS, TIMESCALE)
    lines = ("max_queued_messages 0", "max_inflight_messages 0", "max_queued_bytes 0")
    broker = MosquittoServer(found, "mosquitto", persistence=False, lines=lines)
    try:
        database.create()
        broker.start()
        yield database, broker
    finally:
        broker.remove()
        database.remove()


def main() -> None:
    """Measure, print the table and the line."""
    with servers() as (database, broker), tempfile.TemporaryDirectory() as folder:
        hundreds, singles = payloads(READINGS, 100), payloads(SINGLES, 1)
        with fresh_database(database) as dsn:
            migrate(dsn)
            a = bare_copy(dsn)
            b = end_to_end(dsn, broker.port, hundreds, READINGS, Path(folder) / "b.log")
        c = bare_receiver(broker.port, singles)
        with fresh_database(database) as dsn:
            migrate(dsn)
            d = end_to_end(dsn, broker.port, singles, SINGLES, Path(folder) / "d.log")
    rows = {
        "a  bare binary COPY, readings/s": a,
        "b  end to end, 100 a message, readings/s": b,
        "c  bare paho receiver, messages/s": c,
        "d  end to end, 1 a message, readings/s": d,
    }
    print("\n".join(f"{name:45}{rate:12,.0f}" for name, rate in rows.items()))
    print(
        json.dumps({"ratio_copy": round(b / a, 3), "ratio_paho": round(d / c, 3), "readings_per_s": round(b)})
    )
