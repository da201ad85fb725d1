"""Finds events that the platforms of several towns forwarded, and makes one incident of the county of each.

The anomalies of the towns' incidents are grouped anew by the relations between all sites, as if they were of
one platform. A group with incidents of two origins is an event across a border: an incident of this platform,
below which those of the towns are. What the towns forward is not changed by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from analytics.incidents.edits import BY_HAND, record
from analytics.incidents.grouped_anomalies import StoredIncidents
from analytics.incidents.incident_grouping import IncidentGrouping
from analytics.incidents.state_machine import apply_event
from ingest_service.storage.contract.area_tree import areas_above
from ingest_service.storage.contract.incidents import SERVICE, Incident, IncidentUpdate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from analytics.incidents.grouping_rules import GroupingRules
    from analytics.incidents.priority_matrix import PriorityMatrix
    from analytics.incidents.site_relations import SiteRelations
    from ingest_service.storage.contract.incidents import HistoryEntry
    from ingest_service.storage.contract.models import Anomaly


class TownIncident(NamedTuple):
    """An incident that a town forwarded, with its anomalies."""

    incident: Incident
    anomalies: Sequence[Anomaly]


class CrossBorderUpdate(NamedTuple):
    """A change to an incident of this platform, and the incidents of towns to put below it."""

    update: IncidentUpdate
    children: list[int]


class CrossBorderGrouping:
    """Groups the incidents of towns.

    Parameters
    ----------
    relations : of all sites, those of the towns included
    rules, matrix : numbers of grouping, and the priority matrix
    parents : parent by area id, for the home area of an event: the lowest area that all of its areas are in

    """

    def __init__(
        self,
        relations: SiteRelations,
        rules: GroupingRules,
        matrix: PriorityMatrix,
        parents: Mapping[str, str | None],
    ) -> None:
        self._relations, self._rules, self._matrix, self._parents = relations, rules, matrix, parents

    def updates(
        self, towns: Sequence[TownIncident], own: Mapping[int, Incident], *, now_s: float
    ) -> list[CrossBorderUpdate]:
        """Return what has to be stored; nothing, if all events are stored as they are.

        Parameters
        ----------
        towns : incidents of the towns that are not over, or ended lately
        own : incidents of this platform below which some of them are, by id
        now_s : Unix time [s]

        """
        by_id = {one.incident.incident_id: one.incident for one in towns}
        incident_of = {
            anomaly.anomaly_id: one.incident.incident_id for one in towns for anomaly in one.anomalies
        }
        grouping = IncidentGrouping(self._relations, self._rules, self._matrix, StoredIncidents())
        grouping.group([anomaly for one in towns for anomaly in one.anomalies], now_s=now_s)
        groups: dict[int, set[int]] = {}
        for anomaly_id, member in grouping.members.items():
            if member.incident_id and member.role != "suppressed":
                groups.setdefault(member.incident_id, set()).add(incident_of[anomaly_id])
        described = {one.incident_id: one for one in grouping.incidents}
        found, placed = [], set[int]()
        for key, children in sorted(groups.items(), reverse=True):
            below = [by_id[one] for one in sorted(children - placed)]
            if len({one.origin for one in below}) < 2:
                continue
            placed |= children
            event = self._event(described[key], below, own, now_s)
            if event is not None:
                found.append(event)
        followed = {one.update.incident.incident_id for one in found}
        for parent in own.values():
            below = [one for one in by_id.values() if one.parent_id == parent.incident_id]
            if parent.incident_id not in followed and not any(_is_active(one) for one in below):
                changed, entries = _followed(parent, below, now_s)
                if changed != parent:
                    found.append(CrossBorderUpdate(IncidentUpdate(incident=changed, entries=entries), []))
        return found

    def _event(
        self, described: Incident, below: Sequence[Incident], own: Mapping[int, Incident], now_s: float
    ) -> CrossBorderUpdate | None:
        """Return the change to the incident of an event; None if it is stored as it is."""
        stored = [own[one.parent_id] for one in below if one.parent_id is not None and one.parent_id in own]
        before = min(stored, key=lambda one: one.incident_id, default=None)
        areas = {area for one in below for area in one.area_ids}
        home = self._common_area(areas)
        fields: dict[str, Any] = {
            "kind": described.kind,
            "cause": described.cause,
            "severity": max(described.severity, *(one.severity for one in below)),
            "started_s": min(one.started_s for one in below),
            "last_s": max(one.last_s for one in below),
            "area_ids": sorted(areas | {home}),
        }
        ranks = {name: getattr(described, name) for name in ("priority", "consequence", "urgency")}
        if before is None:
            incident = Incident(
                area_id=home,
                main_site_id=described.main_site_id,
                opened_s=now_s,
                alarm_state="normal",
                active=False,
                **fields,
                **ranks,
            )
            opening = [record("open", who=SERVICE, at_s=now_s, why="an event across a border of towns")]
        else:
            if before.consequence != BY_HAND:
                fields |= ranks
            incident, opening = msgspec.structs.replace(before, **fields), []
        children = [one.incident_id for one in below if before is None or one.parent_id != before.incident_id]
        if incident.state == "closed" and children:
            incident, opening = apply_event(
                incident, "recur", who=SERVICE, role="service", at_s=now_s, why="it reached another town"
            )
        incident, entries = _followed(incident, below, now_s)
        if incident == before and not children:
            return None
        joined = [
            record("join", who=SERVICE, at_s=now_s, incident_id=one.incident_id, origin=one.origin)
            for one in below
            if one.incident_id in children
        ]
        update = IncidentUpdate(incident=incident, entries=[*opening, *joined, *entries])
        return CrossBorderUpdate(update, children)

    def _common_area(self, areas: Iterable[str]) -> str:
        """Return the lowest area in which all of some areas are; the first of them, if there is none."""
        lines = [areas_above(self._parents, one) for one in sorted(areas)]
        return next((one for one in lines[0] if all(one in line for line in lines)), lines[0][0])


def _is_active(one: Incident) -> bool:
    return one.active and not one.is_over


def _followed(
    incident: Incident, below: Sequence[Incident], now_s: float
) -> tuple[Incident, list[HistoryEntry]]:
    """Return an incident that is active while one below it is, and its entries."""
    active = any(_is_active(one) for one in below)
    if incident.is_over or active == incident.active:
        return incident, []
    changed = msgspec.structs.replace(incident, active=active, returned_s=None if active else now_s)
    event = "annunciate" if active else "return_to_normal"
    legal = {"normal", "returned_unacknowledged"} if active else {"unacknowledged", "acknowledged"}
    if changed.alarm_state not in legal:
        return changed, []
    return apply_event(changed, event, who=SERVICE, role="service", at_s=now_s)
