"""Measures the console with 200 open pages on one gateway process: memory, interactions, first paint.

The gateway runs in a process of its own over a store in memory with 500 sites, 30 open anomalies, and a
changed anomaly and a reading every 2 s. Each client holds the live stream of the wall open and reads what is
pushed. Before and after they are opened, in turns with each other:

- a page is loaded: the wall, whole, by HTTP
- an interaction: the plot of another time range or quantity, as a click on a tab requests it
- a small request (``/v1/me``), which shows how long the event loop and the processor are busy with others

``--browser`` adds a headless Chromium on the same machine: the wall's first paint, and the time from a click
on a tab until its plot is drawn; ``--before FOLDER`` the same for an older checkout of this console, which
takes turns with it. ``--other FOLDER`` measures that with NiceGUI (up to 0.2) beside it, by a checkout in
that folder with `benchmarks._console_server` added: memory, page and small request.

Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import re
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import psutil

from deploy.embedded.server_environment import free_port
from tests.support import browser as chromium
from tests.support.processes import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

CLIENTS_PER_KEY = 20
MEGABYTE = 1e6
PARTS = ("figures", "health", "now", "map-states", "incident-revisions")
TIMEOUT_S = 120.0
CLICK_PAUSE_MS = 300.0  # between clicks, in which a page that was brought to the front is drawn


class ServedConsole(NamedTuple):
    """A console that runs in a process of its own."""

    base_url: str
    process: psutil.Process
    keys: list[str]

    @property
    def memory_mb(self) -> float:
        """Resident memory of the process [MB]."""
        return float(self.process.memory_info().rss / MEGABYTE)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--sites", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--other", type=Path)
    options, _ = parser.parse_known_args()
    line: dict[str, float] = {}
    folders = {"": REPOSITORY} | ({} if options.other is None else {"other_": options.other.resolve()})
    print(f"{'figure':44}{'value':>12}")
    for prefix, folder in folders.items():
        n_keys = options.clients // CLIENTS_PER_KEY + 1
        with _served(folder, options.sites, n_keys) as console:
            results = asyncio.run(_measure(console, options.clients, options.rounds, is_other=bool(prefix)))
            line |= _printed(prefix, results)
            if options.browser and not prefix:
                with ExitStack() as stack:
                    consoles = {"": console}
                    if options.before is not None:
                        served = _served(options.before.resolve(), options.sites, n_keys)
                        consoles["before_"] = stack.enter_context(served)
                    line |= _printed("", _measure_browser(consoles, options.rounds))
    print(json.dumps(line))


def _printed(prefix: str, results: dict[str, float]) -> dict[str, float]:
    for name, value in results.items():
        print(f"{prefix + name:44}{value:12.1f}", flush=True)
    return {prefix + name: round(value, 1) for name, value in results.items()}


@contextmanager
def _served(folder: Path, n_sites: int, n_keys: int) -> Iterator[ServedConsole]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks._console_server", str(port), str(n_sites), str(n_keys)],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        keys = process.stdout.readline().split()
        yield ServedConsole(f"http://127.0.0.1:{port}", psutil.Process(process.pid), keys)
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


async def _measure(
    console: ServedConsole, n_clients: int, rounds: int, *, is_other: bool
) -> dict[str, float]:
    """Return the figures of one console [MB, ms], without clients and with all of them."""
    open_client = _open_page_with_socket if is_other else _open_page_with_stream
    results: dict[str, float] = {}
    async with (
        AsyncExitStack() as stack,
        httpx.AsyncClient(
            base_url=console.base_url, headers={"X-API-Key": console.keys[-1]}, timeout=TIMEOUT_S
        ) as client,
    ):
        await client.get("/v1/me")
        await client.get("/")
        results["memory_mb"] = console.memory_mb
        results |= await _latencies(client, rounds, "", is_other=is_other)
        counters: list[list[int]] = []
        for number in range(n_clients):
            counters.append([0, 0])
            key = console.keys[number // CLIENTS_PER_KEY]
            await open_client(stack, console, key, counters[-1])
        await asyncio.sleep(5.0)
        results["memory_mb_with_clients"] = console.memory_mb
        results["memory_kb_per_client"] = 1e3 * (console.memory_mb - results["memory_mb"]) / n_clients
        before, started_s, cpu_s = [one[:] for one in counters], time.monotonic(), _cpu_s(console)
        results |= await _latencies(client, rounds, "_with_clients", is_other=is_other)
        passed_s = time.monotonic() - started_s
        results["cpu_percent_with_clients"] = 100 * (_cpu_s(console) - cpu_s) / passed_s
        received = [after[0] - earlier[0] for after, earlier in zip(counters, before, strict=True)]
        n_bytes = sum(after[1] - earlier[1] for after, earlier in zip(counters, before, strict=True))
        results["clients_served"] = float(sum(one > 0 for one in received))
        results["kb_per_client_and_s"] = n_bytes / passed_s / n_clients / 1e3
    return results


def _cpu_s(console: ServedConsole) -> float:
    times = console.process.cpu_times()
    return float(times.user + times.system)


async def _latencies(
    client: httpx.AsyncClient, rounds: int, suffix: str, *, is_other: bool
) -> dict[str, float]:
    """Return median and 95th percentile of each kind of request [ms], one after the other in turns."""
    requests: dict[str, Callable[[int], str]] = {"page": lambda _: "/", "small": lambda _: "/v1/me"}
    if not is_other:
        requests["interaction"] = lambda at: f"/console/series/1?hours={(24, 48)[at % 2]}"
    measured: dict[str, list[float]] = {name: [] for name in requests}
    for at in range(rounds):
        for name, address in requests.items():
            if name == "page" and at % 5:
                continue
            started_s = time.perf_counter()
            answer = await client.get(address(at))
            measured[name].append(1e3 * (time.perf_counter() - started_s))
            assert answer.status_code == 200, answer.text
        await asyncio.sleep(0.05)
    results: dict[str, float] = {}
    for name, times_ms in measured.items():
        results[f"{name}_p50_ms{suffix}"] = statistics.median(times_ms)
        results[f"{name}_p95_ms{suffix}"] = statistics.quantiles(times_ms, n=20)[-1]
    return results


async def _open_page_with_stream(
    stack: AsyncExitStack, console: ServedConsole, key: str, counter: list[int]
) -> None:
    client = await stack.enter_async_context(
        httpx.AsyncClient(base_url=console.base_url, headers={"X-API-Key": key}, timeout=TIMEOUT_S)
    )
    page = (await client.get("/")).text
    parts = re.findall(r'id="([a-z-]+)" data-live="([0-9a-f]+)"', page)
    assert sorted(name for name, _ in parts) == sorted(set(PARTS) - {"incident-revisions"}), parts
    answer = await stack.enter_async_context(
        client.stream("GET", "/console/live", params=[("part", f"{name}:{digest}") for name, digest in parts])
    )
    assert answer.status_code == 200

    async def read() -> None:
        async for chunk in answer.aiter_bytes():
            counter[0] += 1
            counter[1] += len(chunk)

    _in_background(stack, read())


async def _open_page_with_socket(
    stack: AsyncExitStack, console: ServedConsole, key: str, counter: list[int]
) -> None:
    """Open a page of NiceGUI and its socket (Engine.IO 4, Socket.IO 5), as a browser does."""
    headers = {"X-API-Key": key}
    async with httpx.AsyncClient(base_url=console.base_url, headers=headers, timeout=TIMEOUT_S) as client:
        found = re.search(r"'client_id': '([0-9a-f-]{36})'", (await client.get("/")).text)
    assert found is not None
    query = (
        f"EIO=4&transport=websocket&client_id={found[1]}&next_message_id=0&document_id=d&tab_id={found[1]}"
    )
    address = (
        f"{console.base_url.replace('http', 'ws')}/_nicegui_ws/socket.io/?{query}&implicit_handshake=true"
    )
    websockets = importlib.import_module("websockets")  # comes with NiceGUI, and is not needed without it
    socket = await stack.enter_async_context(
        websockets.connect(address, additional_headers=headers, max_size=None, open_timeout=TIMEOUT_S)
    )

    async def read() -> None:
        async for message in socket:
            counter[0] += 1
            counter[1] += len(message)
            if message == "2":  # a ping
                await socket.send("3")

    await socket.send("40")
    _in_background(stack, read())


def _in_background(stack: AsyncExitStack, work: Awaitable[None]) -> None:
    task = asyncio.ensure_future(work)
    stack.callback(task.cancel)


def _measure_browser(consoles: dict[str, ServedConsole], rounds: int) -> dict[str, float]:
    """Return the wall's first paint, and the time from a click until the plot is drawn [ms], in Chromium.

    The consoles, whose names are prefixes of the figures, take turns with each load and click.
    """
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - not needed without a browser

    paints_ms: dict[str, list[float]] = {prefix: [] for prefix in consoles}
    clicks_ms: dict[str, list[float]] = {prefix: [] for prefix in consoles}
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium.provide(print),
            args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        pages = {prefix: started.new_context().new_page() for prefix in consoles}
        for prefix, page in pages.items():
            page.goto(f"{consoles[prefix].base_url}/login#{consoles[prefix].keys[-1]}")
            page.wait_for_selector("#plot .plot-svg")
        for _ in range(max(5, rounds // 10)):
            for prefix, page in pages.items():
                page.bring_to_front()  # a page behind another one is not drawn
                page.reload()
                paints_ms[prefix].append(page.evaluate(FIRST_PAINT))
                page.wait_for_selector("#plot .plot-svg")
        for at in range(rounds):
            for prefix, page in list(pages.items())[:: 1 if at % 4 < 2 else -1]:  # either goes first as often
                page.bring_to_front()
                page.wait_for_timeout(CLICK_PAUSE_MS)
                clicks_ms[prefix].append(page.evaluate(CLICK, at % 2))
        started.close()
    results: dict[str, float] = {}
    for prefix in consoles:
        results |= {
            f"{prefix}browser_first_paint_p50_ms": statistics.median(paints_ms[prefix]),
            f"{prefix}browser_first_paint_max_ms": max(paints_ms[prefix]),
            f"{prefix}browser_click_p50_ms": statistics.median(clicks_ms[prefix]),
            f"{prefix}browser_click_p95_ms": statistics.quantiles(clicks_ms[prefix], n=20)[-1],
        }
    return results


FIRST_PAINT = """() => new Promise(resolve => new PerformanceObserver(list => {
  const [found] = list.getEntriesByName("first-contentful-paint");
  if (found) resolve(found.startTime);
}).observe({type: "paint", buffered: true}))"""
CLICK = """at => new Promise(resolve => {
  const started = performance.now();
  document.addEventListener("htmx:afterSettle", () => requestAnimationFrame(
    () => resolve(performance.now() - started)), {once: true});
  document.querySelectorAll("#plot .ranges a")[at].click();
})"""


if __name__ == "__main__":
    main()
