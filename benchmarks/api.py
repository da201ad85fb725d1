"""Measures the API's overhead over SQL, its throughput, live streams, exports, and row-level security's cost.

On one machine in one run, on a TimescaleDB (fsync on) with a year of 200 series and 1 M anomalies:

a. the main queries by API, over one persistent connection, alternating with the same SQL by psycopg; then
   those of one town by its key, hence under row-level security, with the same SQL without it
b. requests per second that one gateway process answers, from several connections at once
c. live streams opened on that one process, each of which must receive an anomaly
d. half of the readings exported as Arrow and as CSV, with the gateway's peak memory
e. the cost of row-level security: requests of every kind, SensorThings included, alternating between the keys
   of a town, of the county and of an administrator; one series has 2 M readings. On TimescaleDB and on
   PostgreSQL (with a tenth of the other readings)

Prints tables, and last one JSON line with ``p95_ratio``, the worst of (a), ``p95_ratio_town``, the worst
by the town's key, and of (e) ``p95_ratio_area`` and ``p50_ratio_area``, the worst, and ``expansions_s``, the
slowest median of 200 Datastreams with latest or counts by the administrator's key. ``--scale`` loads less
(except for the long series), ``--only-wall`` runs (e) alone, and of it ``--server``, ``--key`` and
``--request`` (a part of its name) select a part.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psycopg

from benchmarks import _api_area_scope, _api_load, _api_queries, _latency
from benchmarks._filled_database import TOWNS, FilledDatabase, fill_database
from deploy.debian_servers.installation import PROGRAMS, Installation
from deploy.embedded.postgres_binaries import postgres_programs
from deploy.embedded.server_environment import UNPRIVILEGED, free_port
from tests.support import server_installation
from tests.support.processes import PlatformProcess, running_processes
from tests.support.throwaway_servers import TIMESCALE, PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks._api_queries import QueryTimes

READINGS, ANOMALIES = 20_000_000, 1_000_000
PLAIN_POSTGRES_SCALE = 0.1
SERVER = {"fsync": "on", "shared_buffers": "1GB", "work_mem": "16MB"}
STREAMS = 1000
QUANTILES = (0.5, 0.95, 0.99)
SERVERS = ("timescaledb", "postgresql")


def main() -> None:
    """Measure and print the tables and the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--wall-rounds", type=int, default=100)
    parser.add_argument("--only-wall", action="store_true")
    parser.add_argument("--server", choices=SERVERS)
    parser.add_argument("--key", choices=["town", "county"])
    parser.add_argument("--request", default="")
    options, _ = parser.parse_known_args()
    _raise_file_limit()
    line: dict[str, float] = {}
    for name in [options.server] if options.server else SERVERS:
        database = _server(name)
        scale = options.scale * (1.0 if database.has_timescale else PLAIN_POSTGRES_SCALE)
        with _filled(database, scale) as (dsn, filled), tempfile.TemporaryDirectory() as folder:
            if database.has_timescale and not options.only_wall:
                line |= _measure(dsn, filled, Path(folder), options.rounds)
            _api_area_scope.fill_long_series(dsn)
            for figure, value in _measure_area_scope(database, dsn, Path(folder), options).items():
                line[figure] = max(value, line.get(figure, 0.0))
    print(json.dumps({name: round(value, 3) for name, value in line.items()}))


@contextmanager
def _filled(database: PostgresServer, scale: float) -> Iterator[tuple[str, FilledDatabase]]:
    """Provide a server with a filled database while the context lasts."""
    try:
        database.create()
        with fresh_database(database) as dsn:
            yield dsn, fill_database(dsn, readings=int(READINGS * scale), anomalies=int(ANOMALIES * scale))
    finally:
        database.remove()


def _server(name: str) -> PostgresServer:
    """Return a server of one kind that is not created yet."""
    if name == "timescaledb":
        return PostgresServer(server_installation.provide(print), "postgres", PROGRAMS, TIMESCALE | SERVER)
    return PostgresServer(Installation(Path("/")), UNPRIVILEGED, str(postgres_programs()), SERVER)


