"""The state that all open pages show, read from the database at most once a second."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

import msgspec
from starlette.concurrency import run_in_threadpool

from analytics.service import network_state
from gateway.api.directory_cache import DirectoryIndex
from gateway.api.request_context import RequestContext
from gateway.console.disk_usage import DiskUsage, DiskUsageCache
from gateway.console.health_checks import is_broker_unreachable
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery, StoreHealth
from ingest_service.storage.health.processes import ProcessInfo
from ingest_service.storage.health.readiness import Readiness

CACHE_S = 1.0
MAX_PAGE_WAIT_S = 1.0  # a page that waits longer shows the last snapshot, with its age
DATABASE_AWAY_AFTER_S = (
    8.0  # a database that gave no answer for so long counts as away, as a process' heartbeat does
)
MAX_OPEN_ANOMALIES = 500


@dataclass(frozen=True, slots=True)
class PlatformState:
    """The platform at a moment; ``away`` if the database could not be asked since."""

    read_at_s: float
    directory_index: DirectoryIndex
    state: network_state.TwinState
    anomalies: list[Anomaly]
    health: StoreHealth
    processes: list[ProcessInfo]
    readiness: Readiness
    clocks: dict[str, float]  # device -> its clock less ours [s], where it is known
    writable: bool = True
    disk: DiskUsage | None = None
    is_database_away: bool = False

    @property
    def newest_age_s(self) -> float | None:
        """How long ago the newest reading came in, by the clock of now; None where none ever did."""
        received_s = self.health.newest_received_s
        return None if received_s is None else max(0.0, time.time() - received_s)

    @property
    def is_old(self) -> bool:
        """Whether the newest reading is older than any device's silence would be."""
        intervals = [one.interval_s for one in self.directory_index.directory.series]
        age_s = self.newest_age_s
        return age_s is not None and age_s > network_state.STALE_INTERVALS * min(intervals, default=60.0)


class PlatformStateCache:
    """The newest snapshot, taken at most once a second however many pages are open."""

    def __init__(self, context: RequestContext) -> None:
        self.context = context
        self._disk_usage_cache = DiskUsageCache(context.unscoped_store)
        self._latest_state: PlatformState | None = None
        self._refresh_task: asyncio.Task[None] | None = None

    async def newest(self) -> PlatformState | None:
        """The platform now; the last that was known, marked, if the database is away; None before.

        A database that does not answer holds nobody up: after a second the last snapshot is returned, and
        marked once it is too old, while the query goes on.
        """
        cached = self._latest_state
        if cached is None or cached.is_database_away or time.time() - cached.read_at_s > CACHE_S:
            if self._refresh_task is None or self._refresh_task.done():
                self._refresh_task = asyncio.create_task(self._refresh())
            await asyncio.wait([self._refresh_task], timeout=MAX_PAGE_WAIT_S)
            if self._refresh_task.done():
                self._refresh_task.result()
        newest = self._latest_state
        if newest is not None and time.time() - newest.read_at_s > DATABASE_AWAY_AFTER_S:
            return replace(newest, is_database_away=True)
        return newest

    async def _refresh(self) -> None:
        try:
            self._latest_state = await run_in_threadpool(self._read_state)
        except StoreError:
            self._latest_state = (
                None if self._latest_state is None else replace(self._latest_state, is_database_away=True)
            )

    def _read_state(self) -> PlatformState:
        store, directory_index = self.context.store, self.context.directory_index
        now_s = time.time()
        open_anomalies = store.anomalies(AnomalyQuery(states=["open"], limit=MAX_OPEN_ANOMALIES))
        state = network_state.network_state(
            directory_index.directory, store.latest(), open_anomalies, now_s=now_s
        )
        clocks = {
            one.device_id: one.clock_offset_s for one in store.statuses() if one.clock_offset_s is not None
        }
        platform_health = self.context.platform_health
        area_readiness = platform_health.readiness(self.context.principal.areas)
        processes = platform_health.processes()
        if is_broker_unreachable(processes):
            state = _without_present(state)
        return PlatformState(
            read_at_s=now_s,
            directory_index=directory_index,
            state=state,
            anomalies=open_anomalies,
            health=store.health(),
            processes=processes,
            readiness=area_readiness,
            clocks=clocks,
            writable=platform_health.writable,
            disk=self._disk_usage_cache.newest(),
        )


def _without_present(state: network_state.TwinState) -> network_state.TwinState:
    """Return the state while no reading can come in: what was good is not known to be good any more."""
    nodes = [
        msgspec.structs.replace(one, status="unknown") if one.status in {"ok", "warming"} else one
        for one in state.nodes
    ]
    return msgspec.structs.replace(state, nodes=nodes)
