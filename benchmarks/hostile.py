"""Measures a normal client's response times while a client with another town's key attacks the gateway.

On one machine in one run, on a TimescaleDB (fsync on) with a year of 200 series. The normal client reads
its town's newest readings and open anomalies, one request after the other over one persistent connection:

a. alone, before and after each attack, as the machine's other load varies
b. during each attack in turn, for some seconds: slow SensorThings filters, exports as CSV, streams that
   resume from the beginning, request heads of megabytes (which need no key), uploads that decompress to much
   more, plots of a year

All requests go to this program's own gateway on loopback. Real attackers would have their own machines; here
they share the cores. Prints a table with the cores used by the gateway (its child processes included), the
database and the attackers, and the responses to the attackers; and last one JSON line with ``p95_ratio``, the
worst p95 during an attack over the one without, and ``failed``, the number of responses to the normal client
that were not 200.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import io
import json
import multiprocessing
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import _api_load, _latency
from benchmarks._filled_database import END_US, fill_database
from deploy.debian_servers.installation import PROGRAMS
from deploy.embedded.server_environment import free_port
from tests.support import server_installation
from tests.support.processes import PlatformProcess, running_processes
from tests.support.throwaway_servers import TIMESCALE, PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

READINGS, ANOMALIES = 4_000_000, 200_000
GOOD, HOSTILE = "330400-t1", "330400-t2"
PATHS = ("/v1/latest", f"/v1/anomalies?area={GOOD}&state=open&limit=20")
DURATION_S, SETTLE_S = 8.0, 1.0
ATTACKS = ("filters", "exports", "streams", "heads", "uploads", "plots")
CPU_CONSUMERS = ("gateway", "database", "attackers")
RESPONSE_COUNTS: Counter[str] = Counter()  # in the attackers' process: statuses, and "bytes"
ATTACKERS, STREAMS, HEAD_BYTES = 30, 60, 20_000_000


class AttackRequest(NamedTuple):
    """A request that an attacker repeats."""

    method: str
    path: str
    body: bytes = b""
    media_type: str = "application/json"


class ClientResponseTimes(NamedTuple):
    """Response times of the normal client [s], and how many responses were not 200.

    ``answered``: statuses and counts of the responses to the attackers meanwhile, and their megabytes.
    """

    times_s: list[float]
    failed: int
    answered: str = ""

    def p95_s(self) -> float:
        """Return the 95 % quantile of the times [s]."""
        return float(np.quantile(self.times_s, 0.95))


def main() -> None:
    """Measure and print the table and the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=DURATION_S)
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=ATTACKS)
    options, _ = parser.parse_known_args()
    database = PostgresServer(
        server_installation.provide(print),
        "postgres",
        PROGRAMS,
        TIMESCALE | {"fsync": "on", "shared_buffers": "1GB", "work_mem": "16MB"},
    )
    try:
        database.create()
        with fresh_database(database) as dsn, tempfile.TemporaryDirectory() as folder:
            fill_database(
                dsn, readings=int(READINGS * options.scale), anomalies=int(ANOMALIES * options.scale)
            )
            _measure(dsn, Path(folder), options.seconds, options.attacks)
    finally:
        database.remove()


def _measure(dsn: str, logs: Path, seconds: float, attacks: Sequence[str]) -> None:
    port = free_port()
    options = ("--port", str(port), "--requests-per-s", "1e6", "--requests-burst", "1000000")
    gateway = PlatformProcess("gateway", *options, log=logs / "gateway.log", TOWNTWIN_DSN=dsn)
    good, hostile = _latency.api_key_headers(dsn, GOOD), _latency.api_key_headers(dsn, HOSTILE)
    columns = ("requests", "p50 [ms]", "p95 [ms]", "max [ms]", "quiet p95", "p95 ratio", *CPU_CONSUMERS)
    ratios, failed = {}, 0
    with running_processes(gateway):
        _api_load.wait_for(port)
        _measure_client(port, good, 2.0)  # plans and caches
        print(f"{'beside':12}" + "".join(f"{one:>11}" for one in columns))
        for name in attacks:
            before = _measure_client(port, good, seconds / 2)
            beside, cores = _measure_beside(port, good, hostile, name, seconds)
            after = _measure_client(port, good, seconds / 2)
            quiet = ClientResponseTimes(before.times_s + after.times_s, before.failed + after.failed)
            ratios[name] = round(beside.p95_s() / quiet.p95_s(), 2)
            failed += beside.failed + quiet.failed
            _print(name, beside, quiet, cores)
        gateway.kill()
    print(json.dumps({"p95_ratio": max(ratios.values()), "failed": failed} | ratios))


def _print(
    name: str, client_times: ClientResponseTimes, quiet: ClientResponseTimes, cores: dict[str, float]
) -> None:
    p50, p95, longest = (1e3 * float(np.quantile(client_times.times_s, at)) for at in (0.5, 0.95, 1.0))
    times = "".join(f"{one:>11.1f}" for one in (p50, p95, longest, 1e3 * quiet.p95_s()))
    shares = "".join(f"{cores[one]:>11.2f}" for one in CPU_CONSUMERS)
    ratio = client_times.p95_s() / quiet.p95_s()
    print(
        f"{name:12}{len(client_times.times_s):>11,}{times}{ratio:>11.2f}{shares}  {client_times.answered}",
        flush=True,
    )


