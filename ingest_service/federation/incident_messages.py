"""Reads changed incidents of a town, with their anomalies and history, as messages for its county."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from edge.wire import federation
from ingest_service.storage.contract.incidents import IncidentQuery

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ingest_service.storage.contract.incidents import Incident, IncidentAnomaly, IncidentHistory
    from ingest_service.storage.postgres.incidents import Incidents

INCIDENTS_PER_MESSAGE: Final = 10
ENTRIES_PER_MESSAGE: Final = 200
"""History entries of one incident in a message; a message of ten such incidents has half a megabyte."""
MAX_REMEMBERED: Final = 10_000
"""Incidents whose newest confirmed history entry is remembered."""
NAMED_FIELDS: Final = frozenset(
    {"incident_id", "revision", "opened_s", "area_id", "area_ids", "main_site_id", "parent_id", "merged_into"}
)
LOCAL_FIELDS: Final = frozenset({"updated_s", "team_id", "site_ids", "anomalies", "open_anomalies", "origin"})
"""Fields that the county's database computes, and the team, whose name means another one there."""


class ChangedIncidents(NamedTuple):
    """Incidents in the order in which the county stores them, by message, and the newest revision read.

    Attributes
    ----------
    newest_entries : newest history entry in the messages, by incident

    """

    messages: list[list[federation.ForwardedIncident]]
    revision: int
    newest_entries: dict[int, int]


class IncidentMessages:
    """Reads changed incidents. Methods raise the errors of the store.

    Which history entries the county has is remembered by incident, not by revision: an incident that was
    changed again since is sent after the newest revision that was read, with the entries of both changes. A
    new process sends the whole history once more; the county recognises what it has.
    """

    def __init__(self, incidents: Incidents) -> None:
        self._incidents = incidents
        self._confirmed_entries: dict[int, int] = {}

    def changed(
        self, after: int, settled: int, *, limit: int, sites: Collection[str]
    ) -> ChangedIncidents | None:
        """Return the incidents at some sites changed after a revision up to another; None if there are none.

        Those that they refer to come before them in the same message, changed or not. One of these that was
        changed after ``settled`` has anomalies that the county may lack: it gets ``settled`` as its revision,
        so that the county stores it once more when it comes by itself, after its anomalies.
        """
        found = self._incidents.changed(after, limit=limit, settled=settled)
        if not found:
            return None
        permitted = [one for one in found if one.main_site_id in sites]
        newest_entries: dict[int, int] = {}
        messages: list[list[federation.ForwardedIncident]] = []
        for first in range(0, len(permitted), INCIDENTS_PER_MESSAGE):
            part = self._with_references(permitted[first : first + INCIDENTS_PER_MESSAGE], sites)
            messages += self._messages(in_order_of_reference(part), settled, sites, newest_entries)
        return ChangedIncidents(messages, found[-1].revision, newest_entries)

    def confirmed(self, newest_entries: dict[int, int]) -> None:
        """Note that the county has the history of some incidents up to an entry."""
        for incident_id, entry in newest_entries.items():
            self._confirmed_entries.pop(incident_id, None)
            self._confirmed_entries[incident_id] = entry
        for oldest in list(self._confirmed_entries)[:-MAX_REMEMBERED]:
            del self._confirmed_entries[oldest]

    def _messages(
        self,
        incidents: Sequence[Incident],
        settled: int,
        sites: Collection[str],
        newest_entries: dict[int, int],
    ) -> list[list[federation.ForwardedIncident]]:
        """Return incidents as one message, and what exceeds it of long histories as further ones."""
        members: dict[int | None, list[IncidentAnomaly]] = {}
        for member in self._incidents.members([one.incident_id for one in incidents]):
            if member.site_id in sites:
                members.setdefault(member.incident_id, []).append(member)
        first, further = [], []
        for one in incidents:
            entries = self._lacking_entries(one.incident_id)
            if entries:
                newest_entries[one.incident_id] = entries[-1].history_id
            dated = msgspec.structs.replace(one, revision=min(one.revision, settled))
            parts = [
                _forwarded(
                    dated, members.get(one.incident_id, ()), entries[begin : begin + ENTRIES_PER_MESSAGE]
                )
                for begin in range(0, max(len(entries), 1), ENTRIES_PER_MESSAGE)
            ]
            first.append(parts[0])
            further += [[part] for part in parts[1:]]
        return [first, *further]

    def _lacking_entries(self, incident_id: int) -> list[IncidentHistory]:
        """Return the history of an incident that the county is not known to have, oldest first."""
        found: list[IncidentHistory] = []
        after_id = self._confirmed_entries.get(incident_id, 0)
        while more := self._incidents.history(incident_id, after_id=after_id):
            found += more
            after_id = more[-1].history_id
        return found

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
    one: Incident, members: Iterable[IncidentAnomaly], entries: Iterable[IncidentHistory]
) -> federation.ForwardedIncident:
    fields = msgspec.structs.asdict(one)
    rest = {name: value for name, value in fields.items() if name not in NAMED_FIELDS | LOCAL_FIELDS}
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
                **{name: getattr(entry, name) for name in federation.ForwardedHistoryEntry.__struct_fields__}
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
