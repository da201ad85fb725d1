"""Measures a what-if on 500 nodes for 24 hours through the API, from the gateway's first scenario on.

``python -m benchmarks what_if [--rounds 5]``. A lattice of 500 junctions with roads in both directions, 22
detectors with eight days of flow and speed, and a river of 500 nodes with an outfall at every tenth, on a
PostgreSQL of its own. The gateway is a process with its worker for heavy requests, started anew after its
steps have been compiled by an earlier one (once for each version). The first request is sent when the worker
has started and loaded them, others after it; from another gateway, one is sent as soon as it answers that it
lives, and waits for the worker's start. Times are those of the whole request, and the processor time that the
gateway and its worker took for it. Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from benchmarks import _api_load
from deploy.debian_servers.installation import Installation
from deploy.embedded.postgres_binaries import postgres_programs
from deploy.embedded.server_environment import UNPRIVILEGED, free_port
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Area, Directory, Link, Node, Series, Site
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import PlatformProcess, running_processes
from tests.support.throwaway_servers import PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS, COLUMNS, DETECTOR_EVERY = 20, 25, 23
REACHES, OUTFALL_EVERY = 500, 10
DAYS, QUARTER_S = 8, 900.0
LOADED, LOAD_S = "steps_loaded", 300.0  # the worker logs it, so late at most
WORDS: dict[str, Any] = {"en": "x", "zh": "某"}
HOURS = 24
SCENARIOS: dict[str, list[dict[str, Any]]] = {
    "a lane closed for 6 h": [
        {"kind": "lane_closure", "link": "0:1", "lanes": 1, "start_minutes": 420, "duration_minutes": 360}
    ],
    "rain of 10 mm/h for 3 h": [
        {"kind": "road_rain", "link": "0:1", "mm_h": 10, "start_minutes": 420, "duration_minutes": 180}
    ],
    "a spill into the river": [{"kind": "spill", "node": "o0", "kg": 50}],
}


def main() -> None:
    """Measure, and print the table and the JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks what_if")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    server = PostgresServer(Installation(Path("/")), UNPRIVILEGED, str(postgres_programs()), {})
    line: dict[str, float] = {}
    try:
        server.create()
        with fresh_database(server) as dsn, tempfile.TemporaryDirectory() as folder:
            fill(dsn)
            for name, changes in SCENARIOS.items():
                times_s = list(request_times_s(dsn, Path(folder), changes, arguments.rounds))
                (at_once,) = request_times_s(dsn, Path(folder), changes, 1, waits=False)
                later_s, later_cpu_s = np.median(times_s[1:], axis=0).tolist()
                rows = {"first": times_s[0], "later": (later_s, later_cpu_s), "at_once": at_once}
                key = name.replace(" ", "_")
                for row, (took_s, cpu_s) in rows.items():
                    line |= {f"{key}_{row}_s": float(took_s), f"{key}_{row}_cpu_s": float(cpu_s)}
                print(
                    f"{name:28}"
                    + "".join(f"{row} {one[0]:.2f} s ({one[1]:.2f} s)  " for row, one in rows.items())
                    + "of a clock (of a processor)",
                    flush=True,
                )
    finally:
        server.remove()
    print(json.dumps({name: round(value, 3) for name, value in line.items()}))


def request_times_s(
    dsn: str, logs: Path, changes: list[dict[str, Any]], rounds: int, *, waits: bool = True
) -> Iterator[tuple[float, float]]:
    """Start a gateway and yield time and processor time of each request of a scenario [s]."""
    port = free_port()
    flags = ("--port", str(port), "--heavy-burst-s", "1e6")
    log = logs / f"{port}.log"
    log.unlink(missing_ok=True)
    gateway = PlatformProcess("gateway", *flags, log=log, TOWNTWIN_DSN=dsn)
    headers = operator_headers(dsn)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() // 86_400 * 86_400 - 2 * 86_400))
    with running_processes(gateway), httpx.Client(headers=headers, timeout=120) as client:
        _api_load.wait_for(port)
        if waits:
            wait_for_steps(gateway.log)
        for number in range(rounds):
            body = {"name": f"trial {number}", "at": at, "hours": HOURS, "changes": changes}
            began, cpu_s = time.perf_counter(), tree_cpu_s(gateway.process.pid)
            answer = client.post(f"http://127.0.0.1:{port}/v1/scenarios", json=body)
            took_s = time.perf_counter() - began
            answer.raise_for_status()
            yield took_s, tree_cpu_s(gateway.process.pid) - cpu_s
        gateway.kill()


