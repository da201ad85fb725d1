"""Tests that a repeated batch costs the database few statements, no row and little WAL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.postgres import write_batch
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.store_samples import DIRECTORY, LATE, readings

if TYPE_CHECKING:
    from pathlib import Path

STATEMENTS = 6  # BEGIN, staging made, COPY in, insert, COPY of conflicts out, COMMIT
# Vacuuming and checkpoints write to the same log: the least of several measurements is the batch's.
REPEATS = 5


def statements(trace: Path) -> int:
    """How many a traced connection sent."""
    return len(re.findall(rb"\tF\t\d+\t(?:Query|Execute)\t", trace.read_bytes()))


def log_bytes(connection: psycopg.Connection[Any]) -> int:
    """How much this database server has written to its write-ahead log."""
    found = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
    return int(found[0]) if found else 0


def test_a_batch_of_repeats_costs_little(timescale_dsn: str, tmp_path: Path) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    store.close()
    rows = readings(1, range(20_000))
    repeats = readings(1, range(20_000), rules=LATE)  # as the judge flags them
    trace = tmp_path / "trace"
    with psycopg.connect(timescale_dsn, autocommit=True) as connection:
        begin = log_bytes(connection)
        write_batch.commit_batch(connection, Batch(fresh=rows))
        first = log_bytes(connection)
        with trace.open("w") as file:
            connection.pgconn.trace(file.fileno())
            done = write_batch.commit_batch(connection, Batch(doubtful=repeats))
            connection.pgconn.untrace()
        costs = []
        for _ in range(REPEATS):
            before = log_bytes(connection)
            write_batch.commit_batch(connection, Batch(doubtful=repeats))
            costs.append(log_bytes(connection) - before)
    assert done.repeated == len(rows)
    assert statements(trace) == STATEMENTS
    assert min(costs) < (first - begin) / 20
