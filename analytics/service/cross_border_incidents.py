"""Periodic task of a county: makes one incident of an event that several towns forwarded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from analytics.incidents.cross_border import CrossBorderGrouping, TownIncident
from analytics.incidents.grouping_rules import GroupingRules
from analytics.incidents.priority_matrix import read_matrix
from analytics.incidents.site_relations import site_relations
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract.area_tree import parents_of
from ingest_service.storage.contract.incidents import IncidentQuery, RevisionConflictError
from ingest_service.storage.postgres.incidents import Incidents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.incidents import Incident
    from ingest_service.storage.contract.models import Anomaly
    from ingest_service.storage.contract.store import Store

log = structlog.get_logger()


def join_incidents_of_towns(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Group the incidents of towns, if any was forwarded since the last round.

    An incident that a person changed meanwhile is read again in the next round.
    """
    if store.database is None or time_slice.is_over:
        return
    state = (service_state or ServiceState()).cross_border
    incidents = Incidents(store.database)
    newest = incidents.newest_of_towns()
    if newest == state.grouped or time.monotonic() < state.next_s:
        return
    state.next_s = time.monotonic() + settings.incidents_every_s
    directory = store.directory()
    if state.relations is None or directory.version != state.directory_version:
        state.relations, state.directory_version = site_relations(directory), directory.version
    rules = GroupingRules(operators=settings.incident_operators)
    grouping = CrossBorderGrouping(
        state.relations, rules, read_matrix(settings.priority_matrix), parents_of(directory.areas)
    )
    now_s = time.time()
    towns = _towns(incidents, incidents.of_towns(now_s - rules.keep_s))
    try:
        for update, children in grouping.updates(towns, _own(incidents, towns), now_s=now_s):
            stored = incidents.put_below(update, children)
            log.info("cross_border_incident", incident=stored.incident_id, children=children)
    except RevisionConflictError as error:
        log.info("incident_changed_meanwhile", incident_id=error.incident_id)
        return
    state.grouped = newest


def _towns(incidents: Incidents, found: Sequence[Incident]) -> list[TownIncident]:
    anomalies_of: dict[int | None, list[int]] = {}
    for one in incidents.members([one.incident_id for one in found]):
        if one.role != "suppressed":
            anomalies_of.setdefault(one.incident_id, []).append(one.anomaly_id)
    anomalies: dict[int, Anomaly] = incidents.anomalies(
        anomaly_id for some in anomalies_of.values() for anomaly_id in some
    )
    return [
        TownIncident(one, [anomalies[name] for name in anomalies_of.get(one.incident_id, ())])
        for one in found
    ]


def _own(incidents: Incidents, towns: Sequence[TownIncident]) -> dict[int, Incident]:
    """Return the incidents of this platform below which some of the towns are, by id."""
    parents = {one.incident.parent_id for one in towns if one.incident.parent_id is not None}
    if not parents:
        return {}
    query = IncidentQuery(incident_ids=sorted(parents), own_only=True, limit=len(parents))
    return {one.incident_id: one for one in incidents.found(query)}