def _measure_beside(
    port: int, good: dict[str, str], hostile: dict[str, str], name: str, seconds: float
) -> tuple[ClientResponseTimes, dict[str, float]]:
    """Measure the normal client under attack, and the cores that each of `CPU_CONSUMERS` used."""
    stop = multiprocessing.Event()
    answered: Queue[str] = multiprocessing.Queue()
    attacker = multiprocessing.Process(
        target=_attack, args=(port, hostile, name, seconds), kwargs={"stop": stop, "answered": answered}
    )
    attacker.start()
    try:
        time.sleep(SETTLE_S)
        before, began_s = _cpu_s(attacker), time.perf_counter()
        client_times = _measure_client(port, good, seconds)
        took_s, after = time.perf_counter() - began_s, _cpu_s(attacker)
        stop.set()
        client_times = client_times._replace(answered=answered.get(timeout=30))
        return client_times, {one: (after[one] - before[one]) / took_s for one in CPU_CONSUMERS}
    finally:
        stop.set()
        attacker.join(10)
        if attacker.is_alive():
            attacker.kill()
        time.sleep(SETTLE_S)


def _cpu_s(attacker: multiprocessing.Process) -> dict[str, float]:
    """Return the CPU time so far of this process's gateway and database and of the attacker [s]."""
    found = dict.fromkeys(CPU_CONSUMERS, 0.0)
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times, command = one.cpu_times(), " ".join(one.cmdline())
            consumer = "database" if "postgres" in command else "gateway"
            found["attackers" if one.pid == attacker.pid else consumer] += times.user + times.system
    return found


def _measure_client(port: int, headers: dict[str, str], seconds: float) -> ClientResponseTimes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times_s, failed, until_s = [], 0, time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        for path in PATHS:
            began_s = time.perf_counter()
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            times_s.append(time.perf_counter() - began_s)
            failed += answer.status != 200
    connection.close()
    return ClientResponseTimes(times_s, failed)


def _attack(
    port: int, headers: dict[str, str], name: str, seconds: float, *, stop: Event, answered: Queue[str]
) -> None:
    asyncio.run(_attacks(port, headers, name, stop, time.monotonic() + seconds + 2 * SETTLE_S))
    megabytes = RESPONSE_COUNTS.pop("bytes", 0) / 1e6
    shown = ", ".join(f"{status}: {count}" for status, count in sorted(RESPONSE_COUNTS.items()))
    answered.put(f"{shown or 'none whole'}; {megabytes:.0f} MB")


async def _attacks(port: int, headers: dict[str, str], name: str, stop: Event, until_s: float) -> None:
    if name == "heads":
        attack_tasks = [_send_large_heads(port) for _ in range(5)]
    elif name == "streams":
        all_headers = headers | {"Last-Event-ID": "0-0"}
        attack_tasks = [_send(port, all_headers, AttackRequest("GET", "/v1/live")) for _ in range(STREAMS)]
    else:
        request = _request(name)
        attack_tasks = [_send_repeatedly(port, headers, request) for _ in range(ATTACKERS)]
    tasks = [asyncio.ensure_future(one) for one in attack_tasks]
    await asyncio.to_thread(stop.wait, max(0.0, until_s - time.monotonic()))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _request(name: str) -> AttackRequest:
    begin, end = (
        np.datetime64(END_US - back, "us").item().isoformat() + "Z" for back in (366 * 86_400_000_000, 0)
    )
    year = f"from={begin}&to={end}"
    match name:
        case "filters":
            filter_text = quote(
                "contains(Datastream/name,'x') or (result mul 3 mod 7 gt 6.99 and result lt -1)"
            )
            return AttackRequest("GET", f"/sta/v1.1/Observations?$count=true&$filter={filter_text}")
        case "exports":
            return AttackRequest("GET", f"/v1/readings?{year}&format=csv")
        case "plots":
            return AttackRequest("GET", f"/v1/plot?{year}&points=10000&series=9&series=10&series=11")
    sink = io.BytesIO()
    pq.write_table(pa.table({"time": [" " * 40_000_000], "value": [7.0]}), sink, compression="zstd")
    return AttackRequest("POST", "/v1/judge?quantity=ph", sink.getvalue(), "application/vnd.apache.parquet")


async def _send_repeatedly(port: int, headers: dict[str, str], request: AttackRequest) -> None:
    while True:
        await _send(port, headers, request)
        await asyncio.sleep(0.01)  # otherwise refusals alone would use one core of this machine


async def _send(port: int, headers: dict[str, str], request: AttackRequest) -> None:
    """Send a request and read the response until the gateway closes the connection."""
    all_headers = headers | {"Host": "bench", "Connection": "close"}
    if request.body:
        all_headers |= {"Content-Type": request.media_type, "Content-Length": str(len(request.body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{request.method} {request.path} HTTP/1.1\r\n{lines}\r\n".encode() + request.body)
        head = part = await reader.read(1 << 20)
        RESPONSE_COUNTS["bytes"] += len(part)
        while part := await reader.read(1 << 20):
            RESPONSE_COUNTS["bytes"] += len(part)
        RESPONSE_COUNTS[head[9:12].decode() or "closed"] += 1
    finally:
        writer.close()


async def _send_large_heads(port: int) -> None:
    """Send request heads of megabytes, one after the other."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: bench\r\nX-Large: ")
            for _ in range(HEAD_BYTES // 100_000):
                writer.write(b"a" * 100_000)
                await writer.drain()
            writer.close()
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    main()
