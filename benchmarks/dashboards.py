"""What the dashboards cost on a year of data: 1,000 series, a reading every five minutes, 105 M readings.

The year goes through `Store.commit` three hours at a time and is then rolled up as one backlog. Every panel's
SQL runs with Grafana's macros expanded, everything chosen, over 1 h, 24 h, 30 d and 1 y: how long, how many
rows and pages it reads, how many rows it gives. Then twenty dashboards look at the last 24 h every 10 s.
``--scale 0.1`` loads a tenth of the series. Prints tables, and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import psutil
import psycopg

from benchmarks import _panels, _year
from ingest_service.storage.migrate import migrate
from ingest_service.storage.postgres import PostgresStore
from ingest_service.storage.rollups import LEVELS
from tests.support import installation
from tests.support.grafana_macros import expand
from tests.support.services import TIMESCALE, PostgresServer, fresh_database

if TYPE_CHECKING:
    from benchmarks._year import Loaded

SERIES = 1000
VIEWERS, EVERY_S, TURNS = 20, 10.0, 3
MUST_MS = 500
SERVER = {
    "fsync": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "work_mem": "32MB",
    "timescaledb.max_background_workers": "1",
}
SIZE = "SELECT hypertable_size(%s::regclass)"


class Watched(NamedTuple):
    """What open dashboards cost: processors of the database kept busy, times of a panel [s]."""

    cores: float
    p50_s: float
    p95_s: float


def main() -> None:
    """Load, measure, print."""
    parser = argparse.ArgumentParser(prog="dashboards")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args(sys.argv[2:])
    series = max(10, round(SERIES * args.scale / 10) * 10)
    until_s = time.time() // 60 * 60
    found = installation.provide(print)
    database = PostgresServer(found, "postgres", installation.PROGRAMS, TIMESCALE | SERVER)
    try:
        database.create()
        with fresh_database(database) as dsn:
            migrate(dsn)
            store = PostgresStore.open(dsn)
            loaded = _year.load(store, series, until_s)
            store.close()
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("VACUUM (ANALYZE)")
            say_loaded(loaded, series)
            sizes = size(dsn)
            say_sizes(sizes, loaded.readings)
            figures = list(_panels.measured(dsn, until_s, args.rounds))
            watched = watch(dsn, database.pid, until_s)
    finally:
        database.remove()
    report(figures, watched, loaded, sizes["reading"] / loaded.readings)


def size(dsn: str) -> dict[str, int]:
    """Bytes on disk of readings and of each rollup, indexes and all."""
    with psycopg.connect(dsn) as connection:
        return {
            name: (connection.execute(SIZE, [name]).fetchone() or (0,))[0] for name in ("reading", *LEVELS)
        }


def watch(dsn: str, pid: int, until_s: float) -> Watched:
    """Twenty dashboards that are drawn anew every ten seconds, one connection each, not all at once."""
    panel = _panels.asked(dsn, until_s, _panels.RANGES["24 h"])
    queries = [expand(raw, panel).encode() for _, raw in _panels.targets()]
    connections = [psycopg.connect(dsn, autocommit=True) for _ in range(VIEWERS)]
    times: list[float] = []

    def look(connection: psycopg.Connection[Any], wait_s: float) -> None:
        connection.execute(_panels.ROLE)
        for turn in range(TURNS):
            time.sleep(max(0.0, began_s + wait_s + turn * EVERY_S - time.monotonic()))
            for query in queries:
                asked_s = time.perf_counter()
                connection.execute(query, prepare=False).fetchall()
                times.append(time.perf_counter() - asked_s)

    busy_s, began_s = _busy_s(pid), time.monotonic()
    threads = [
        threading.Thread(target=look, args=(one, number * EVERY_S / VIEWERS))
        for number, one in enumerate(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cores = (_busy_s(pid) - busy_s) / max(TURNS * EVERY_S, time.monotonic() - began_s)
    for connection in connections:
        connection.close()
    return Watched(cores, *np.quantile(times, [0.5, 0.95]).tolist())


def say_loaded(loaded: Loaded, series: int) -> None:
    """What there is, and how it came to be."""
    rates = [loaded.readings / one for one in (loaded.stored_s, loaded.rolled_up_s)]
    print(f"{series} series, {loaded.readings:,} readings of a year")
    print(
        f"stored in {loaded.stored_s:.0f} s ({rates[0]:,.0f}/s), rolled up in {loaded.rolled_up_s:.0f} s",
        end=" ",
    )
    print(f"({rates[1]:,.0f} readings/s)")


def say_sizes(sizes: dict[str, int], readings: int) -> None:
    """Bytes a reading."""
    print(", ".join(f"{name} {one / readings:.1f}" for name, one in sizes.items()), "bytes on disk a reading")


def report(
    figures: list[_panels.Figures], watched: Watched, loaded: Loaded, bytes_per_reading: float
) -> None:
    """The tables and the line."""
    print(f"{'panel':48}{'range':>6}{'p50 ms':>9}{'p95 ms':>9}{'read':>10}{'pages':>8}{'rows':>7}")
    for one in figures:
        times = f"{one.p50_s * 1e3:9.1f}{one.p95_s * 1e3:9.1f}"
        print(f"{one.panel[-48:]:48}{one.span:>6}{times}{one.read:10,}{one.pages:8,}{one.returned:7,}")
    print(
        f"{VIEWERS} dashboards every {EVERY_S:.0f} s: {watched.cores:.2f} cores of the database,"
        f" p50 {watched.p50_s * 1e3:.0f} ms, p95 {watched.p95_s * 1e3:.0f} ms a panel"
    )
    worst = max(figures, key=lambda one: one.p95_s)
    print(f"worst: {worst.panel} over {worst.span}; {MUST_MS} ms at most are asked for")
    line = {
        "worst_p95_ms": round(worst.p95_s * 1e3, 1),
        "panels": len({one.panel for one in figures}),
        "readings": loaded.readings,
        "bytes_per_reading": round(bytes_per_reading, 1),
        "rolled_up_per_s": round(loaded.readings / loaded.rolled_up_s),
        "viewers_cores": round(watched.cores, 3),
        "viewers_p95_ms": round(watched.p95_s * 1e3, 1),
    }
    print(json.dumps(line))


def _busy_s(pid: int) -> float:
    """Processor time of all that a server runs [s]."""
    parent = psutil.Process(pid)
    used = [one.cpu_times() for one in (parent, *parent.children(recursive=True))]
    return float(sum(one.user + one.system for one in used))
