"""Measures the cost of the dashboards' queries on a year of data: 1,000 series, 105 M readings.

The year (a reading every five minutes) is stored by `Store.commit` three hours at a time and then rolled up
as one backlog. Every panel's SQL runs with Grafana's macros expanded and all values selected over 1 h, 24 h,
30 d and 1 y: measured are the time, the rows and pages read, and the rows returned. Then twenty dashboards
query the last 24 h every 10 s. ``--scale 0.1`` loads a tenth of the series. Prints tables, and last one JSON
line.
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

from benchmarks import _panel_queries, _year_of_readings
from deploy.debian_servers.installation import PROGRAMS
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.rollups import ROLLUP_WIDTHS_S
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import server_installation
from tests.support.grafana_macros import expand
from tests.support.throwaway_servers import TIMESCALE, PostgresServer, fresh_database

if TYPE_CHECKING:
    from benchmarks._year_of_readings import LoadTimes

SERIES = 1000
VIEWERS, EVERY_S, REFRESHES = 20, 10.0, 3
REQUIRED_MS = 500
SERVER = {
    "fsync": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "work_mem": "32MB",
    "timescaledb.max_background_workers": "1",
}
SIZE = "SELECT hypertable_size(%s::regclass)"


class ViewerCost(NamedTuple):
    """Cost of open dashboards: busy processor cores of the database, times of a panel [s]."""

    cores: float
    p50_s: float
    p95_s: float


def main() -> None:
    """Load, measure and print."""
    parser = argparse.ArgumentParser(prog="dashboards")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args(sys.argv[2:])
    series = max(10, round(SERIES * args.scale / 10) * 10)
    until_s = time.time() // 60 * 60
    found = server_installation.provide(print)
    database = PostgresServer(found, "postgres", PROGRAMS, TIMESCALE | SERVER)
    try:
        database.create()
        with fresh_database(database) as dsn:
            migrate(dsn)
            store = PostgresStore.open(dsn)
            loaded = _year_of_readings.load_year(store, series, until_s)
            store.close()
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("VACUUM (ANALYZE)")
            print_load_times(loaded, series)
            sizes = size(dsn)
            print_sizes(sizes, loaded.readings)
            panel_costs = list(_panel_queries.measure_panels(dsn, until_s, args.rounds))
            viewer_cost = measure_viewers(dsn, database.pid, until_s)
    finally:
        database.remove()
    report(panel_costs, viewer_cost, loaded, sizes["reading"] / loaded.readings)


def size(dsn: str) -> dict[str, int]:
    """Return the bytes on disk of the readings and of each rollup, including indexes."""
    with psycopg.connect(dsn) as connection:
        return {
            name: (connection.execute(SIZE, [name]).fetchone() or (0,))[0]
            for name in ("reading", *ROLLUP_WIDTHS_S)
        }


def measure_viewers(dsn: str, pid: int, until_s: float) -> ViewerCost:
    """Measure twenty dashboards that refresh every ten seconds, one connection each, at staggered times."""
    panel = _panel_queries.panel_request(dsn, until_s, _panel_queries.RANGES["24 h"])
    queries = [expand(raw, panel).encode() for _, raw in _panel_queries.panel_queries()]
    connections = [psycopg.connect(dsn, autocommit=True) for _ in range(VIEWERS)]
    times: list[float] = []

    def view_dashboard(connection: psycopg.Connection[Any], wait_s: float) -> None:
        connection.execute(_panel_queries.ROLE)
        for refresh in range(REFRESHES):
            time.sleep(max(0.0, began_s + wait_s + refresh * EVERY_S - time.monotonic()))
            for query in queries:
                query_began_s = time.perf_counter()
                connection.execute(query, prepare=False).fetchall()
                times.append(time.perf_counter() - query_began_s)

    busy_s, began_s = _busy_s(pid), time.monotonic()
    threads = [
        threading.Thread(target=view_dashboard, args=(one, number * EVERY_S / VIEWERS))
        for number, one in enumerate(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cores = (_busy_s(pid) - busy_s) / max(REFRESHES * EVERY_S, time.monotonic() - began_s)
    for connection in connections:
        connection.close()
    return ViewerCost(cores, *np.quantile(times, [0.5, 0.95]).tolist())


def print_load_times(loaded: LoadTimes, series: int) -> None:
    """Print the loaded readings and the rates of storing and rolling up."""
    rates = [loaded.readings / one for one in (loaded.stored_s, loaded.rolled_up_s)]
    print(f"{series} series, {loaded.readings:,} readings of a year")
    print(
        f"stored in {loaded.stored_s:.0f} s ({rates[0]:,.0f}/s), rolled up in {loaded.rolled_up_s:.0f} s",
        end=" ",
    )
    print(f"({rates[1]:,.0f} readings/s)")


def print_sizes(sizes: dict[str, int], readings: int) -> None:
    """Print the bytes on disk per reading."""
    print(", ".join(f"{name} {one / readings:.1f}" for name, one in sizes.items()), "bytes on disk a reading")


def report(
    panel_costs: list[_panel_queries.PanelCost],
    viewer_cost: ViewerCost,
    loaded: LoadTimes,
    bytes_per_reading: float,
) -> None:
    """Print the tables and the JSON line."""
    print(f"{'panel':48}{'range':>6}{'p50 ms':>9}{'p95 ms':>9}{'read':>10}{'pages':>8}{'rows':>7}")
    for one in panel_costs:
        times = f"{one.p50_s * 1e3:9.1f}{one.p95_s * 1e3:9.1f}"
        print(f"{one.panel[-48:]:48}{one.span:>6}{times}{one.read:10,}{one.pages:8,}{one.returned:7,}")
    print(
        f"{VIEWERS} dashboards every {EVERY_S:.0f} s: {viewer_cost.cores:.2f} cores of the database,"
        f" p50 {viewer_cost.p50_s * 1e3:.0f} ms, p95 {viewer_cost.p95_s * 1e3:.0f} ms a panel"
    )
    worst = max(panel_costs, key=lambda one: one.p95_s)
    print(f"worst: {worst.panel} over {worst.span}; {REQUIRED_MS} ms at most are asked for")
    line = {
        "worst_p95_ms": round(worst.p95_s * 1e3, 1),
        "panels": len({one.panel for one in panel_costs}),
        "readings": loaded.readings,
        "bytes_per_reading": round(bytes_per_reading, 1),
        "rolled_up_per_s": round(loaded.readings / loaded.rolled_up_s),
        "viewers_cores": round(viewer_cost.cores, 3),
        "viewers_p95_ms": round(viewer_cost.p95_s * 1e3, 1),
    }
    print(json.dumps(line))


def _busy_s(pid: int) -> float:
    """Return the processor time of a server's process and its children [s]."""
    parent = psutil.Process(pid)
    used = [one.cpu_times() for one in (parent, *parent.children(recursive=True))]
    return float(sum(one.user + one.system for one in used))
