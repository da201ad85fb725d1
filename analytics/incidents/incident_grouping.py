"""Keeps the incidents of a platform up to date with its anomalies: opens, joins, returns, suppresses.

One `IncidentGrouping` is one round of work: it is filled with what is stored, receives changed anomalies
and the time, and returns the changes to store. It reads no clock and no store, so a round that could not be
stored is repeated with the same result. Which incident an anomaly belongs to is decided in `member_table`;
when an alarm sounds, here: an alarm is *annunciated* once, and again only after it returned to normal,
which takes a time without anomalies (off-delay), or when its priority rose.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from analytics.incidents.anomaly_classes import AnomalyClass, AnomalyFamily, classify
from analytics.incidents.edits import BY_HAND, record
from analytics.incidents.grouped_anomalies import KEPT_OUT, GroupedAnomalies, latest_end
from analytics.incidents.member_table import MEMBER_ROW, best_match
from analytics.incidents.priority_matrix import PlaceOfIncident
from analytics.incidents.reasons import REASONS, SUPPRESSING
from analytics.incidents.state_machine import apply_event
from ingest_service.storage.contract.incidents import (
    SERVICE,
    HistoryEntry,
    Incident,
    IncidentAnomaly,
    IncidentUpdate,
    MemberRole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Anomaly

UNNAMED_PRECEDENCE: Final = 2  # of classes that name no cause; a chattering sensor names these


class IncidentGrouping(GroupedAnomalies):
    """One round of grouping; see the module.

    Parameters
    ----------
    relations : of the sites
    rules, matrix : numbers of grouping, and the priority matrix
    stored : what the round starts from

    """

    # -- a round -----------------------------------------------------------------------------------

    def group(self, changed: Iterable[Anomaly], *, now_s: float) -> None:
        """Place new anomalies and revise known ones; those at unknown sites are left out."""
        known = [one for one in changed if one.site_id in self._relations.index]
        for one in sorted(known, key=lambda one: (one.start_s, one.anomaly_id)):
            self._assign(one, now_s)

    def advance(self, *, now_s: float) -> None:
        """Apply what depends on time alone: returns to normal, ends of shelving and suppression, expiry."""
        for anomaly_id in sorted(self._in_maintenance):
            self._assign(self._anomalies[anomaly_id], now_s)
        for key, incident in list(self._incidents.items()):
            if incident.active and not incident.is_over and now_s >= self._quiet_s.get(key, math.inf):
                self._return(key, now_s, "no anomaly for long enough")
        self._release_suppressed(now_s)
        for key, incident in list(self._incidents.items()):
            if incident.alarm_state == "shelved" and (incident.shelved_until_s or math.inf) <= now_s:
                self._apply(key, "unshelve", now_s, "the time of shelving is over")
            self._expire_if_due(key, now_s)

    def changes(self) -> tuple[list[IncidentUpdate], list[IncidentAnomaly]]:
        """Return the changes to store: of incidents, new ones first, and anomalies in no incident."""
        members_of: dict[int, list[IncidentAnomaly]] = {}
        for anomaly_id, key in self._changed_members.items():
            members_of.setdefault(key, []).append(self._members[anomaly_id])
        keys = [
            key
            for key, one in self._incidents.items()
            if key < 0 or key in members_of or key in self._entries or one != self._before.get(key)
        ]
        # New ones first, parents before their children: a reference to a new incident is its place in the
        # list.
        keys.sort(key=lambda key: (key > 0, self._incidents[key].parent_id is not None, abs(key)))
        reference = {key: -(affected + 1) if key < 0 else key for affected, key in enumerate(keys)}
        updates = []
        for key in keys:
            incident = self._incidents[key]
            parent = incident.parent_id
            updates.append(
                IncidentUpdate(
                    incident=msgspec.structs.replace(
                        incident,
                        incident_id=max(key, 0),
                        parent_id=None if parent is None else reference.get(parent, parent),
                    ),
                    entries=self._entries.get(key, []),
                    members=members_of.get(key, []),
                )
            )
        return updates, members_of.get(KEPT_OUT, [])

    @property
    def incidents(self) -> list[Incident]:
        """The incidents as they are now; new ones have negative ids."""
        return [msgspec.structs.replace(one, incident_id=key) for key, one in sorted(self._incidents.items())]

    @property
    def entries(self) -> dict[int, list[HistoryEntry]]:
        """History entries of this round by incident; new incidents have negative ids."""
        return self._entries

    @property
    def members(self) -> dict[int, IncidentAnomaly]:
        """Where each anomaly of this round belongs, by anomaly id; new incidents have negative ids."""
        return self._members

    def act(self, action: Callable[[Incident], tuple[Incident, list[HistoryEntry]] | None]) -> None:
        """Apply an action of a person to every incident for which it returns a change, as in a simulation."""
        for key, incident in list(self._incidents.items()):
            changed = action(incident)
            if changed is not None:
                self._incidents[key] = changed[0]
                self._entries.setdefault(key, []).extend(changed[1])

    # -- placing an anomaly ------------------------------------------------------------------------

    def _assign(self, anomaly: Anomaly, now_s: float) -> None:
        site = self._relations.index[anomaly.site_id]
        found = classify(anomaly, self._relations.kinds[site], self._relations.quantity_of_series)
        member = self._members.get(anomaly.anomaly_id)
        if member is not None and member.incident_id is not None:
            self._revise(anomaly, found, member, now_s)
            return
        reason = self._reason_to_keep_out(anomaly, now_s)
        chatters = self._recurs(anomaly)
        if reason == "too_short" and chatters:
            reason = None
        if reason is not None:
            self._put(anomaly, found, KEPT_OUT, "suppressed", reason)
            return
        row: NDArray[np.void] = np.array(self._values(anomaly, found, KEPT_OUT, "joined", ""), MEMBER_ROW)
        match = best_match(
            self._table, row, found, self._relations, self._rules, now_s=now_s, same_series_only=chatters
        )
        own = self._chattering_of.get(self._subject(anomaly, found)) if chatters else None
        if own in self._incidents:
            self._join(own, "same_series", anomaly, found, now_s, chatters=True)
        elif match is None or (chatters and not self._owns(match.incident, anomaly, found)):
            self._open(anomaly, found, now_s, chatters=chatters)
        else:
            self._join(match.incident, match.reason, anomaly, found, now_s, chatters=chatters)

    def _reason_to_keep_out(self, anomaly: Anomaly, now_s: float) -> str | None:
        if anomaly.state == "withdrawn":
            return "withdrawn"
        end_s = now_s if anomaly.end_s is None else anomaly.end_s
        for work in self._maintenance:
            if work.site_id == anomaly.site_id and work.from_s <= anomaly.start_s < work.to_s:
                if anomaly.state == "open" and now_s >= work.to_s:
                    continue  # the work is over, and the condition lasts
                return "maintenance"
        shortest_s = self._rules.min_duration_s[anomaly.severity - 1]
        lasted_s = end_s - anomaly.start_s
        if anomaly.state == "closed" and lasted_s < shortest_s and anomaly.detector != "spike":
            return "too_short"
        return None

    def _recurs(self, anomaly: Anomaly) -> bool:
        """Whether a short anomaly is one of many of its series, or its series is in an incident already."""
        near = self._table.starts_near(self._alarm(anomaly), anomaly.start_s, self._rules.chatter_s)
        counted = 0 if anomaly.anomaly_id in self._table.row_of else 1
        return near + counted >= self._rules.chatter_starts

    def _owns(self, key: int, anomaly: Anomaly, found: AnomalyClass) -> bool:
        """Whether an incident is about a chattering series, which is no flapping sensor beside it."""
        rows = self._table.rows[self._table.of_incident(key)]
        subject = self._subject(anomaly, found)
        named = rows[rows["named"] & ~rows["withdrawn"] & (rows["family"] != AnomalyFamily.SENSOR)]
        if len(named):
            return (
                bool(((named["quantities"] & found.quantities) != 0).any())
                and found.family != AnomalyFamily.TRAFFIC
            )
        return bool(rows[int(np.argmin(rows["start_s"]))]["subject"] == subject)

    def _open(self, anomaly: Anomaly, found: AnomalyClass, now_s: float, *, chatters: bool) -> None:
        key = min([*self._incidents, 0]) - 1
        area = self._relations.area_ids[self._relations.index[anomaly.site_id]]
        self._incidents[key] = Incident(
            area_id=area,
            area_ids=[area],
            main_site_id=anomaly.site_id,
            kind=found.kind,
            cause=found.cause,
            priority=4,
            severity=anomaly.severity,
            alarm_state="normal",
            active=False,
            started_s=anomaly.start_s,
            last_s=anomaly.start_s,
            opened_s=now_s,
        )
        self._put(anomaly, found, key, "opened", "recurring" if chatters else "first")
        self._note(key, record("open", who=SERVICE, at_s=now_s, anomaly_id=anomaly.anomaly_id))
        self._refresh(key, now_s, is_new=True)

    def _join(
        self,
        key: int,
        reason: str,
        anomaly: Anomaly,
        found: AnomalyClass,
        now_s: float,
        *,
        chatters: bool,
    ) -> None:
        incident = self._incidents[key]
        if incident.state == "false_alarm":
            reason = "judged_false_alarm"
        elif chatters:
            reason = "chattering"
            self._table.mark_chattering(self._subject(anomaly, found), key)
        role: MemberRole = "suppressed" if reason in SUPPRESSING else "joined"
        self._put(anomaly, found, key, role, reason)
        if role == "joined":
            self._note(
                key, record("join", who=SERVICE, at_s=now_s, anomaly_id=anomaly.anomaly_id, reason=reason)
            )
            if incident.state == "closed":
                self._apply(key, "recur", now_s, REASONS[reason][0])
        self._refresh(key, now_s)

    def _revise(self, anomaly: Anomaly, found: AnomalyClass, member: IncidentAnomaly, now_s: float) -> None:
        """Apply a changed anomaly to the incident that it is in."""
        key = self._key_of(anomaly.anomaly_id)
        self._put(anomaly, found, key, member.role, member.reason, by=member.by)
        if key in self._incidents:  # of an incident that is long over, only the member is changed
            self._refresh(key, now_s)

    # -- an incident follows from its anomalies ----------------------------------------------------

    def _refresh(self, key: int, now_s: float, *, is_new: bool = False) -> None:
        incident = self._incidents[key]
        rows = self._table.rows[self._table.of_incident(key)]
        counted = rows[~rows["withdrawn"] & ~rows["suppressed"]]
        if len(counted) == 0:
            self._all_withdrawn(key, now_s)
            return
        self._set_scope(key, counted)
        found = self._leading_class(rows, counted)
        sites = sorted({self._relations.site_ids[one] for one in rows["site"][~rows["withdrawn"]].tolist()})
        changed = msgspec.structs.replace(
            incident,
            kind=found.kind,
            cause=found.cause,
            severity=int(counted["severity"].max()),
            started_s=float(counted["start_s"].min()),
            last_s=float(max(rows["start_s"].max(), latest_end(rows))),
            area_ids=sorted(
                {self._relations.area_ids[self._relations.index[one]] for one in sites} | {incident.area_id}
            ),
            site_ids=sites,
        )
        self._incidents[key] = changed = self._prioritised(key, changed, now_s, is_new=is_new)
        self._note_quiet(key, rows, counted)
        if changed.is_over:
            return
        is_open = bool(np.isinf(counted["end_s"]).any())
        if is_new or (is_open and not incident.active):
            self._incidents[key] = msgspec.structs.replace(changed, active=True, returned_s=None)
            self._sound(key, now_s)
        elif changed.priority < incident.priority and changed.alarm_state == "acknowledged":
            self._sound(key, now_s, event="annunciate_again")
        self._suppress_children(key, now_s)

    def _leading_class(self, rows: NDArray[np.void], counted: NDArray[np.void]) -> AnomalyClass:
        """Return the class that names an incident: of the greatest precedence, severity, and the earliest."""
        order = np.lexsort(
            (counted["start_s"], -counted["severity"].astype(int), -counted["precedence"].astype(int))
        )
        found = self._classes[int(counted["anomaly_id"][order[0]])]
        silent = counted["family"] == AnomalyFamily.SILENCE
        together = len(np.unique(counted["subject"][silent])) >= self._rules.silent_devices
        if together and found.cause != "ingest_down":
            return found._replace(kind="device", cause="power_or_network", family=AnomalyFamily.SILENCE)
        if found.precedence <= UNNAMED_PRECEDENCE and self._chatters(rows):
            return found._replace(kind="device", cause="chattering")
        return found

    def _prioritised(self, key: int, incident: Incident, now_s: float, *, is_new: bool) -> Incident:
        if incident.consequence == BY_HAND:
            return incident
        classes = [self._relations.target_class.get(one) for one in incident.site_ids]
        found = self._matrix.priority_of(
            PlaceOfIncident(
                incident.kind,
                incident.cause,
                incident.severity,
                incident.site_ids,
                {self._relations.kinds[self._relations.index[one]] for one in incident.site_ids},
                min((one for one in classes if one is not None), default=None),
            )
        )
        if not is_new and found.priority != incident.priority:
            why = f"{found.consequence} consequence, {found.urgency} response"
            self._note(
                key,
                record(
                    "prioritise",
                    who=SERVICE,
                    at_s=now_s,
                    why=why,
                    before=incident.priority,
                    priority=found.priority,
                ),
            )
        return msgspec.structs.replace(
            incident, priority=found.priority, consequence=found.consequence, urgency=found.urgency
        )

    def _all_withdrawn(self, key: int, now_s: float) -> None:
        incident = self._incidents[key]
        if incident.state == "new":
            self._apply(key, "withdraw", now_s, "all of its anomalies were withdrawn")
        elif incident.active and not incident.is_over:
            self._note(
                key, record("update", who=SERVICE, at_s=now_s, why="all of its anomalies were withdrawn")
            )
            self._return(key, now_s, "all of its anomalies were withdrawn")
        self._incidents[key] = msgspec.structs.replace(self._incidents[key], active=False)

    # -- alarms ------------------------------------------------------------------------------------

    def _sound(self, key: int, now_s: float, *, event: str = "annunciate") -> None:
        """Annunciate an alarm, or suppress it by its parent or because of a flood."""
        incident = self._incidents[key]
        if incident.alarm_state not in {"normal", "returned_unacknowledged", "acknowledged"}:
            return
        parent = self._parent_of(key)
        if parent is not None:
            self._suppress_by_parent(key, parent, now_s)
        elif not self._sounding.has_room(incident.priority, now_s):
            self._apply(key, "suppress", now_s, "too many alarms sound: it waits for its turn")
            self._incidents[key] = msgspec.structs.replace(self._incidents[key], suppressed_by="flood")
        else:
            self._apply(key, event, now_s, "")

    def _parent_of(self, key: int) -> int | None:
        """Return the active outage that explains an incident of a silent device; None if there is none."""
        incident = self._incidents[key]
        if incident.cause != "device_silent":
            return None
        for other, one in self._incidents.items():
            if (
                other != key
                and one.cause in {"ingest_down", "power_or_network"}
                and one.active
                and not one.is_over
                and set(one.area_ids).intersection(incident.area_ids)
                and incident.started_s >= one.started_s - self._rules.after_outage_s
            ):
                return other
        return None

    def _suppress_children(self, key: int, now_s: float) -> None:
        if self._incidents[key].cause not in {"ingest_down", "power_or_network"}:
            return
        for other, one in list(self._incidents.items()):
            may_be_suppressed = one.active and one.alarm_state in {"unacknowledged", "acknowledged"}
            if may_be_suppressed and not one.is_over and self._parent_of(other) == key:
                self._suppress_by_parent(other, key, now_s)

    def _suppress_by_parent(self, key: int, parent: int, now_s: float) -> None:
        self._apply(key, "suppress", now_s, "its parent incident explains it")
        self._incidents[key] = msgspec.structs.replace(
            self._incidents[key], suppressed_by="parent", parent_id=parent
        )

    def _return(self, key: int, now_s: float, why: str) -> None:
        incident = msgspec.structs.replace(self._incidents[key], active=False, returned_s=now_s)
        self._incidents[key] = incident
        if incident.alarm_state in {"unacknowledged", "acknowledged"}:
            self._apply(key, "return_to_normal", now_s, why)
        elif incident.alarm_state == "suppressed":
            self._apply(key, "unsuppress", now_s, why)

    def _release_suppressed(self, now_s: float) -> None:
        """Annunciate what is not suppressed any more: its parent returned, or the flood is over."""
        waiting = [
            (one.priority, one.opened_s, key)
            for key, one in self._incidents.items()
            if one.alarm_state == "suppressed" and one.active and not one.is_over
        ]
        for priority, _, key in sorted(waiting):
            one = self._incidents[key]
            if one.suppressed_by == "parent" and one.parent_id in self._incidents:
                parent = self._incidents[one.parent_id]
                if parent.active and not parent.is_over:
                    continue
            if self._sounding.has_room(priority, now_s):
                self._apply(key, "unsuppress", now_s, "the reason of its suppression is over")

    def _expire_if_due(self, key: int, now_s: float) -> None:
        incident = self._incidents[key]
        wait_s = self._rules.expire_s.get(incident.priority)
        if (
            incident.state == "new"
            and not incident.active
            and incident.returned_s is not None
            and wait_s is not None
            and now_s - incident.returned_s >= wait_s
        ):
            self._apply(
                key, "expire", now_s, f"it returned to normal {wait_s / 3600:g} h ago, and nobody filed it"
            )

    def _apply(self, key: int, event: str, now_s: float, why: str) -> None:
        before = self._incidents[key]
        changed, entries = apply_event(before, event, who=SERVICE, role="service", at_s=now_s, why=why)
        if changed.annunciations > before.annunciations:
            self._sounding.sounded(now_s)
        self._incidents[key] = changed
        self._entries.setdefault(key, []).extend(entries)
