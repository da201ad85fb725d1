"""Keeps the anomalies of a round of grouping in a table, with what follows for each incident."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from analytics.incidents.alarm_sounding import AlarmSounding
from analytics.incidents.anomaly_classes import ANY_QUANTITY, AnomalyClass, classify
from analytics.incidents.member_table import MemberTable
from analytics.incidents.reasons import REASONS
from ingest_service.storage.contract.incidents import (
    SERVICE,
    HistoryEntry,
    Incident,
    IncidentAnomaly,
    MemberRole,
    PlannedMaintenance,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from analytics.incidents.grouping_rules import GroupingRules
    from analytics.incidents.priority_matrix import PriorityMatrix
    from analytics.incidents.site_relations import SiteRelations
    from ingest_service.storage.contract.models import Anomaly

CHATTERING: Final = frozenset({"chattering", "recurring"})
KEPT_OUT: Final = 0  # key in place of an incident's


class StoredIncidents(NamedTuple):
    """What a round starts from.

    Attributes
    ----------
    incidents : those that may be joined or changed
    members : their anomalies, and those that were kept out of incidents lately
    anomalies : the anomalies themselves, by id
    annunciations : times of the annunciations of the last 10 min, Unix seconds [s]
    maintenance : planned work that has not ended long ago

    """

    incidents: Sequence[Incident] = ()
    members: Sequence[IncidentAnomaly] = ()
    anomalies: Mapping[int, Anomaly] = {}
    annunciations: Sequence[float] = ()
    maintenance: Sequence[PlannedMaintenance] = ()


class GroupedAnomalies:
    """Anomalies of a round: loaded from what is stored, then put by `IncidentGrouping`."""

    def __init__(
        self,
        relations: SiteRelations,
        rules: GroupingRules,
        matrix: PriorityMatrix,
        stored: StoredIncidents | None = None,
    ) -> None:
        stored = stored or StoredIncidents()
        self._relations, self._rules, self._matrix = relations, rules, matrix
        self._maintenance = stored.maintenance
        self._areas = {name: k for k, name in enumerate(sorted(set(relations.area_ids)))}
        self._names: dict[str, int] = {}  # numbers of subjects and causes
        self._incidents: dict[int, Incident] = {one.incident_id: one for one in stored.incidents}
        self._before = dict(self._incidents)
        self._entries: dict[int, list[HistoryEntry]] = {}
        self._quiet_s: dict[
            int, float
        ] = {}  # when an incident returns to normal if nothing happens; inf: never
        self._in_maintenance: set[int] = set()  # anomalies kept out by planned work that are open
        self._scopes: dict[int, int] = {}  # quantities of the named causes of an incident; missing: any
        self._members: dict[int, IncidentAnomaly] = {}
        self._classes: dict[int, AnomalyClass] = {}
        self._anomalies: dict[int, Anomaly] = {}
        self._changed_members: dict[int, int] = {}  # key of the incident by anomaly id
        self._chattering_of: dict[int, int] = {}  # key of the incident of a chattering series, by subject
        self._chattering_since: dict[int, float] = {}  # start of its newest anomaly [s]
        self._chattering_pairs: set[tuple[int, int]] = (
            set()
        )  # of subjects and incidents in which they chatter
        self._table = MemberTable()
        self._sounding = AlarmSounding(rules, stored.annunciations)
        for one in stored.members:
            anomaly = stored.anomalies.get(one.anomaly_id)
            if anomaly is not None and anomaly.site_id in relations.index:
                self._load(one, anomaly)
        for subject, key in self._chattering_pairs:
            self._table.mark_chattering(subject, key)
        for key in self._incidents:
            rows = self._table.rows[self._table.of_incident(key)]
            counted = rows[~rows["withdrawn"] & ~rows["suppressed"]]
            self._set_scope(key, counted)
            if len(counted):
                self._note_quiet(key, rows, counted)

    def _set_scope(self, key: int, counted: NDArray[np.void]) -> None:
        """Note the quantities of the named causes: others at the same sites do not join by time alone."""
        named = counted["quantities"][counted["named"]]
        scope = int(np.bitwise_or.reduce(named)) if len(named) else ANY_QUANTITY
        if scope != self._scopes.get(key, ANY_QUANTITY):
            self._scopes[key] = scope
            self._table.rows["scope"][self._table.of_incident(key)] = scope

    def _chatters(self, rows: NDArray[np.void]) -> bool:
        return bool(rows["chatters"].any())

    def _note_quiet(self, key: int, rows: NDArray[np.void], counted: NDArray[np.void]) -> None:
        """Note when an incident returns to normal: some time after its last anomaly ended (off-delay)."""
        delay_s = (
            self._rules.chatter_quiet_s
            if self._chatters(rows)
            else self._rules.off_delay_s[self._incidents[key].priority - 1]
        )
        is_open = bool(np.isinf(counted["end_s"]).any())
        kept = rows[~rows["withdrawn"]]
        self._quiet_s[key] = math.inf if is_open else latest_end(kept) + delay_s

    def _note(self, key: int, entry: HistoryEntry) -> None:
        self._entries.setdefault(key, []).append(entry)

    def _load(self, member: IncidentAnomaly, anomaly: Anomaly) -> None:
        site = self._relations.index[anomaly.site_id]
        found = classify(anomaly, self._relations.kinds[site], self._relations.quantity_of_series)
        self._members[member.anomaly_id], self._classes[member.anomaly_id] = member, found
        self._anomalies[member.anomaly_id] = anomaly
        self._table.put(
            self._values(anomaly, found, member.incident_id or KEPT_OUT, member.role, member.reason)
        )
        self._note_chattering(anomaly, found, member.incident_id or KEPT_OUT, member.reason)
        self._note_maintenance(anomaly, member.reason)

    def _put(
        self,
        anomaly: Anomaly,
        found: AnomalyClass,
        key: int,
        role: MemberRole,
        reason: str,
        *,
        by: str = SERVICE,
    ) -> None:
        english, chinese = REASONS.get(reason, (reason, reason))
        self._members[anomaly.anomaly_id] = IncidentAnomaly(
            anomaly_id=anomaly.anomaly_id,
            incident_id=None if key == KEPT_OUT else key,
            site_id=anomaly.site_id,
            role=role,
            reason=reason,
            reason_en=english,
            reason_zh=chinese,
            anomaly_revision=anomaly.revision,
            state=anomaly.state,
            start_s=anomaly.start_s,
            end_s=anomaly.end_s,
            severity=anomaly.severity,
            series_id=anomaly.series_id,
            device_id=anomaly.device_id,
            detector=anomaly.detector,
            by=by,
        )
        self._classes[anomaly.anomaly_id] = found
        self._anomalies[anomaly.anomaly_id] = anomaly
        self._changed_members[anomaly.anomaly_id] = key
        self._table.put(self._values(anomaly, found, key, role, reason))
        self._note_chattering(anomaly, found, key, reason)
        self._note_maintenance(anomaly, reason)

    def _note_maintenance(self, anomaly: Anomaly, reason: str) -> None:
        if reason == "maintenance" and anomaly.state == "open":
            self._in_maintenance.add(anomaly.anomaly_id)
        else:
            self._in_maintenance.discard(anomaly.anomaly_id)

    def _note_chattering(self, anomaly: Anomaly, found: AnomalyClass, key: int, reason: str) -> None:
        if reason not in CHATTERING or key == KEPT_OUT:
            return
        subject = self._subject(anomaly, found)
        if anomaly.start_s >= self._chattering_since.get(subject, -math.inf):
            self._chattering_of[subject], self._chattering_since[subject] = key, anomaly.start_s
        self._chattering_pairs.add((subject, key))

    def _key_of(self, anomaly_id: int) -> int:
        return int(self._table.rows["incident"][self._table.row_of[anomaly_id]])

    def _values(
        self, anomaly: Anomaly, found: AnomalyClass, key: int, role: MemberRole, reason: str
    ) -> tuple[object, ...]:
        site = self._relations.index[anomaly.site_id]
        end_s = math.inf if anomaly.state == "open" else anomaly.start_s
        if anomaly.end_s is not None:
            end_s = anomaly.end_s
        return (
            anomaly.anomaly_id,
            key,
            site,
            self._areas[self._relations.area_ids[site]],
            self._subject(anomaly, found),
            self._alarm(anomaly),
            anomaly.start_s,
            end_s,
            found.family,
            found.precedence,
            found.named,
            self._number(f"cause {found.cause}"),
            found.quantities,
            anomaly.severity,
            role == "suppressed",
            reason in CHATTERING or (self._subject(anomaly, found), key) in self._chattering_pairs,
            anomaly.state == "withdrawn",
            self._scopes.get(key, ANY_QUANTITY),
        )

    def _subject(self, anomaly: Anomaly, found: AnomalyClass) -> int:
        """Return the number of the subject; events at a site have one of their own for each named cause."""
        return self._number(f"{anomaly.subject} {found.cause if found.named else ''}")

    def _alarm(self, anomaly: Anomaly) -> int:
        return self._number(f"{anomaly.subject} by {anomaly.detector}")

    def _number(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names) + 1)


def latest_end(rows: NDArray[np.void]) -> float:
    """Return the latest finite end [s] of some rows; their latest start where all are open."""
    ends_s = rows["end_s"][np.isfinite(rows["end_s"])]
    return float(ends_s.max()) if len(ends_s) else float(rows["start_s"].max())
