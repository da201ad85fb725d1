"""Periodic task that keeps incidents up to date with the anomalies of each area, exactly once.

Each area has a cursor, the revision up to which its anomalies were grouped. A batch of changed anomalies, the
incidents that they change and the cursor are one transaction, so a restart repeats nothing and misses
nothing. An incident that a person changed meanwhile is read again. An area that fails is put off, and
blocks no other.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import Counter

from analytics.incidents.grouped_anomalies import StoredIncidents
from analytics.incidents.grouping_rules import GroupingRules
from analytics.incidents.incident_grouping import IncidentGrouping
from analytics.incidents.priority_matrix import read_matrix
from analytics.incidents.site_relations import site_relations
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract.incidents import IncidentCursor, RevisionConflictError
from ingest_service.storage.postgres.incidents import Incidents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.incidents.site_relations import SiteRelations
    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.models import Anomaly
    from ingest_service.storage.contract.store import Store

log = structlog.get_logger()

ANOMALIES_PER_BATCH: Final = 1000
MAX_ATTEMPTS: Final = 5  # against people who change the same incidents at the same time
WINDOW_S: Final = 600.0
MAX_ANNUNCIATIONS: Final = 10_000
TIME: Final = "time"  # item of the backoff for what depends on time alone

GROUPED = Counter(
    "towntwin_service_incident_anomalies_total", "Changed anomalies that were grouped into incidents"
)


def maintain_incidents(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Group the changed anomalies of every area, and apply the time. A store in memory has none."""
    if store.database is None:
        return
    service_state = service_state or ServiceState()
    state, areas = service_state.incidents, service_state.backoff("maintain_incidents")
    maintenance = IncidentMaintenance(Incidents(store.database), _relations(store, service_state), settings)
    settled = maintenance.incidents.settled_revision()
    if settled != state.settled or areas.failed_items():
        cursors = maintenance.incidents.cursors()
        complete = True
        for area in sorted(set(maintenance.relations.area_ids), key=lambda one: (cursors.get(one, 0), one)):
            if time_slice.is_over or areas.is_deferred(area):
                complete = False
                continue
            with areas.isolate(area):
                complete &= maintenance.group_area(area, cursors.get(area, 0), settled, time_slice)
            complete &= not areas.failed(area)
        state.settled = settled if complete else -1
        service_state.traces_due_s = -math.inf  # a trace is wanted soon after its anomaly
    if time.monotonic() >= state.next_s and not areas.is_deferred(TIME):
        with areas.isolate(TIME):
            maintenance.apply(())
        state.next_s = time.monotonic() + settings.incidents_every_s


def _relations(store: Store, service_state: ServiceState) -> SiteRelations:
    """Return the relations of the sites, computed anew when the directory has changed."""
    state, version = service_state.incidents, store.directory_version()
    if state.relations is None or version != state.directory_version:
        directory = store.directory().judged_here()
        state.relations, state.directory_version = site_relations(directory), directory.version
    return state.relations


class IncidentMaintenance:
    """Reads, groups and stores in batches.

    Parameters
    ----------
    incidents : store of incidents
    relations : of the sites
    settings : settings of the service (operators, priority matrix)

    """

    def __init__(self, incidents: Incidents, relations: SiteRelations, settings: Settings) -> None:
        self.incidents, self.relations = incidents, relations
        self._rules = GroupingRules(operators=settings.incident_operators)
        self._matrix = read_matrix(settings.priority_matrix)

    def group_area(self, area: str, cursor: int, settled: int, time_slice: TimeSlice) -> bool:
        """Group the anomalies of an area changed after a revision; return whether that is done.

        Raises as the store does, and whatever a defect of grouping raises: the area's cursor stays then.
        """
        while not time_slice.is_over:
            changed = self.incidents.ungrouped(area, cursor, settled, limit=ANOMALIES_PER_BATCH)
            is_last = len(changed) < ANOMALIES_PER_BATCH
            if not changed:
                return True
            newest = settled if is_last else changed[-1].revision
            self.apply(changed, cursor=(cursor, IncidentCursor(area_id=area, revision=newest)))
            GROUPED.inc(len(changed))
            cursor = newest
            if is_last:
                return True
        return False

    def apply(self, changed: Sequence[Anomaly], *, cursor: tuple[int, IncidentCursor] | None = None) -> None:
        """Group changed anomalies, apply the time, and store what changed with the cursor.

        Raises `RevisionConflictError` if the incidents change all the time.
        """
        for attempt in range(MAX_ATTEMPTS):
            now_s = time.time()
            grouping = IncidentGrouping(
                self.relations, self._rules, self._matrix, self._stored(changed, now_s)
            )
            grouping.group(changed, now_s=now_s)
            grouping.advance(now_s=now_s)
            updates, kept_out = grouping.changes()
            if not updates and not kept_out and cursor is None:
                return
            try:
                self.incidents.apply(updates, cursor=cursor, kept_out=kept_out)
            except RevisionConflictError as error:
                if attempt == MAX_ATTEMPTS - 1 or error.incident_id == 0:
                    raise
                log.info("incident_changed_meanwhile", incident_id=error.incident_id)
            else:
                return

    def _stored(self, changed: Sequence[Anomaly], now_s: float) -> StoredIncidents:
        """Read what the changed anomalies may join or change."""
        since_s = min((one.start_s for one in changed), default=now_s) - self._rules.keep_s
        known = self.incidents.memberships(one.anomaly_id for one in changed)
        ids = {one.incident_id for one in known.values() if one.incident_id is not None}
        incidents = self.incidents.groupable(since_s if changed else now_s, sorted(ids))
        chatter_from_s = since_s + self._rules.keep_s - self._rules.chatter_s
        members = self.incidents.members(
            (one.incident_id for one in incidents), since_s=chatter_from_s - self._rules.chatter_quiet_s
        )
        found = {one.anomaly_id: one for one in members}
        found |= {one.anomaly_id: one for one in self.incidents.kept_out(chatter_from_s)}
        found |= {one.anomaly_id: one for one in known.values()}
        history = self.incidents.history_between(
            now_s - WINDOW_S, now_s, own_only=True, limit=MAX_ANNUNCIATIONS
        )
        return StoredIncidents(
            incidents=incidents,
            members=list(found.values()),
            anomalies=self.incidents.anomalies(found),
            annunciations=[
                one.at_s for one in history if one.machine == "alarm" and one.to_state == "unacknowledged"
            ],
            maintenance=self.incidents.maintenance(since_s),
        )
