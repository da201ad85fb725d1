"""Runs the load and the faults of the ledger against Telegraf, and counts what its tables hold."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.ledger import rival_faults
from benchmarks.ledger.checks import count_rows
from benchmarks.ledger.fault_run import CausedFaults, RunOptions, cause_faults, wait_for_agents
from benchmarks.ledger.rival import TABLES, RivalChain
from tests.support.processes import wait_until
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.throwaway_servers import MosquittoServer, PostgresServer

QUIET_S, QUIET_TIMEOUT_S, POLL_S = 10.0, 300.0, 0.5
FIRST_ROWS_S = 60.0
DROPPED_BATCH = "dropping sub-batch"


class RivalCounts(NamedTuple):
    """Counts of one table, as of `LedgerCounts`, and batches that Telegraf reported to have dropped."""

    taken: int
    stored: int
    lost: int
    doubled: int
    altered: int
    waiting: int
    batches_dropped: int


class RivalRun(NamedTuple):
    """Result: version, options, faults, counts by schema, readings in neither table, restarts, time [s]."""

    version: str
    options: RunOptions
    faults: CausedFaults
    counts: dict[str, RivalCounts]
    lost_in_both: int
    restarts: int
    took_s: float


def run_rival(
    program: Path,
    database: PostgresServer,
    broker: MosquittoServer,
    folder: Path,
    options: RunOptions,
    *,
    disk: tuple[str, Path] | None = None,
    on_fault: Callable[[str], None] = lambda _: None,
) -> RivalRun:
    """Run Telegraf under load, cause the faults that apply to it, and count; parameters as of `run`."""
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with (
        fresh_database(database, tablespace=disk[0] if disk else "pg_default", is_empty=True) as dsn,
        RivalChain(
            folder, database, broker, dsn, options.load, program=program, filler=disk[1] if disk else None
        ) as chain,
    ):
        began_s = time.monotonic()
        wait_until(lambda: min(_rows(chain)) > 0, within_s=FIRST_ROWS_S, what="Telegraf has stored rows")
        caused = cause_faults(chain, rival_faults.possible_kinds(chain), options, on_fault)
        wait_for_agents(chain)
        _wait_until_quiet(chain)
        for one in chain.telegrafs.values():  # so that the broker sends again what is not acknowledged
            one.process.terminate()
        _wait_until_quiet(chain)
        counts, lost_in_both = _count(chain)
        took_s = time.monotonic() - began_s
        return RivalRun(version, options, caused, counts, lost_in_both, chain.restarts, took_s)


def _rows(chain: RivalChain) -> list[int]:
    """Return the number of rows of each table, 0 before it is created."""
    found: list[int] = []
    with chain.connect() as connection:
        for one in TABLES:
            name = f"{one.schema}.reading"
            (exists,) = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone() or (
                False,
            )
            row = connection.execute(f"SELECT count(*) FROM {name}").fetchone() if exists else None  # noqa: S608 - constant names
            found.append(0 if row is None else int(row[0]))
    return found


def _wait_until_quiet(chain: RivalChain) -> None:
    """Wait until no row has been added for a while, or until the time is over."""
    until_s, rows, since_s = time.monotonic() + QUIET_TIMEOUT_S, _rows(chain), time.monotonic()
    while time.monotonic() < min(until_s, since_s + QUIET_S):
        time.sleep(POLL_S)
        if (now := _rows(chain)) != rows:
            rows, since_s = now, time.monotonic()


def _count(chain: RivalChain) -> tuple[dict[str, RivalCounts], int]:
    """Return the counts of each table, and the number of readings that are in neither."""
    found: dict[str, RivalCounts] = {}
    no_dead_letters = np.zeros(0, np.intp)
    rows: dict[str, list[tuple[Any, ...]]] = {one.device_id: [] for one in chain.agents}
    with chain.connect() as connection:
        for table in TABLES:
            columns, name = 'extract(epoch FROM "time")::float8, v', f"{table.schema}.reading"
            query = f"SELECT {columns} FROM {name} WHERE device = %s"  # noqa: S608 - constant names
            counted = []
            for one in chain.agents:
                stored = connection.execute(query, [one.device_id]).fetchall()
                counted.append(count_rows(stored, one, no_dead_letters))
                rows[one.device_id] += stored
            taken, n_rows, lost, doubled, altered, _, waiting = (
                sum(one) for one in zip(*counted, strict=True)
            )
            dropped = chain.telegrafs[table.schema].log.read_text().count(DROPPED_BATCH)
            found[table.schema] = RivalCounts(taken, n_rows, lost, doubled, altered, waiting, dropped)
    lost_in_both = sum(count_rows(rows[one.device_id], one, no_dead_letters)[2] for one in chain.agents)
    return found, lost_in_both
