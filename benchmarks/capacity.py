"""Measures what a message, a reading and a commit cost in ingest, database and broker; checks a prediction.

Processor time is measured idle, at a slow load (20 messages/s, so that every message is a commit), and at two
loads as fast as they go (1 and 100 readings a message); the costs follow from these four. Then ten times a
county's devices are simulated, ten times as fast as they measure, and the cores used are printed beside the
prediction. ``--write`` stores the costs for `towntwin capacity`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from benchmarks._bench_database import prepared_database
from benchmarks._ingest_process import IngestProcess
from benchmarks._mqtt_load import SERIES, Messages, client, payloads, servers
from deploy.capacity import area_levels, cost_model
from deploy.capacity.cost_model import Load, MeasuredCosts, ProcessCosts

if TYPE_CHECKING:
    from tests.support.throwaway_servers import MosquittoServer, PostgresServer

IDLE_S = 15.0
SLOW_S, SLOW_PER_S, SLOW_READINGS = 20.0, 15.0, 4
FAST = ((1, 40_000), (100, 1_000_000))  # readings a message, readings
CHECK_S, SPEED_UP = 30.0, 10.0
READING_BYTES, ROLLUP_BYTES = 102.6, 150.0  # `make bench NAME=dashboards`: docs/rollups.md
SERIES_BYTES = 2_440.0  # `make bench NAME=analytics`: docs/detection.md


class MeasuredLoad(NamedTuple):
    """Processor time by process over a load [s], its duration [s], messages, readings, and memory [bytes]."""

    cpu_s: dict[str, float]
    took_s: float
    messages: int
    readings: int
    ingest_bytes: float


class ProcessorClock:
    """Reads the processor time of ingest, database and broker with their children."""

    def __init__(self, ingest_pid: int, database_pid: int, broker_pid: int) -> None:
        self._pids = {"ingest": ingest_pid, "database": database_pid, "broker": broker_pid}

    def read_s(self) -> dict[str, float]:
        """Return the processor time used so far [s]."""
        return {name: self._of(pid) for name, pid in self._pids.items()}

    def _of(self, pid: int) -> float:
        process = psutil.Process(pid)
        times = process.cpu_times()
        total_s = times.user + times.system + times.children_user + times.children_system
        for one in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                total_s += sum(one.cpu_times()[:2])
        return float(total_s)


def measure(
    database: PostgresServer,
    broker: MosquittoServer,
    log: Path,
    *,
    per_message: int = 1,
    readings: int = 0,
    per_s: float = 0.0,
) -> MeasuredLoad:
    """Publish readings at a rate of messages (0 is unbounded), and measure until all are committed."""
    messages = payloads(readings, per_message)
    with prepared_database(database, broker.port) as dsn:
        ingest = IngestProcess(dsn, broker.port, log)
        with ingest.running():
            clock = ProcessorClock(ingest.process.process.pid, database.pid, broker.pid)
            before_s, began_s = clock.read_s(), time.monotonic()
            if readings:
                _publish(broker.port, messages, per_s)
                ingest.wait_for(readings)
            else:
                time.sleep(IDLE_S)
            took_s, after_s = time.monotonic() - began_s, clock.read_s()
            memory_bytes = ingest.metric("process_resident_memory_bytes")
    used_s = {name: after_s[name] - before_s[name] for name in after_s}
    return MeasuredLoad(used_s, took_s, len(messages), readings, memory_bytes)


def _publish(port: int, messages: Messages, per_s: float) -> None:
    publisher = client()
    publisher.max_inflight_messages_set(1000)
    publisher.connect("127.0.0.1", port)
    publisher.loop_start()
    began_s = time.monotonic()
    last = None
    for number, (topic, payload) in enumerate(messages):
        if per_s:
            time.sleep(max(0.0, began_s + number / per_s - time.monotonic()))
        last = publisher.publish(topic, payload, qos=1)
    if last is not None:
        last.wait_for_publish(120)
    publisher.disconnect()
    publisher.loop_stop()


def solve(
    idle: MeasuredLoad, slow: MeasuredLoad, single: MeasuredLoad, packed: MeasuredLoad
) -> dict[str, ProcessCosts]:
    """Return the costs of each process that explain four loads; none is below zero."""
    costs: dict[str, ProcessCosts] = {}
    for name in idle.cpu_s:
        cores = idle.cpu_s[name] / idle.took_s
        busy_single_s, busy_packed_s = (
            max(0.0, one.cpu_s[name] - cores * one.took_s) / one.readings for one in (single, packed)
        )
        readings_per_message = packed.readings / packed.messages
        per_message_s = max(0.0, (busy_single_s - busy_packed_s) / (1 - 1 / readings_per_message))
        per_reading_s = max(0.0, busy_packed_s - per_message_s / readings_per_message)
        rest_s = slow.cpu_s[name] - cores * slow.took_s
        rest_s -= per_message_s * slow.messages + per_reading_s * slow.readings
        costs[name] = ProcessCosts(cores, max(0.0, rest_s / slow.messages), per_message_s, per_reading_s)
    return costs


def to_toml(costs: MeasuredCosts) -> str:
    """Return the TOML of `deploy/capacity/measured_costs.toml`."""
    lines = [
        "# Written by `make bench NAME=capacity ARGS=--write`; the bytes on disk are of docs/rollups.md.",
        f'measured = "{costs.measured}"',
        *(f"{name} = {getattr(costs, name):.1f}" for name in ("reading_bytes", "rollup_bytes")),
        *(f"{name} = {getattr(costs, name):.0f}" for name in ("ingest_bytes", "series_bytes")),
    ]
    for name, one in costs.processes.items():
        lines += ["", f"[processes.{name}]", f"idle = {one.idle:.4f} # cores"]
        lines += [
            f"{key} = {getattr(one, key):.3e}" for key in ("per_commit_s", "per_message_s", "per_reading_s")
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(prog="make bench NAME=capacity", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the costs for `towntwin capacity`")
    options = parser.parse_args(sys.argv[2:])
    county = area_levels.TOWN_DEVICES * area_levels.COUNTY_TOWNS * 10
    load = Load(county, area_levels.QUANTITIES, area_levels.INTERVAL_S / SPEED_UP, area_levels.QUANTITIES)
    with servers() as (database, broker), tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ingest.log"
        idle = measure(database, broker, log)
        slow_readings = int(SLOW_S * SLOW_PER_S) * SLOW_READINGS
        slow = measure(
            database, broker, log, per_message=SLOW_READINGS, readings=slow_readings, per_s=SLOW_PER_S
        )
        fast = [measure(database, broker, log, per_message=each, readings=n) for each, n in FAST]
        costs = MeasuredCosts(
            measured=f"{time.strftime('%Y-%m-%d')}, {psutil.cpu_count()} cores, {SERIES} series",
            processes=solve(idle, slow, *fast),
            reading_bytes=READING_BYTES,
            rollup_bytes=ROLLUP_BYTES,
            ingest_bytes=idle.ingest_bytes,
            series_bytes=SERIES_BYTES,
        )
        checked = measure(
            database,
            broker,
            log,
            per_message=area_levels.QUANTITIES,
            readings=int(CHECK_S * load.messages_per_s) * area_levels.QUANTITIES,
            per_s=load.messages_per_s,
        )
    predicted = cost_model.cores_used(costs, load)
    used = {name: checked.cpu_s[name] / checked.took_s for name in predicted}
    print(f"{'':10}{'idle, cores':>13}{'commit, ms':>12}{'message, us':>13}{'reading, us':>13}")
    for name, one in costs.processes.items():
        print(
            f"{name:10}{one.idle:>13.4f}{one.per_commit_s * 1e3:>12.3f}{one.per_message_s * 1e6:>13.1f}"
            f"{one.per_reading_s * 1e6:>13.2f}"
        )
    print(f"{load.devices:,} devices, {load.messages_per_s:,.0f} messages/s: cores")
    for name, cores in predicted.items():
        print(f"{name:10}{used[name]:>10.3f} used{cores:>10.3f} predicted")
    if options.write:
        cost_model.COSTS_FILE.write_text(to_toml(costs))
    print(json.dumps({f"{name}_ratio": round(used[name] / predicted[name], 2) for name in predicted}))