def wait_for_steps(log: Path) -> None:
    """Wait until the worker has logged that it loaded the compiled steps. Raises TimeoutError."""
    until_s = time.monotonic() + LOAD_S
    while LOADED not in log.read_text("utf-8"):
        if time.monotonic() > until_s:
            raise TimeoutError(f"{log} has no {LOADED} after {LOAD_S:.0f} s: does the worker start?")
        time.sleep(0.1)


def tree_cpu_s(pid: int) -> float:
    """Return the processor time of a process and of all below it [s]."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            fields = path.read_text().rpartition(") ")[2].split()
            stats[int(path.parent.name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    family = {pid}
    while more := {one for one, (parent, _) in stats.items() if parent in family} - family:
        family |= more
    return sum(stats[one][1] for one in family if one in stats) / os.sysconf("SC_CLK_TCK")


def operator_headers(dsn: str) -> dict[str, str]:
    """Create a key of an operator, who may run scenarios, and return the header with it."""
    store = PostgresStore.open(dsn)
    _, key = api_keys.create_key(
        ApiKeyStore(store), name="bench", role=Role.OPERATOR, scopes=["scenarios"], created_by="bench"
    )
    store.close()
    return {"X-API-Key": key}


def fill(dsn: str) -> None:
    """Enrol the networks, and store what their detectors recorded."""
    migrate(dsn)
    store = PostgresStore.open(dsn)
    store.enrol(directory())
    times_s = np.arange(time.time() - DAYS * 86_400, time.time(), QUARTER_S)
    day = np.clip(np.sin((times_s % 86_400 / 86_400 - 0.0) * 2 * np.pi), 0, None)
    for one in store.directory().series:
        rows = np.zeros(len(times_s), READING)
        rows["series_id"], rows["time_us"] = one.series_id, (times_s * 1e6).astype(np.int64)
        rows["received_us"], rows["quality"] = rows["time_us"], 1
        rows["value"] = 300 + 1500 * day if one.quantity == "traffic_flow" else 45.0
        store.commit(Batch(fresh=rows))
    while store.refresh_rollups(limit=1_000_000):
        pass
    store.close()


def directory() -> Directory:
    """Return the lattice of roads and the river."""
    number = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    ends = [(int(a), int(b)) for one, other in pairs for a, b in zip(one.ravel(), other.ravel(), strict=True)]
    counted = range(0, ROWS * COLUMNS, DETECTOR_EVERY)
    shared: dict[str, Any] = {"area_id": "t", **WORDS}
    junctions = [
        Node(
            node_id=str(at), network="road", kind="junction", site_id=f"c{at}" if at in counted else None,
            lon=120 + 0.005 * (at % COLUMNS), lat=30 + 0.005 * (at // COLUMNS), **shared,
        )
        for at in range(ROWS * COLUMNS)
    ]  # fmt: skip
    roads = [
        Link(
            link_id=f"{a}:{b}", network="road", from_node=str(a), to_node=str(b), length_m=500.0,
            speed_m_s=14.0, lanes=2, **WORDS,
        )
        for pair in ends
        for a, b in (pair, pair[::-1])
    ]  # fmt: skip
    return Directory(
        areas=[Area(area_id="t", level="town", **WORDS)],
        sites=[Site(site_id=f"c{at}", kind="road_section", lon=120.0, lat=30.0, **shared) for at in counted],
        series=[
            Series(site_id=f"c{at}", quantity=one, interval_s=QUARTER_S)
            for at in counted
            for one in ("traffic_flow", "traffic_speed")
        ],
        nodes=[*junctions, *_river_nodes(shared)],
        links=[*roads, *_reaches()],
    )


def _river_nodes(shared: dict[str, Any]) -> list[Node]:
    n_outfalls = REACHES // OUTFALL_EVERY
    named = [("source" if at == 0 else "section", f"r{at}") for at in range(REACHES - n_outfalls)]
    named += [("outfall", f"o{at}") for at in range(n_outfalls)]
    return [
        Node(node_id=name, network="river", kind=kind, lon=120.0, lat=30.0, **shared) for kind, name in named
    ]


def _reaches() -> list[Link]:
    n_outfalls = REACHES // OUTFALL_EVERY
    ends = [(f"r{at}", f"r{at + 1}") for at in range(REACHES - n_outfalls - 1)]
    ends += [(f"o{at}", f"r{1 + at * (OUTFALL_EVERY - 2)}") for at in range(n_outfalls)]
    return [
        Link(
            link_id=f"{tail}:{head}", network="river", from_node=tail, to_node=head, length_m=400.0,
            speed_m_s=0.3, **WORDS,
        )
        for tail, head in ends
    ]  # fmt: skip


if __name__ == "__main__":
    main()
