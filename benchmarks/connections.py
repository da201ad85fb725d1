"""Measures what connections of devices cost the broker: memory and processor time, plain and with TLS.

``make bench NAME=connections``. Each connection has a persistent session and a subscription to its topic of
receipts, as an edge agent's has, and publishes one message. Then it is idle; in the end all are lost at
once and come back. Reported are bytes per connection of the broker's resident memory, file handles, and the
processor time of a connection's start. Last, one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks._mqtt_load import UNBOUNDED_QUEUE
from tests.support import server_installation
from tests.support.throwaway_servers import MosquittoServer
from tests.support.tls_mosquitto import TlsMosquitto, start_tls_mosquitto

AT_ONCE = 50  # connections that are being started
IDLE_S = 10.0
KEEP_ALIVE_S = 600
SESSION_EXPIRY = b"\x11\xff\xff\xff\xff"  # MQTT 5 section 3.1.2.11.2: never
CONNACK, SUBACK, PUBACK = 2, 9, 4
PAYLOAD = b'[{"n":"ph","u":"pH","v":7.2}]'


class ConnectionCosts(NamedTuple):
    """Costs of a number of connections.

    Attributes
    ----------
    connections : number
    bytes_each : resident memory of the broker for each [bytes]
    handles : file handles of the broker
    start_ms : processor time of the broker for the start of one [ms]
    idle_cores : cores of the broker while all are idle
    again_s : time until all are connected again after they were lost at once [s]

    """

    connections: int
    bytes_each: float
    handles: int
    start_ms: float
    idle_cores: float
    again_s: float


def _packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128, "one byte of length"
    return bytes((kind, len(body))) + body


def _text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


async def _answer(reader: asyncio.StreamReader, kind: int) -> None:
    header = await reader.readexactly(2)
    await reader.readexactly(header[1])
    assert header[0] >> 4 == kind, f"the broker answered with packet {header[0] >> 4} in place of {kind}"


async def _connect(
    port: int, number: int, tls: ssl.SSLContext | None, limit: asyncio.Semaphore
) -> asyncio.StreamWriter:
    """Connect, subscribe to receipts and publish one message; return the open connection."""
    device = f"device-{number}"
    async with limit:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        connect = _text("MQTT") + b"\x05\x00" + KEEP_ALIVE_S.to_bytes(2, "big")
        writer.write(_packet(0x10, connect + bytes((len(SESSION_EXPIRY),)) + SESSION_EXPIRY + _text(device)))
        await _answer(reader, CONNACK)
        topic = _text(f"towntwin/v1/330483-d1/{device}/receipt")
        writer.write(_packet(0x82, b"\x00\x01\x00" + topic + b"\x01"))
        await _answer(reader, SUBACK)
        topic = _text(f"towntwin/v1/330483-d1/{device}/data")
        writer.write(_packet(0x32, topic + b"\x00\x02\x00" + PAYLOAD))
        await _answer(reader, PUBACK)
        return writer


async def _connect_all(port: int, n: int, tls: ssl.SSLContext | None) -> list[asyncio.StreamWriter]:
    limit = asyncio.Semaphore(AT_ONCE)
    return list(await asyncio.gather(*(_connect(port, number, tls, limit) for number in range(n))))


def _processor_s(broker: psutil.Process) -> float:
    times = broker.cpu_times()
    return float(times.user + times.system)


async def measure(server: MosquittoServer, port: int, n: int, tls: ssl.SSLContext | None) -> ConnectionCosts:
    """Connect ``n`` devices, let them be idle, lose all at once, and connect them again."""
    broker = psutil.Process(server.pid)
    before_bytes, before_s = broker.memory_info().rss, _processor_s(broker)
    writers = await _connect_all(port, n, tls)
    start_s = _processor_s(broker) - before_s
    bytes_each, handles = (broker.memory_info().rss - before_bytes) / n, broker.num_fds()
    before_s = _processor_s(broker)
    await asyncio.sleep(IDLE_S)
    idle_cores = (_processor_s(broker) - before_s) / IDLE_S
    for one in writers:
        one.transport.abort()
    began_s = time.perf_counter()
    writers = await _connect_all(port, n, tls)
    again_s = time.perf_counter() - began_s
    for one in writers:
        one.transport.abort()
    return ConnectionCosts(n, bytes_each, handles, start_s / n * 1e3, idle_cores, again_s)


def _tls(server: TlsMosquitto) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.ca)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench NAME=connections", description=__doc__)
    parser.add_argument("--connections", type=int, default=5_000, help="(default %(default)s)")
    n = parser.parse_args(sys.argv[2:]).connections
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    installation = server_installation.provide(print)
    started: list[MosquittoServer] = []

    def start(*, persistence: bool = False, lines: tuple[str, ...] = ()) -> MosquittoServer:
        lines = (*lines, *UNBOUNDED_QUEUE)
        started.append(MosquittoServer(installation, "mosquitto", persistence=persistence, lines=lines))
        started[-1].start()
        return started[-1]

    found: dict[str, ConnectionCosts] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            plain = start()
            found["plain"] = asyncio.run(measure(plain, plain.port, n, None))
            server = start_tls_mosquitto(start, installation, Path(folder))
            found["TLS"] = asyncio.run(measure(server.plain, server.port, n, _tls(server)))
        finally:
            for one in started:
                one.remove()
    print(
        f"{'':8}{'connections':>12}{'kB each':>9}{'handles':>9}{'start, ms':>11}{'idle':>8}{'again, s':>10}"
    )
    for name, costs in found.items():
        print(
            f"{name:8}{costs.connections:>12,}{costs.bytes_each / 1e3:>9.1f}{costs.handles:>9,}"
            f"{costs.start_ms:>11.2f}{costs.idle_cores:>8.3f}{costs.again_s:>10.1f}"
        )
    print(json.dumps({name: costs._asdict() for name, costs in found.items()}))
