"""What all open pages show, asked for once: a page costs the database nothing more."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool

from analytics.service import twin
from gateway.context import Context
from gateway.known import Known
from ingest_service.storage.errors import StoreError
from ingest_service.storage.model import Anomaly, AnomalyQuery, Health
from ingest_service.storage.processes import Process
from ingest_service.storage.verdict import Verdict

GOOD_FOR_S = 1.0
MANY = 500


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The platform at a moment; ``away`` if the database could not be asked since."""

    taken_s: float
    known: Known
    state: twin.TwinState
    anomalies: list[Anomaly]
    health: Health
    processes: list[Process]
    verdict: Verdict
    clocks: dict[str, float]  # device -> its clock less ours [s], where it is known
    away: bool = False


class Snapshots:
    """The newest snapshot, taken at most once a second however many pages are open."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._lock = asyncio.Lock()
        self._newest: Snapshot | None = None

    async def newest(self) -> Snapshot | None:
        """The platform now; the last that was known, marked, if the database is away; None before."""
        async with self._lock:
            old = self._newest
            if old is None or old.away or time.time() - old.taken_s > GOOD_FOR_S:
                try:
                    self._newest = await run_in_threadpool(self._take)
                except StoreError:
                    self._newest = None if old is None else replace(old, away=True)
            return self._newest

    def _take(self) -> Snapshot:
        store, known = self.context.store, self.context.known
        now_s = time.time()
        is_open = store.anomalies(AnomalyQuery(states=["open"], limit=MANY))
        state = twin.state(known.directory, store.latest(), is_open, now_s=now_s)
        clocks = {
            one.device_id: one.clock_offset_s for one in store.statuses() if one.clock_offset_s is not None
        }
        vitals = self.context.vitals
        told = vitals.verdict(self.context.principal.areas)
        return Snapshot(now_s, known, state, is_open, store.health(), vitals.processes(), told, clocks)
