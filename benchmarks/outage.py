"""Measures ingest during a database outage under load: memory, acknowledgements, and recovery without loss.

Two hundred series with a reading every ten seconds are 72,000 readings per hour. Ten times as many are
published, four per message, as fast as a real Mosquitto accepts them (with an unbounded in-memory queue, as
no edge agent would publish again), while a real TimescaleDB is stopped under full load for at least
``TOWNTWIN_BENCH_AWAY_S`` and then started again.

During the outage ingest must send nothing but pings to the broker, otherwise it would have acknowledged
something; afterwards every reading must be stored once, and no series may have a reading that was committed
before an earlier one. Draws docs/pictures/outage.png, prints a table, and last one JSON line.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from benchmarks._bench_database import prepared_database
from benchmarks._ingest_process import IngestProcess
from benchmarks._memory_watch import MemoryWatch, plot_memory
from benchmarks._mqtt_load import SERIES, payloads, publish, servers
from ingest_service.pipeline.settings import Settings
from tests.support.tcp_proxy import Proxy

if TYPE_CHECKING:
    from benchmarks._mqtt_load import SharedCounter
    from tests.support.throwaway_servers import PostgresServer

HOUR = SERIES * 360  # readings of a town
TOWNS = 10
PER_MESSAGE = 4
BEFORE, DURING = HOUR * TOWNS // 4, HOUR * TOWNS
READINGS = BEFORE + DURING
OUTAGE_S = float(os.environ.get("TOWNTWIN_BENCH_AWAY_S", "40"))
SETTLE_S = 1.0  # a commit in progress when the database stopped is still acknowledged
PICTURE = Path(__file__).parents[1] / "docs/pictures/outage.png"

# A series is in order if no reading was committed by an earlier transaction than the reading before it.
COUNTS_QUERY = """
WITH placed AS (
    SELECT series_id, "time", xmin::text::bigint AS commit,
        lag(xmin::text::bigint) OVER (PARTITION BY series_id ORDER BY "time") AS commit_before
    FROM reading)
SELECT count(*), count(DISTINCT (series_id, "time")), count(*) FILTER (WHERE commit < commit_before),
    (SELECT max(rows) FROM (SELECT count(*) AS rows FROM placed GROUP BY commit) AS commits)
FROM placed"""


class StoredCounts(NamedTuple):
    """Counts of stored readings; ``misplaced`` ones were committed after a later one of their series."""

    stored: int
    distinct: int
    misplaced: int
    largest_commit: int


class OutageRun(NamedTuple):
    """Samples of a run; the outage was from ``left_s`` to ``back_s``, commits resumed at ``resumed_s``."""

    watch: MemoryWatch
    outage_start_s: float
    outage_end_s: float
    resumed_s: float
    connections: float


def stored_counts(dsn: str) -> StoredCounts:
    """Count the stored readings."""
    with psycopg.connect(dsn) as connection:
        return StoredCounts(*connection.execute(COUNTS_QUERY).fetchone() or ())


def run_outage(database: PostgresServer, ingest: IngestProcess, network: Proxy, port: int) -> OutageRun:
    """Publish all readings, with the database stopped for most of them."""
    acknowledged: SharedCounter = RawValue("l", 0)
    sender = multiprocessing.Process(
        target=publish, args=(port, payloads(READINGS, PER_MESSAGE), acknowledged), daemon=True
    )
    with (
        ingest.running(),
        MemoryWatch(
            ingest.process.process.pid,
            lambda: max(0.0, PER_MESSAGE * acknowledged.value - ingest.committed()),
            lambda: network.recorded_bytes,
        ) as watch,
    ):
        sender.start()
        ingest.wait_for(BEFORE)
        outage_start_s = watch.now_s()
        database.stop()
        sender.join()
        assert sender.exitcode == 0, "the sender failed"
        time.sleep(max(0.0, OUTAGE_S - (watch.now_s() - outage_start_s)))
        committed, outage_end_s = ingest.committed(), watch.now_s()
        database.start()
        ingest.wait_for(round(committed) + 1)
        resumed_s = watch.now_s()
        ingest.wait_for(READINGS)
        connections = ingest.metric("towntwin_ingest_connections_total")
    return OutageRun(watch, outage_start_s, outage_end_s, resumed_s, connections)


def main() -> None:
    """Run the outage, check, draw and print."""
    with servers() as (database, broker), tempfile.TemporaryDirectory() as folder:
        network = Proxy(broker.host, broker.port)
        log = Path(folder) / "ingest.log"
        with prepared_database(database, broker.port) as dsn:
            run = run_outage(database, IngestProcess(dsn, network.port, log), network, broker.port)
            found = stored_counts(dsn)
        network.close()
        tries = log.read_text().count("store_unavailable")
    report(run, found, tries)


def report(run: OutageRun, found: StoredCounts, tries: int) -> None:
    """Print the results and assert what must hold."""
    watch, (outage_start_s, outage_end_s) = run.watch, (run.outage_start_s, run.outage_end_s)
    plot_memory(PICTURE, watch.samples, (outage_start_s, outage_end_s))
    during, after = (
        watch.between(outage_start_s + SETTLE_S, outage_end_s),
        watch.between(outage_end_s, float("inf")),
    )
    before_mb = max(one.rss_mb for one in watch.between(outage_start_s - 1, outage_start_s))
    during_mb, after_mb = (max(one.rss_mb for one in part) for part in (during, after))
    sent_bytes = during[-1].recorded_bytes - during[0].recorded_bytes
    pings = 1 + (outage_end_s - outage_start_s) // Settings().keep_alive_s
    lost, doubled = READINGS - found.distinct, found.stored - found.distinct
    max_commit_rows = Settings().batch_messages * PER_MESSAGE
    table = {
        "readings published, of them while the database was away": f"{READINGS:,}, {during[-1].backlog:,.0f}",
        "database away, tries to reach it": f"{outage_end_s - outage_start_s:.0f} s, {tries}",
        "from its return to the first commit, to the last": (
            f"{run.resumed_s - outage_end_s:.1f} s, {after[-1].at_s - outage_end_s:.1f} s"
        ),
        "RSS before / at most during / at most after": " / ".join(
            f"{one:.1f}" for one in (before_mb, during_mb, after_mb)
        )
        + " MB",
        "sent to the broker meanwhile, connections to it in all": f"{sent_bytes} bytes, "
        f"{run.connections:.0f}",
        "largest commit, of at most": f"{found.largest_commit:,}, {max_commit_rows:,} readings",
        "lost, doubled, out of order": f"{lost}, {doubled}, {found.misplaced}",
    }
    print("\n".join(f"{name:60}{value:>28}" for name, value in table.items()))
    assert sent_bytes < 4 + 2 * pings, "an acknowledgement is four bytes, a ping two"
    assert found == StoredCounts(READINGS, READINGS, 0, found.largest_commit), "each once, in order"
    assert found.largest_commit <= max_commit_rows
    line = {
        "rss_before_mb": round(before_mb, 1),
        "rss_during_max_mb": round(during_mb, 1),
        "rss_growth_mb": round(during_mb - before_mb, 1),
        "readings": READINGS,
        "lost": lost,
        "doubled": doubled,
    }
    print(json.dumps(line))
