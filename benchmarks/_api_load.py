"""Measures a gateway under load: parallel requests, a thousand live streams, large exports."""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import time
from pathlib import Path
from typing import NamedTuple

import psycopg

from benchmarks._filled_database import END_US, SITES, STATEMENTS

TIMEOUT_S = 120.0
N_CONNECTIONS = 8
DURATION_S = 5.0
CHUNK_BYTES = 1 << 20


class ExportResult(NamedTuple):
    """Size, duration and gateway memory of one export."""

    form: str
    rows: int
    size_bytes: int
    took_s: float
    peak_mb: float
    grown_mb: float


def wait_for(port: int) -> None:
    """Wait until the gateway is ready."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            if _status(port, "/healthz") == 200:
                return
        except OSError:
            assert time.monotonic() < deadline, "the gateway does not answer"
        time.sleep(0.1)


def requests_per_s(port: int, headers: dict[str, str], path: str) -> float:
    """Return the requests per second that are answered on several connections, sent from another process."""
    with multiprocessing.Pool(1) as pool:
        return pool.apply(_measure_request_rate, (port, headers, path))


def _measure_request_rate(port: int, headers: dict[str, str], path: str) -> float:
    return asyncio.run(_measure_request_rate_async(port, headers, path))


async def _measure_request_rate_async(port: int, headers: dict[str, str], path: str) -> float:
    expected = request(path, headers)
    until_s = time.perf_counter() + DURATION_S

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        n = 0
        while time.perf_counter() < until_s:
            writer.write(expected)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head.split(b"\r\n", 1)[0], head
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            n += 1
        writer.close()
        return n

    return sum(await asyncio.gather(*(one() for _ in range(N_CONNECTIONS)))) / DURATION_S


def request(path: str, headers: dict[str, str]) -> bytes:
    """Return a GET request as bytes."""
    received = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{received}\r\n".encode()


def live_streams(port: int, headers: dict[str, str], dsn: str, expected: int) -> tuple[int, float]:
    """Return how many of ``expected`` live streams receive one anomaly, and the delay of the last [s]."""
    return asyncio.run(_measure_streams(port, headers, dsn, expected))


async def _measure_streams(port: int, headers: dict[str, str], dsn: str, expected: int) -> tuple[int, float]:
    opened = asyncio.Semaphore(50)
    all_subscribed, received = asyncio.Event(), [0, 0.0]
    ready = 0

    async def one() -> None:
        nonlocal ready
        async with opened:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("/v1/live", headers))
            await reader.readuntil(b"nothing new")
            ready += 1
        if ready == expected:
            all_subscribed.set()
        await reader.readuntil(b'"bench"')
        received[0] += 1
        received[1] = time.perf_counter()
        writer.close()

    tasks = [asyncio.create_task(one()) for _ in range(expected)]
    await asyncio.wait_for(all_subscribed.wait(), TIMEOUT_S)
    await asyncio.sleep(2)  # until the last streams are subscribed
    began_s = time.perf_counter()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(STATEMENTS["told"])
    await asyncio.wait(tasks, timeout=TIMEOUT_S)
    return int(received[0]), received[1] - began_s


def export(port: int, headers: dict[str, str], form: str, pid: int) -> ExportResult:
    """Export half of all readings in a format."""
    series = "&".join(f"series={1 + at}" for at in range(2 * SITES))
    before_mb = _memory_mb(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets the peak of resident memory
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    began_s = time.perf_counter()
    client.request(
        "GET", f"/v1/readings?{series}&from=2000-01-01T00:00:00Z&to={_end()}&format={form}", headers=headers
    )
    answer = client.getresponse()
    assert answer.status == 200, answer.read()
    size_bytes, lines = 0, 0
    while chunk := answer.read(CHUNK_BYTES):
        size_bytes += len(chunk)
        lines += chunk.count(b"\n") if form == "csv" else 0
    took_s = time.perf_counter() - began_s
    rows = lines - 1 if form == "csv" else _count(port, headers)
    peak_mb = _memory_mb(pid, "VmHWM")
    return ExportResult(form, rows, size_bytes, took_s, peak_mb, peak_mb - before_mb)


def _end() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(END_US / 1e6))


def _count(port: int, headers: dict[str, str]) -> int:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    client.request("GET", "/v1/health", headers=headers)
    readings: int = json.loads(client.getresponse().read())["readings"]
    return readings // 2


def _memory_mb(pid: int, field_name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field_name):
            return int(line.split()[1]) / 1024
    return 0.0


def _status(port: int, path: str) -> int:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    client.request("GET", path)
    return client.getresponse().status