def _measure_area_scope(
    database: PostgresServer, dsn: str, logs: Path, options: argparse.Namespace
) -> dict[str, float]:
    """Print the comparison of keys; return the worst of each metric."""
    server_name = "TimescaleDB" if database.has_timescale else "PostgreSQL"
    areas = [_api_area_scope.TOWN, _api_area_scope.COUNTY]
    areas = areas if options.key is None else [areas[options.key == "county"]]
    keys = {_api_area_scope.ADMINISTRATOR: _latency.api_key_headers(dsn)} | {
        one: _latency.api_key_headers(dsn, one) for one in areas
    }
    port = free_port()
    flags = ("--port", str(port), "--requests-per-s", "1e6", "--requests-burst", "1000000")
    flags = (*flags, "--heavy-burst-s", "1e6")
    gateway = PlatformProcess("gateway", *flags, log=logs / "wall.log", TOWNTWIN_DSN=dsn)
    worst = dict.fromkeys(("p50_ratio_area", "p95_ratio_area", "expansions_s"), 0.0)
    with running_processes(gateway):
        _api_load.wait_for(port)
        print(
            f"{server_name:44}{'administrator':>16}"
            + "".join(f"{one:>16}{'p50':>6}{'p95':>6}" for one in areas)
        )
        anomaly_id = _api_area_scope.newest_anomaly_id(dsn)
        for one in _api_area_scope.compare_keys(
            port, keys, anomaly_id, options.wall_rounds, only=options.request
        ):
            print(f"{one.name:44}" + "".join(_columns(one, key) for key in keys), flush=True)
            for key in one.times_s.keys() - {_api_area_scope.ADMINISTRATOR}:
                worst["p50_ratio_area"] = max(worst["p50_ratio_area"], one.ratio(key, 0.5))
                worst["p95_ratio_area"] = max(worst["p95_ratio_area"], one.ratio(key, 0.95))
            if one.name.startswith(_api_area_scope.EXPANSIONS):
                took_s = float(np.median(one.times_s[_api_area_scope.ADMINISTRATOR]))
                worst["expansions_s"] = max(worst["expansions_s"], took_s)
        gateway.kill()
    return worst


def _columns(one: _api_area_scope.KeyTimes, key: str) -> str:
    """Return the columns of a key: median and 95th percentile [ms], and for an area's key both ratios."""
    if key not in one.times_s:
        return f"{'-':>16}{'-':>6}{'-':>6}"
    times = " / ".join(f"{1e3 * value:.1f}" for value in np.quantile(one.times_s[key], (0.5, 0.95)))
    if key == _api_area_scope.ADMINISTRATOR:
        return f"{times:>16}"
    return f"{times:>16}{one.ratio(key, 0.5):>6.2f}{one.ratio(key, 0.95):>6.2f}"


def _measure(dsn: str, filled: FilledDatabase, logs: Path, rounds: int) -> dict[str, float]:
    print(
        f"loaded {filled.readings:,} readings of {filled.series} series with rollups and "
        f"{filled.anomalies:,} anomalies in {filled.took_s:.0f} s"
    )
    port = free_port()
    options = ("--port", str(port), "--requests-per-s", "1e6", "--requests-burst", "1000000")
    options = (*options, "--heavy-burst-s", "1e6")  # one key measures everything
    gateway = PlatformProcess("gateway", *options, log=logs / "gateway.log", TOWNTWIN_DSN=dsn)
    key, key_of_town = _latency.api_key_headers(dsn), _latency.api_key_headers(dsn, "330400-t1")
    with running_processes(gateway):
        _api_load.wait_for(port)
        with psycopg.connect(dsn) as connection:
            found = _api_queries.compare_queries(
                port, key, connection, _api_queries.town_queries(range(TOWNS)), rounds
            )
            of_town = _api_queries.compare_queries(
                port, key_of_town, connection, _api_queries.town_queries([1]), rounds
            )
        _print("query", found)
        _print("by a town's key", of_town)
        per_s = _api_load.requests_per_s(port, key, "/v1/anomalies?area=330400-t1&state=open&limit=20")
        streams, all_received_s = _api_load.live_streams(port, key, dsn, STREAMS)
        exports = [_api_load.export(port, key, form, gateway.process.pid) for form in ("arrow", "csv")]
        gateway.kill()
    print(f"{'requests/s, one process, 8 connections':40}{per_s:>12,.0f}")
    print(f"{'live streams open, all delivered within':40}{streams:>12,}{all_received_s:>10.2f} s")
    for one in exports:
        print(
            f"{one.rows:,} readings as {one.form:8}{one.rows / one.took_s:>16,.0f} rows/s"
            f"{one.size_bytes / 1e6:>10,.0f} MB, peak {one.peak_mb:,.0f} MB ({one.grown_mb:+,.0f} MB)"
        )
    return {
        "p95_ratio": max(one.ratio(0.95) for one in found),
        "p95_ratio_town": max(one.ratio(0.95) for one in of_town),
        "requests_per_s": per_s,
        "streams": streams,
        "export_rows_per_s": min(one.rows / one.took_s for one in exports),
        "export_peak_mb": max(one.peak_mb for one in exports),
    }


def _print(title: str, found: list[QueryTimes]) -> None:
    print(f"{title:52}{'API p50 / p95 / p99 [ms]':>28}{'SQL [ms]':>26}{'p95':>8}")
    for one in found:
        api, sql = (
            " / ".join(f"{1e3 * value:.2f}" for value in np.quantile(times, QUANTILES))
            for times in (one.api_s, one.sql_s)
        )
        print(f"{one.name:52}{api:>28}{sql:>26}{one.ratio(0.95):>8.2f}")


def _raise_file_limit() -> None:
    """Raise the limit of open files: a thousand streams need a thousand sockets on either side."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard_limit, 65_536), hard_limit))
