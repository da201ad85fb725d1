"""Periodic task that sets the deadlines of incidents and puts due steps of their escalation into the outbox.

Each (incident, step, member, channel) is one row, however often the task runs or restarts: the database knows
it by these four. What a row becomes is the matter of `analytics.service.send_notifications`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import structlog

from analytics.duty.deadlines import deadlines_of, due_steps
from analytics.duty.policy import read_policy
from analytics.duty.responsibility import DutyIndex
from analytics.incidents import incident_text
from analytics.notification.quiet_hours import preference_for, send_time
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract.area_tree import parents_of
from ingest_service.storage.contract.incidents import Incident, IncidentQuery
from ingest_service.storage.contract.notifications import Deadline, Notification
from ingest_service.storage.postgres.duty import DutyStore
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.notifications import NotificationStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics.duty.policy import DutyPolicy, EscalationRule
    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.duty import Team
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.notifications import MemberPreferences
    from ingest_service.storage.contract.store import Store

log = structlog.get_logger()

MAX_INCIDENTS = 5_000
DEFAULT_SETTING = "town"

STEP_TEXTS: dict[str, tuple[str, str]] = {
    "opened": ("new incident", "新事件"),
    "unacknowledged": ("not acknowledged", "尚未确认"),
    "dispatched": ("dispatched to you", "已派遣给您"),
    "acknowledge": ("acknowledgement is late", "确认超时"),
    "file": ("filing is late", "立案超时"),
    "dispatch": ("dispatch is late", "派遣超时"),
    "handle": ("handling is late", "处置超时"),
    "verify": ("verification is late", "核查超时"),
}
"""English and Chinese text of a trigger, or of the phase that is late."""


class _Recipient(NamedTuple):
    """Somebody to notify: a member, or the channels of a team that has no members."""

    member_id: str | None
    team: Team | None


def escalate(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
    *,
    now_s: float | None = None,
) -> None:
    """Set deadlines and record due notifications of all open incidents; the store in memory has none."""
    if store.database is None:
        return
    service_state = service_state or ServiceState()
    now_s = time.time() if now_s is None else now_s
    incidents, outbox = Incidents(store.database), NotificationStore(store.database)
    found = _incidents_to_watch(incidents, outbox)
    if not found:
        return
    service_state.duty_policy = service_state.duty_policy or read_policy(settings.duty_policy_file)
    directory = service_state.directory_of(store)
    duty = DutyStore(store.database)
    escalation = Escalation(
        service_state.duty_policy,
        directory,
        DutyIndex(duty.plan(after_s=now_s), parents_of(directory.areas)),
        duty.preferences(),
    )
    ids = [one.incident_id for one in found]
    known_deadlines: dict[int, list[Deadline]] = defaultdict(list)
    for one in outbox.deadlines(ids):
        known_deadlines[one.incident_id].append(one)
    recorded, items = outbox.recorded_steps(ids), service_state.backoff("escalate")
    for incident in found:
        key = f"incident/{incident.incident_id}"
        if time_slice.is_over:
            return
        if not items.is_deferred(key):
            with items.isolate(key):
                deadlines, notifications = escalation.changes(
                    incident, known_deadlines[incident.incident_id], recorded, now_s=now_s
                )
                if deadlines or notifications:
                    outbox.record(notifications, deadlines)


def _incidents_to_watch(incidents: Incidents, outbox: NotificationStore) -> list[Incident]:
    """Return the open incidents, and those that are over and have a deadline that is not."""
    found = incidents.found(IncidentQuery(is_open=True, own_only=True, limit=MAX_INCIDENTS))
    open_ids = {one.incident_id for one in found}
    ended = [one for one in outbox.incidents_with_open_deadlines() if one not in open_ids]
    if ended:
        found += incidents.found(IncidentQuery(incident_ids=ended, limit=MAX_INCIDENTS))
    found.sort(key=lambda one: (one.priority, one.opened_s))
    return found


class Escalation:
    """Computes deadlines and notifications of incidents.

    Parameters
    ----------
    policy : deadlines and steps
    directory : areas and sites
    duty : cells, teams and rosters
    preferences : of the members, by member

    """

    def __init__(
        self,
        policy: DutyPolicy,
        directory: Directory,
        duty: DutyIndex,
        preferences: Mapping[str, MemberPreferences],
    ) -> None:
        self._policy = policy
        self._sites = {one.site_id: one for one in directory.sites}
        self._duty = duty
        self._preferences = preferences

    def changes(
        self,
        incident: Incident,
        known: Sequence[Deadline],
        recorded: set[tuple[int, str]],
        *,
        now_s: float,
    ) -> tuple[list[Deadline], list[Notification]]:
        """Return the deadlines that changed, and the notifications of due steps that were not recorded."""
        site = self._sites.get(incident.main_site_id)
        cell = None if site is None else self._duty.cell_of_site(site)
        setting = DEFAULT_SETTING if cell is None else cell.setting
        changed = deadlines_of(incident, self._policy, setting=setting, known=known, now_s=now_s)
        current = {one.phase: one for one in (*known, *changed)}
        notifications = []
        for rule in due_steps(incident, self._policy, current, now_s=now_s):
            if (incident.incident_id, rule.step) not in recorded:
                cell_id = None if cell is None else cell.cell_id
                notifications += self._notifications(incident, rule, cell_id, now_s)
        return changed, notifications

    def _notifications(
        self, incident: Incident, rule: EscalationRule, cell_id: str | None, now_s: float
    ) -> list[Notification]:
        text_en, text_zh = self._texts(incident, rule)
        found: dict[tuple[str | None, str], Notification] = {}
        for recipient in self._recipients(incident, rule, cell_id, now_s):
            team_channels = [] if recipient.team is None else recipient.team.channels
            preference = preference_for(
                self._preferences.get(recipient.member_id or ""), incident.priority, team_channels
            )
            for channel_id in preference.channels if recipient.member_id is not None else team_channels:
                found[recipient.member_id, channel_id] = Notification(
                    area_id=incident.area_id,
                    incident_id=incident.incident_id,
                    step=rule.step,
                    member_id=recipient.member_id,
                    channel_id=channel_id,
                    priority=incident.priority,
                    text_en=text_en,
                    text_zh=text_zh,
                    due_s=send_time(preference, now_s),
                )
        return list(found.values())

    def _recipients(
        self, incident: Incident, rule: EscalationRule, cell_id: str | None, now_s: float
    ) -> list[_Recipient]:
        team = self._responsible_team(incident, cell_id, now_s)
        found: list[_Recipient] = []
        for recipient in rule.to:
            if recipient == "supervisor":
                found += [
                    _Recipient(one.member_id, self._duty.team_of_member(one.member_id))
                    for one in self._duty.supervisors(incident.area_id)
                ]
            elif team is not None:
                found += self._of_team(team, recipient, now_s)
        return found

    def _responsible_team(self, incident: Incident, cell_id: str | None, now_s: float) -> Team | None:
        """Return the team that an incident was dispatched to, else the first one that covers it."""
        dispatched_to = self._duty.team(incident.team_id)
        if dispatched_to is not None:
            return dispatched_to
        covering = self._duty.responsible(
            area_id=incident.area_id, cell_id=cell_id, kind=incident.kind, at_s=now_s
        )
        return covering[0].team if covering else None

    def _of_team(self, team: Team, recipient: str, now_s: float) -> list[_Recipient]:
        on_duty = [one.member_id for one in self._duty.shifts(team.team_id, now_s)]
        leaders = [one.member_id for one in team.members if one.role == "leader"]
        everybody = [one.member_id for one in team.members]
        if recipient == "leader":
            chosen = leaders
        elif recipient == "team":
            chosen = everybody
        else:
            chosen = on_duty or leaders or everybody
        if not everybody:
            return [_Recipient(None, team)]
        return [_Recipient(one, team) for one in chosen]

    def _texts(self, incident: Incident, rule: EscalationRule) -> tuple[str, str]:
        site = self._sites.get(incident.main_site_id)
        title_en, title_zh = incident_text.title(incident, None if site is None else (site.en, site.zh))
        step_en, step_zh = STEP_TEXTS[rule.phase or rule.when]
        number = incident.incident_id
        return f"#{number} {title_en}: {step_en}", f"#{number} {title_zh}：{step_zh}"
