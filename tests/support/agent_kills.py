"""Kills an edge agent at random while it samples and publishes to a real broker that is restarted meanwhile.

The instrument counts: after a kill it goes on after the last pack that is durable in the spool, so that each
reading has one number for ever, and the test can tell a lost one from a repeated one.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from edge.agent.settings import Settings
from edge.agent.spool import Spool
from ingest_service.storage.contract.models import DeadLetterQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.store_samples import DIRECTORY

REPOSITORY = Path(__file__).parents[2]
PACK_READINGS = 50
START_S = 1_790_000_000
AGENT = """
import json, os, sys, threading, time
from pathlib import Path
from edge.agent.agent import Agent
from edge.agent.settings import Settings
from edge.agent.spool import Spool
from edge.drivers import Pack
from edge.wire.broker_address import parse_broker_address
from edge.wire.senml import Record

folder, broker, readings, per_pack, start_s = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])
settings = Settings(receipt_timeout_s=2, window=64)
spool = Spool.open(folder / "spool", settings)
first = spool.newest() * per_pack  # each message holds so many readings, and numbers are never used twice


class Counter:
    def packs(self):
        for begin in range(first, readings, per_pack):
            records = [
                Record(name="ph", time_s=float(start_s + one), value=7.0 + one % 10 / 100, unit="pH")
                for one in range(begin, min(begin + per_pack, readings))
            ]
            time.sleep(0.004)
            yield Pack(due_s=time.time(), records=records)


Agent(
    area="330483-d1", device="d1", driver=Counter(), spool=spool,
    broker=parse_broker_address(broker), settings=settings,
).run(threading.Event())
"""


class AgentKillResult(NamedTuple):
    """Readings taken by the spool, rows stored, dead letters, kills of the agent, time [s]."""

    taken: int
    rows: int
    rows_of_dead_letters: int
    kills: int
    seconds: float


def run_agent_kills(
    dsn: str, broker: Any, folder: Path, *, readings: int, agent_kills: int, broker_restarts: int
) -> AgentKillResult:
    """Run agent, broker and ingest until all readings are stored; return what became of them."""
    migrate(dsn)
    store = PostgresStore.open(dsn)
    series = next(one.series_id for one in store.enrol(DIRECTORY).series if one.quantity == "ph")
    chance = random.Random(21)
    ingest = PlatformProcess(
        "ingest", log=folder / "ingest.log", TOWNTWIN_DSN=dsn, TOWNTWIN_BROKER=broker.url
    )
    restart_at = {agent_kills * one // (broker_restarts + 1) for one in range(1, broker_restarts + 1)}
    began_s, kills = time.monotonic(), 0
    arguments = [str(folder), broker.url, *map(str, (readings, PACK_READINGS, START_S))]
    try:
        with running_processes(ingest):
            wait_until(
                lambda: "subscribed" in ingest.log.read_text(), within_s=60, what="ingest is subscribed"
            )
            while True:
                with (folder / "agent.log").open("ab") as log:
                    agent = subprocess.Popen(
                        [sys.executable, "-c", AGENT, *arguments], cwd=REPOSITORY, stderr=log
                    )
                if kills == agent_kills:
                    assert agent.wait(120) == 0, (folder / "agent.log").read_text()[-2000:]
                    break
                _wait_for_spool(folder, agent)
                with suppress(subprocess.TimeoutExpired):
                    agent.wait(chance.uniform(0.0, 0.25))
                agent.send_signal(signal.SIGKILL)
                agent.wait(30)
                kills += 1
                if kills in restart_at:
                    broker.kill()
                    broker.start()
            assert ingest.stop() == 0
        return AgentKillResult(
            taken=_numbers_given(folder) * PACK_READINGS,
            rows=len(store.readings(series, START_S, START_S + readings, limit=2 * readings)),
            rows_of_dead_letters=len(store.dead_letters(DeadLetterQuery())),
            kills=kills,
            seconds=time.monotonic() - began_s,
        )
    finally:
        store.close()


def _wait_for_spool(folder: Path, agent: subprocess.Popen[bytes]) -> None:
    """Wait until a new agent has opened its spool, so that kills meet its work and not its imports."""
    journal, ends_s = folder / "spool-wal", time.monotonic() + 20
    modified = _modified_ns(journal)
    while agent.poll() is None and time.monotonic() < ends_s:
        if _modified_ns(journal) not in {0, modified}:
            return
        time.sleep(0.01)


def _modified_ns(path: Path) -> int:
    """Return when a file was modified [ns]; 0 if there is none: SQLite deletes a journal at any time."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return 0


def _numbers_given(folder: Path) -> int:
    spool = Spool.open(folder / "spool", Settings())
    try:
        return spool.newest()
    finally:
        spool.close()
