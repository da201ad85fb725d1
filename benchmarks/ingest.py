"""How fast readings are taken, beside what the database and the broker could do at all.

On one machine in one run, with a real Mosquitto and a real TimescaleDB (fsync on):

a. bare binary COPY of the rows that (b) stored, in its order, into the same table
b. end to end at 100 readings a message: QoS 1, judged, acknowledged after COMMIT
c. a bare paho receiver that decodes nothing
d. end to end at 1 reading a message
e. seconds from publish to receipt (which follows COMMIT) and to the anomaly in the live stream of the API,
   at 5,000 readings/s

In b, c and d the messages wait in the broker's session, so that their sender takes nothing from the cores.
Prints a table, and last one JSON line with ``ratio_copy`` = b/a and ``ratio_paho`` = d/c.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psycopg

from benchmarks._latency import latency
from benchmarks._load import Messages, bare_receiver, directory, payloads, published, servers
from benchmarks._platform import Ingest, stored
from ingest_service.storage import binary
from ingest_service.storage.migrate import migrate
from ingest_service.storage.postgres import PostgresStore
from ingest_service.storage.sql import QUERIES
from tests.support.services import fresh_database

if TYPE_CHECKING:
    from numpy.typing import NDArray

READINGS = int(os.environ.get("TOWNTWIN_BENCH_READINGS", "2000000"))
SINGLES = READINGS // 20
COPY_BATCH = 65_536
COPY_OUT = """COPY (SELECT "time", received, value, series_id, expected, spread, quality, rules FROM reading
    ORDER BY tableoid, ctid) TO STDOUT (FORMAT binary)"""


def end_to_end(dsn: str, port: int, messages: Messages, readings: int, log: Path) -> float:
    """Readings a second from the session's begin until all of them are committed."""
    ingest = Ingest(dsn, port, log)
    ingest.subscribe()
    published(port, messages)
    with ingest.running():
        began_s = time.perf_counter()
        ingest.wait_for(readings)
        took_s = time.perf_counter() - began_s
    assert stored(dsn) == readings, "what was counted must be there"
    return readings / took_s


def committed_rows(dsn: str) -> NDArray[np.void]:
    """What is stored, in the order in which it was committed."""
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor, cursor.copy(COPY_OUT) as copy:
        return np.concatenate(list(binary.decode(copy)))


def bare_copy(dsn: str, rows: NDArray[np.void]) -> float:
    """Readings a second of binary COPY into the empty table, and nothing else."""
    blobs = [binary.encode(rows[at : at + COPY_BATCH]) for at in range(0, len(rows), COPY_BATCH)]
    with psycopg.connect(dsn) as connection:
        began_s = time.perf_counter()
        for blob in blobs:
            with connection.cursor() as cursor, cursor.copy(QUERIES["copy_readings"]) as copy:
                copy.write(blob)
            connection.commit()
        return len(rows) / (time.perf_counter() - began_s)


def prepared(dsn: str) -> None:
    """The schema, and everything enrolled."""
    migrate(dsn)
    store = PostgresStore.open(dsn)
    store.enrol(directory())
    store.close()


def main() -> None:
    """Measure, print the table and the line."""
    with servers() as (database, broker), tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        with fresh_database(database) as dsn:
            prepared(dsn)
            b = end_to_end(dsn, broker.port, payloads(READINGS, 100), READINGS, logs / "b.log")
            rows = committed_rows(dsn)
        with fresh_database(database) as dsn:
            prepared(dsn)
            a = bare_copy(dsn, rows)
        singles = payloads(SINGLES, 1)
        with fresh_database(database) as dsn:
            prepared(dsn)
            d = end_to_end(dsn, broker.port, singles, SINGLES, logs / "d.log")
        c = bare_receiver(broker.port, singles)
        with fresh_database(database) as dsn:
            prepared(dsn)
            e = latency(dsn, broker.port, logs)
    table = {
        f"a  bare binary COPY of {len(rows):,} rows, readings/s": f"{a:,.0f}",
        "b  end to end, 100 a message, readings/s": f"{b:,.0f}",
        "c  bare paho receiver, messages/s": f"{c:,.0f}",
        "d  end to end, 1 a message, readings/s": f"{d:,.0f}",
        "e  publish to receipt at 5,000 readings/s, p50 / p99": f"{e.commit_p50:.3f} / {e.commit_p99:.3f} s",
        "e  publish to anomaly in the API, p50 / p99": f"{e.anomaly_p50:.3f} / {e.anomaly_p99:.3f} s",
    }
    print("\n".join(f"{name:64}{value:>18}" for name, value in table.items()))
    line = {
        "ratio_copy": b / a,
        "ratio_paho": d / c,
        "readings_per_s": b,
        "commit_p99_s": e.commit_p99,
        "anomaly_p99_s": e.anomaly_p99,
    }
    print(json.dumps({name: round(value, 3) for name, value in line.items()}))
