"""The state that all open pages show, read from the database at most once a second."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

import msgspec
from starlette.concurrency import run_in_threadpool

from analytics.service import twin
from gateway.console.checks import is_broker_unreachable
from gateway.console.disk import Disk, Disks
from gateway.context import Context
from gateway.known import Known
from ingest_service.storage.errors import StoreError
from ingest_service.storage.model import Anomaly, AnomalyQuery, Health
from ingest_service.storage.processes import Process
from ingest_service.storage.verdict import Verdict

GOOD_FOR_S = 1.0
ANSWERS_WITHIN_S = 1.0  # a page that waits longer shows the last snapshot, with its age
AWAY_AFTER_S = 8.0  # a database that gave no answer for so long counts as away, as a process' heartbeat does
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
    writable: bool = True
    disk: Disk | None = None
    away: bool = False

    @property
    def newest_age_s(self) -> float | None:
        """How long ago the newest reading came in, by the clock of now; None where none ever did."""
        received_s = self.health.newest_received_s
        return None if received_s is None else max(0.0, time.time() - received_s)

    @property
    def is_old(self) -> bool:
        """Whether the newest reading is older than any device's silence would be."""
        intervals = [one.interval_s for one in self.known.directory.series]
        age_s = self.newest_age_s
        return age_s is not None and age_s > twin.STALE_INTERVALS * min(intervals, default=60.0)


class Snapshots:
    """The newest snapshot, taken at most once a second however many pages are open."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._disks = Disks(context.whole)
        self._newest: Snapshot | None = None
        self._taking: asyncio.Task[None] | None = None

    async def newest(self) -> Snapshot | None:
        """The platform now; the last that was known, marked, if the database is away; None before.

        A database that does not answer holds nobody up: after a second the last snapshot is returned, and
        marked once it is too old, while the query goes on.
        """
        old = self._newest
        if old is None or old.away or time.time() - old.taken_s > GOOD_FOR_S:
            if self._taking is None or self._taking.done():
                self._taking = asyncio.create_task(self._renew())
            await asyncio.wait([self._taking], timeout=ANSWERS_WITHIN_S)
            if self._taking.done():
                self._taking.result()
        newest = self._newest
        if newest is not None and time.time() - newest.taken_s > AWAY_AFTER_S:
            return replace(newest, away=True)
        return newest

    async def _renew(self) -> None:
        try:
            self._newest = await run_in_threadpool(self._take)
        except StoreError:
            self._newest = None if self._newest is None else replace(self._newest, away=True)

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
        processes = vitals.processes()
        if is_broker_unreachable(processes):
            state = _without_present(state)
        return Snapshot(
            taken_s=now_s,
            known=known,
            state=state,
            anomalies=is_open,
            health=store.health(),
            processes=processes,
            verdict=told,
            clocks=clocks,
            writable=vitals.writable,
            disk=self._disks.newest(),
        )


def _without_present(state: twin.TwinState) -> twin.TwinState:
    """Return the state while no reading can come in: what was good is not known to be good any more."""
    nodes = [
        msgspec.structs.replace(one, status="unknown") if one.status in {"ok", "warming"} else one
        for one in state.nodes
    ]
    return msgspec.structs.replace(state, nodes=nodes)
