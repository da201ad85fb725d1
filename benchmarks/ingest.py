"""Measures ingest throughput and latency, compared with bare COPY into the database and a bare MQTT receiver.

On one machine in one run, with a real Mosquitto and a real TimescaleDB (fsync on):

a. bare binary COPY of the rows that (b) stored, in its order, into the same table
b. end to end at 100 readings per message: QoS 1, judged, acknowledged after COMMIT
c. a bare paho receiver that decodes nothing
d. end to end at 1 reading per message
e. seconds from publish to receipt (which follows COMMIT) and to the anomaly in the live stream of the API,
   at 5,000 readings/s

With ``TOWNTWIN_BENCH_SHARDS=2``, only d is measured, in turns with two processes, which begin together:

f. end to end at 1 reading per message, two shards of one area each
g. the same, two shares of both areas, by the hash of the device: each receives all messages

In b, c, d and f the messages are queued in the broker's session, so that their sender uses no processor time.
Of a to d the best of some rounds counts, as other load of the machine can only slow a round down; each starts
after a CHECKPOINT, so that none writes the pages of the previous one.

Prints a table, and last one JSON line with ``ratio_copy`` = b/a and ``ratio_paho`` = d/c.

With ``TOWNTWIN_BENCH_TELEGRAF=PATH`` of a Telegraf binary, ingest is measured beside that instead:
see `_beside_telegraf`.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psycopg

from benchmarks import _beside_telegraf, _box_memory
from benchmarks._bench_database import prepared_database
from benchmarks._ingest_process import POLL_S, IngestProcess, count_readings
from benchmarks._latency import measure_latency
from benchmarks._mqtt_load import (
    AREAS,
    SERIES,
    TIMEOUT_S,
    Messages,
    bare_receiver,
    payloads,
    publish_from_process,
    servers,
)
from ingest_service.storage.postgres import binary_copy
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks._box_memory import ProcessUse
    from tests.support.throwaway_servers import PostgresServer

READINGS = int(os.environ.get("TOWNTWIN_BENCH_READINGS", "2000000"))
SINGLES = int(os.environ.get("TOWNTWIN_BENCH_SINGLES", str(READINGS // 20)))
ROUNDS = int(os.environ.get("TOWNTWIN_BENCH_ROUNDS", "3"))
TELEGRAF = os.environ.get("TOWNTWIN_BENCH_TELEGRAF", "")
SHARDS = int(os.environ.get("TOWNTWIN_BENCH_SHARDS", "1"))
COPY_BATCH = 65_536
COPY_OUT = """COPY (SELECT "time", received, value, series_id, expected, spread, quality, rules FROM reading
    ORDER BY tableoid, ctid) TO STDOUT (FORMAT binary)"""


class EndToEnd(NamedTuple):
    """Rate of the ingest process and what it uses.

    Attributes
    ----------
    per_s : readings/s
    cpu_s_per_million : processor time per million readings [s]
    memory : resident memory once all are committed
    peak_mb : largest resident memory since its start [MB]

    """

    per_s: float
    cpu_s_per_million: float
    memory: ProcessUse
    peak_mb: float


def end_to_end(dsn: str, port: int, messages: Messages, readings: int, log: Path) -> EndToEnd:
    """Measure from the start of the session until all readings are committed."""
    ingest = IngestProcess(dsn, port, log)
    ingest.subscribe()
    publish_from_process(port, messages)
    with ingest.running():
        began_s, began_cpu_s = time.perf_counter(), ingest.metric("process_cpu_seconds_total")
        ingest.wait_for(readings)
        took_s = time.perf_counter() - began_s
        cpu_s = ingest.metric("process_cpu_seconds_total") - began_cpu_s
        pid = ingest.process.process.pid
        memory, peak_mb = _box_memory.measure("ingest", pid, children=False), _box_memory.peak_mb(pid)
    assert count_readings(dsn) == readings, "what was counted must be there"
    return EndToEnd(readings / took_s, cpu_s / readings * 1e6, memory, peak_mb)


def two_processes(
    dsn: str, port: int, messages: Messages, readings: int, shards: list[IngestProcess]
) -> float:
    """Return readings/s of both from when both have their session until all readings are committed."""
    for one in shards:
        one.subscribe()
    publish_from_process(port, messages)
    with ExitStack() as running:
        with ThreadPoolExecutor(len(shards)) as starting:
            list(starting.map(lambda one: running.enter_context(one.running()), shards))
        began_s, committed_before = time.perf_counter(), sum(one.committed() for one in shards)
        deadline_s = time.monotonic() + TIMEOUT_S
        while sum(one.committed() for one in shards) < readings:
            assert time.monotonic() < deadline_s, "not all readings are committed"
            time.sleep(POLL_S)
        took_s = time.perf_counter() - began_s
    assert count_readings(dsn) == readings, "what was counted must be there"
    return (readings - committed_before) / took_s


def committed_rows(dsn: str) -> NDArray[np.void]:
    """Return the stored readings in the order in which they were committed."""
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor, cursor.copy(COPY_OUT) as copy:
        return np.concatenate(list(binary_copy.decode_copy(copy)))


def bare_copy(dsn: str, rows: NDArray[np.void]) -> float:
    """Return readings/s of binary COPY alone into the empty table."""
    blobs = [binary_copy.encode_copy(rows[at : at + COPY_BATCH]) for at in range(0, len(rows), COPY_BATCH)]
    with psycopg.connect(dsn) as connection:
        began_s = time.perf_counter()
        for blob in blobs:
            with connection.cursor() as cursor, cursor.copy(QUERIES["copy_readings"]) as copy:
                copy.write(blob)
            connection.commit()
        return len(rows) / (time.perf_counter() - began_s)


def rates(
    database: PostgresServer, port: int, packs: Messages, singles: Messages, logs: Path
) -> tuple[float, EndToEnd, float, EndToEnd]:
    """Measure one round of a to d."""
    with prepared_database(database, port) as dsn:
        b = end_to_end(dsn, port, packs, READINGS, logs / "b.log")
        rows = committed_rows(dsn)
    with prepared_database(database, port) as dsn:
        a = bare_copy(dsn, rows)
    with prepared_database(database, port) as dsn:
        d = end_to_end(dsn, port, singles, SINGLES, logs / "d.log")
    return a, b, bare_receiver(port, singles), d


def area_shards(dsn: str, port: int, logs: Path) -> list[IngestProcess]:
    """Return a shard for each area."""
    return [
        IngestProcess(dsn, port, logs / f"{area}.log", "--shard", area, "--areas", area) for area in AREAS
    ]


def shares(dsn: str, port: int, logs: Path) -> list[IngestProcess]:
    """Return two shares of all areas."""
    return [IngestProcess(dsn, port, logs / f"{one}.log", "--share", f"{one}/2") for one in (1, 2)]


def rates_of_two(
    database: PostgresServer, port: int, singles: Messages, logs: Path
) -> list[tuple[float, float, float]]:
    """Return readings/s of one shard, of two by area, and of two by the hash of the device, in turns."""
    found = []
    for _ in range(ROUNDS):
        with prepared_database(database, port) as dsn:
            one = end_to_end(dsn, port, singles, SINGLES, logs / "one.log").per_s
        with prepared_database(database, port) as dsn:
            by_area = two_processes(dsn, port, singles, SINGLES, area_shards(dsn, port, logs))
        with prepared_database(database, port) as dsn:
            by_hash = two_processes(dsn, port, singles, SINGLES, shares(dsn, port, logs))
        found.append((one, by_area, by_hash))
    return found


def print_rates_of_two(found: list[tuple[float, float, float]]) -> None:
    """Print the medians, and the ratios to one shard."""
    one, by_area, by_hash = (statistics.median(rates) for rates in zip(*found, strict=True))
    for name, rate in (("one shard", one), ("two by area", by_area), ("two by hash of the device", by_hash)):
        print(f"{name + ', 1 a message, readings/s':64}{rate:>12,.0f}")
    print(json.dumps({"ratio_area": round(by_area / one, 3), "ratio_hash": round(by_hash / one, 3)}))


def memory_text(rounds: Sequence[EndToEnd]) -> str:
    """Return the largest resident memory of all rounds."""
    sizes = [(one.memory.rss_mb, one.memory.pss_mb, one.peak_mb) for one in rounds]
    rss, pss, peak = (max(column) for column in zip(*sizes, strict=True))
    return f"{rss:.0f} / {pss:.0f} / {peak:.0f} MB"


def main() -> None:
    """Measure and print the table and the JSON line."""
    if TELEGRAF:
        _beside_telegraf.run(TELEGRAF, readings=READINGS, singles=SINGLES, rounds=ROUNDS)
        return
    packs, singles = payloads(READINGS, 100), payloads(SINGLES, 1)
    with servers() as (database, broker), tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        if len(AREAS) == SHARDS:
            print_rates_of_two(rates_of_two(database, broker.port, singles, logs))
            return
        rounds = [rates(database, broker.port, packs, singles, logs) for _ in range(ROUNDS)]
        with prepared_database(database, broker.port) as dsn:
            e = measure_latency(dsn, broker.port, logs)
    copies, packed, receivers, single = zip(*rounds, strict=True)
    a, b, c, d = max(copies), max(packed), max(receivers), max(single)
    cpu_b, cpu_d = (min(one.cpu_s_per_million for one in found) for found in (packed, single))
    table = {
        f"a  bare binary COPY of {READINGS:,} rows, readings/s": f"{a:,.0f}",
        "b  end to end, 100 a message, readings/s": f"{b.per_s:,.0f}",
        "b  processor time of ingest per million readings": f"{cpu_b:.1f} s",
        "c  bare paho receiver, messages/s": f"{c:,.0f}",
        "d  end to end, 1 a message, readings/s": f"{d.per_s:,.0f}",
        "d  processor time of ingest per million readings": f"{cpu_d:.1f} s",
        f"b  memory of ingest at {SERIES:,} series: RSS / PSS / peak RSS": memory_text(packed),
        f"d  memory of ingest at {SERIES:,} series: RSS / PSS / peak RSS": memory_text(single),
        "e  publish to receipt at 5,000 readings/s, p50 / p99": f"{e.commit_p50:.3f} / {e.commit_p99:.3f} s",
        "e  publish to anomaly in the API, p50 / p99": f"{e.anomaly_p50:.3f} / {e.anomaly_p99:.3f} s",
    }
    print("\n".join(f"{name:64}{value:>20}" for name, value in table.items()))
    line = {
        "ratio_copy": b.per_s / a,
        "ratio_paho": d.per_s / c,
        "readings_per_s": b.per_s,
        "singles_per_s": d.per_s,
        "cpu_s_per_million_singles": cpu_d,
        "commit_p99_s": e.commit_p99,
        "anomaly_p99_s": e.anomaly_p99,
    }
    print(json.dumps({name: round(value, 3) for name, value in line.items()}))
