"""Reads changed incidents of a town, with their anomalies and history, as messages for its county."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from edge.wire import federation
from ingest_service.storage.contract.incidents import IncidentQuery

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ingest_service.storage.contract.incidents import Incident, IncidentAnomaly
    from ingest_service.storage.postgres.incidents import Incidents

INCIDENTS_PER_MESSAGE: Final = 10
NAMED_FIELDS: Final = frozenset(
    {"incident_id", "revision", "opened_s", "area_id", "area_ids", "main_site_id", "parent_id", "merged_into"}
)
LOCAL_FIELDS: Final = frozenset({"updated_s", "team_id", "site_ids", "anomalies", "open_anomalies", "origin"})
"""Fields that the county's database computes, and the team, whose name means another one there."""


class ChangedIncidents(NamedTuple):
    """Incidents in the order in which the county stores them, by message, and the newest revision read."""

    messages: list[list[federation.ForwardedIncident]]
    revision: int


class IncidentMessages:
    """Reads changed incidents. Methods raise the errors of the store."""

    def __init__(self, incidents: Incidents) -> None:
        self._incidents = incidents

    def changed(
        self, after: int, settled: int, *, limit: int, sites: Collection[str]
    ) -> ChangedIncidents | None:
        """Return the incidents at some sites changed after a revision up to another; None if there are none.

        Those that they refer to come before them in the same message, changed or not.
        """
        found = self._incidents.changed(after, limit=limit, settled=settled)
        if not found:
            return None
        permitted = [one for one in found if one.main_site_id in sites]
        messages = [
            self._message(permitted[first : first + INCIDENTS_PER_MESSAGE], after, sites)
            for first in range(0, len(permitted), INCIDENTS_PER_MESSAGE)
        ]
        return ChangedIncidents(messages, found[-1].revision)

    def _message(
        self, incidents: Sequence[Incident], after: int, sites: Collection[str]
    ) -> list[federation.ForwardedIncident]:
        ordered = in_order_of_reference(self._with_references(incidents, sites))
        members: dict[int | None, list[IncidentAnomaly]] = {}
        for one in self._incidents.members([one.incident_id for one in ordered]):
            if one.site_id in sites:
                members.setdefault(one.incident_id, []).append(one)
        return [self._forwarded(one, members.get(one.incident_id, ()), after) for one in ordered]

    def _with_references(self, incidents: Sequence[Incident], sites: Collection[str]) -> list[Incident]:
        """Return some incidents, with those that they refer to, directly or not."""
        found = {one.incident_id: one for one in incidents}
        missing = _references(incidents) - found.keys()
        while missing:
            more = self._incidents.found(IncidentQuery(incident_ids=sorted(missing), limit=len(missing)))
            more = [one for one in more if one.main_site_id in sites]
            found |= {one.incident_id: one for one in more}
            missing = _references(more) - found.keys()
        return list(found.values())

    def _forwarded(
        self, one: Incident, members: Iterable[IncidentAnomaly], after: int
    ) -> federation.ForwardedIncident:
        fields = msgspec.structs.asdict(one)
        rest = {name: value for name, value in fields.items() if name not in NAMED_FIELDS | LOCAL_FIELDS}
        entries = [entry for entry in self._incidents.history(one.incident_id) if entry.revision > after]
        return federation.ForwardedIncident(
            **{name: fields[name] for name in NAMED_FIELDS},
            incident=rest,
            members=[
                federation.ForwardedMember(
                    **{name: getattr(member, name) for name in federation.ForwardedMember.__struct_fields__}
                )
                for member in members
            ],
            entries=[
                federation.ForwardedHistoryEntry(
                    **{
                        name: getattr(entry, name)
                        for name in federation.ForwardedHistoryEntry.__struct_fields__
                    }
                )
                for entry in entries
            ],
        )


def _references(incidents: Iterable[Incident]) -> set[int]:
    return {
        reference
        for one in incidents
        for reference in (one.parent_id, one.merged_into)
        if reference is not None
    }


def in_order_of_reference(incidents: Sequence[Incident]) -> list[Incident]:
    """Return incidents so that each comes after those that it refers to; a circle is cut somewhere."""
    by_id = {one.incident_id: one for one in incidents}
    ordered: dict[int, Incident] = {}
    visited: set[int] = set()

    def visit(one: Incident) -> None:
        if one.incident_id in visited:
            return
        visited.add(one.incident_id)
        for reference in sorted(_references([one])):
            if reference in by_id:
                visit(by_id[reference])
        ordered[one.incident_id] = one

    for one in incidents:
        visit(one)
    return list(ordered.values())
