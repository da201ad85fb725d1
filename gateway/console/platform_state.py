"""Caches the platform's state for pages of the same areas and rights; reads it at most once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from analytics.quality.verdict_text import verdict_text
from analytics.service import network_state
from gateway.api.directory_cache import DirectoryIndex
from gateway.api.incident_access import IncidentAccess
from gateway.api.request_context import RequestContext
from gateway.auth.authorization import INCIDENTS, has_right
from gateway.console import map_features
from gateway.console.disk_usage import DiskUsage, DiskUsageCache
from gateway.console.health_checks import is_broker_unreachable
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.contract.incidents import Incident, IncidentQuery
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery, StoreHealth
from ingest_service.storage.contract.paging import all_anomalies
from ingest_service.storage.health.processes import DatabaseCondition, ProcessInfo
from ingest_service.storage.health.readiness import Readiness
from ingest_service.storage.postgres.sensor_verdicts import SensorVerdicts

CACHE_S = 1.0
NO_WAIT_WITHIN_S = 3.0  # a page shows a state of this age while the next one is read, and gets that pushed
MAX_INCIDENTS = 500
WORST_FIRST: tuple[DatabaseCondition, ...] = ("away", "read-only", "writable")
MAX_PAGE_WAIT_S = 1.0  # a page that waits longer shows the last state, with its age
DATABASE_AWAY_AFTER_S = 8.0  # without a response for so long it counts as away, as a process' heartbeat does


@dataclass(frozen=True, slots=True)
class PlatformState:
    """State of the platform at one time; ``database`` is its condition now, the rest as last read.

    ``incidents`` are those that are open and visible, ``ungrouped_anomalies`` the open anomalies that no
    incident has or was found to explain; without a database, or the right for incidents, those are all.
    ``verdicts`` are the names of those on the sensors of open anomalies, by anomaly.
    """

    read_at_s: float
    directory_index: DirectoryIndex
    state: network_state.TwinState
    anomalies: list[Anomaly]
    health: StoreHealth
    processes: list[ProcessInfo]
    readiness: Readiness
    clocks: dict[str, float]  # device -> its clock minus ours [s], where known
    database: DatabaseCondition = "writable"
    disk: DiskUsage | None = None
    verdicts: Mapping[int, str] = field(default_factory=dict)
    incidents: Sequence[Incident] = ()
    ungrouped_anomalies: Sequence[Anomaly] = ()
    has_incidents: bool = False

    @property
    def is_database_away(self) -> bool:
        """Whether the database does not answer, so that everything else is the last known state."""
        return self.database == "away"

    @property
    def newest_age_s(self) -> float | None:
        """Time since the newest reading was received [s]; None if none ever was."""
        received_s = self.health.newest_received_s
        return None if received_s is None else max(0.0, time.time() - received_s)

    @property
    def is_stale(self) -> bool:
        """Whether the newest reading is older than `STALE_INTERVALS` of the shortest interval."""
        intervals = [one.interval_s for one in self.directory_index.directory.series]
        age_s = self.newest_age_s
        return age_s is not None and age_s > network_state.STALE_INTERVALS * min(intervals, default=60.0)


class PlatformStateCache:
    """Reads the platform's state at most once a second, however many pages of these areas are open."""

    def __init__(self, context: RequestContext) -> None:
        self.context = context
        self._disk_usage_cache = DiskUsageCache(context.unscoped_store.database)
        self._latest_state: PlatformState | None = None
        self._refresh_task: asyncio.Task[None] | None = None

    async def newest(self) -> PlatformState | None:
        """Return the current state; the last one, marked, if the database is away; None before the first.

        A database that does not respond delays no page: after `MAX_PAGE_WAIT_S` the last state is returned,
        marked once it is too old, while the query goes on.
        """
        cached = self._latest_state
        if cached is None or cached.database != "writable" or time.time() - cached.read_at_s > CACHE_S:
            if self._refresh_task is None or self._refresh_task.done():
                self._refresh_task = asyncio.create_task(self._refresh())
            is_fresh = cached is not None and time.time() - cached.read_at_s < NO_WAIT_WITHIN_S
            if cached is None or cached.database != "writable" or not is_fresh:
                await asyncio.wait([self._refresh_task], timeout=MAX_PAGE_WAIT_S)
            if self._refresh_task.done():
                self._refresh_task.result()
        newest = self._latest_state
        if newest is None:
            return None
        is_too_old = time.time() - newest.read_at_s > DATABASE_AWAY_AFTER_S
        # The heartbeat detects a frozen database earlier than a query that waits for it. A state that was
        # read while the database was not writable stays marked until it is read again: its texts are of then.
        conditions = {newest.database, self.context.platform_health.database, *(["away"] * is_too_old)}
        return replace(newest, database=next(one for one in WORST_FIRST if one in conditions))

    async def _refresh(self) -> None:
        try:
            self._latest_state = await run_in_threadpool(self._read_state)
        except StoreError:
            self._latest_state = (
                None if self._latest_state is None else replace(self._latest_state, database="away")
            )

    def _read_state(self) -> PlatformState:
        store, directory_index = self.context.store, self.context.directory_index
        now_s = time.time()
        open_anomalies = all_anomalies(store, AnomalyQuery(states=["open"]))
        state = network_state.network_state(
            map_features.with_site_nodes(directory_index.directory),
            store.latest(),
            open_anomalies,
            now_s=now_s,
        )
        clocks = {
            one.device_id: one.clock_offset_s for one in store.statuses() if one.clock_offset_s is not None
        }
        platform_health = self.context.platform_health
        area_readiness = platform_health.readiness(self.context.principal.areas)
        processes = platform_health.processes()
        if is_broker_unreachable(processes):
            state = _without_current_values(state)
        return PlatformState(
            read_at_s=now_s,
            directory_index=directory_index,
            state=state,
            anomalies=open_anomalies,
            health=store.health(),
            processes=processes,
            readiness=area_readiness,
            clocks=clocks,
            database=area_readiness.database,  # a second read could contradict the readiness on one page
            disk=self._disk_usage_cache.newest(),
            verdicts=self._read_verdicts(open_anomalies),
            **self._read_incidents(open_anomalies),
        )

    def _read_verdicts(self, open_anomalies: list[Anomaly]) -> dict[int, str]:
        """Return the names of the verdicts on the sensors of anomalies that have one, in one query."""
        if self.context.unscoped_store.database is None or not open_anomalies:
            return {}
        stored = SensorVerdicts(self.context.scoped_database).of_anomalies(
            one.anomaly_id for one in open_anomalies
        )
        return {
            anomaly_id: verdict_text(one.event_probability, len(one.others)).name
            for anomaly_id, one in stored.items()
            if one.event_probability is not None
        }

    def _read_incidents(self, open_anomalies: list[Anomaly]) -> dict[str, Any]:
        context = self.context
        if context.unscoped_store.database is None or not has_right(context.principal, INCIDENTS):
            return {"ungrouped_anomalies": open_anomalies}
        access = IncidentAccess.of(context)
        found = access.store.found(access.restricted(IncidentQuery(is_open=True, limit=MAX_INCIDENTS)))
        grouped = access.store.memberships([one.anomaly_id for one in open_anomalies])
        return {
            "incidents": found,
            "ungrouped_anomalies": [one for one in open_anomalies if one.anomaly_id not in grouped],
            "has_incidents": True,
        }


def _without_current_values(state: network_state.TwinState) -> network_state.TwinState:
    """Return the state with good nodes as unknown: without the broker no new reading can arrive."""
    nodes = [
        msgspec.structs.replace(one, status="unknown") if one.status in {"ok", "warming"} else one
        for one in state.nodes
    ]
    return msgspec.structs.replace(state, nodes=nodes)
