"""Migrates and fills a database, and goes on writing; run with the code of a release before this one.

Its arguments are ``fill DSN``, ``add DSN`` and ``open DSN``. It imports only what version 0.2.0 has, too,
whose folder is in ``PYTHONPATH``.
"""

from __future__ import annotations

import select
import sys

from ingest_service.storage.contract.batch import Batch, Checkpoint
from ingest_service.storage.contract.models import DeadLetter
from ingest_service.storage.health.processes import HealthLimits, HeartbeatReport, ProcessIdentity
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.store_samples import DIRECTORY, START_US, anomaly, readings

FIRST_TICKS = 2_000  # more than a week of both series


def main() -> None:
    """Write until standard input ends; prints ``filled``, and at the end how many ticks were committed."""
    action, dsn = sys.argv[1:]
    if action == "fill":
        migrate(dsn)
    store = PostgresStore.open(dsn, wait_s=5.0)
    if action == "fill":
        write(store)
    elif action == "add":
        print(store.commit(Batch(fresh=readings(2, range(FIRST_TICKS, FIRST_TICKS + 10)))).fresh, flush=True)
    store.close()


def write(store: PostgresStore) -> None:
    """Commit readings of two series, every tenth batch with an anomaly, and a heartbeat with each."""
    store.enrol(DIRECTORY)
    dead_letter = DeadLetter(
        received_s=START_US / 1e6, topic="t", payload=b"x", reason="payload", detail="no JSON"
    )
    for series_id in (1, 2):
        store.commit(Batch(fresh=readings(series_id, range(FIRST_TICKS))))
    store.commit(Batch(dead_letters=[dead_letter], checkpoint=Checkpoint("main", 5, b"state")))
    heartbeat = store.heartbeat(ProcessIdentity(kind="ingest", instance="main"), HealthLimits())
    print("filled", flush=True)
    tick = FIRST_TICKS
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        found = (
            [anomaly(start_s=START_US / 1e6 + tick, peak_s=START_US / 1e6 + tick)] if tick % 10 == 0 else []
        )
        store.commit(Batch(fresh=readings(1, range(tick, tick + 1)), anomalies=found))
        heartbeat.beat(HeartbeatReport(moved_age_s=0.0, success_age_s=0.0))
        tick += 1
    heartbeat.end()
    print(tick, flush=True)


if __name__ == "__main__":
    main()
