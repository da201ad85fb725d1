"""Periodic task that sends what waits in the outbox, each destination by itself, at least once.

Before a message is sent, its token and its delivery are stored; afterwards its outcome, together with that of
its notifications. So a process that ends in between repeats the message, and never exceeds a rate. Messages
are sent by threads, one for each destination at a time: a messenger that does not respond delays no other.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog
from prometheus_client import Counter, Gauge

from analytics.duty.deadlines import NOT_CALLING
from analytics.duty.policy import read_policy
from analytics.notification.delivery_plan import plan_digests
from analytics.notification.digests import LinkSigner
from analytics.notification.errors import NotificationError
from analytics.notification.mail import MailServer
from analytics.notification.outcomes import SendOutcome
from analytics.notification.quiet_hours import preference_for
from analytics.notification.rate_limits import READER_WINDOW_S, DestinationBucket
from analytics.notification.secret_files import SecretReader
from analytics.notification.sender import ResolvedChannel, Sender, resolve_channel
from analytics.service.message_state import MessageState, MessageUnderWay
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from edge.wire.backoff import Backoff
from ingest_service.storage.contract.incidents import IncidentQuery
from ingest_service.storage.contract.notifications import CONSOLE_CHANNEL, Delivery, NotificationChannel
from ingest_service.storage.postgres.duty import DutyStore
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.notifications import NotificationStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics.duty.policy import DutyPolicy
    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.duty import Team
    from ingest_service.storage.contract.incidents import Incident
    from ingest_service.storage.contract.notifications import MemberPreferences, Notification
    from ingest_service.storage.contract.store import Store

log = structlog.get_logger()

MAX_WAITING = 5_000
WAIT_FOR_RESPONSES_S = 1.0  # in one round; what takes longer is recorded in a later one
FIRST_RETRY_S, LONGEST_RETRY_S = 15.0, 900.0
ATTEMPTS_BEFORE_CONSOLE = 3  # failures after which the notification appears in the member's console, too
PRIORITIES = (1, 2, 3, 4)

SENT_NOTIFICATIONS = Counter(
    "towntwin_service_notifications_total", "Notifications by channel kind and result", ["kind", "result"]
)
WAITING_NOTIFICATIONS = Gauge(
    "towntwin_service_notifications_waiting", "Notifications that are due and not sent"
)


def send_notifications(
    store: Store,
    settings: Settings,
    _time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
    *,
    now_s: float | None = None,
) -> None:
    """Record the outcomes of messages under way, and send those that are due; in memory there are none."""
    if store.database is None:
        return
    service_state = service_state or ServiceState()
    now_s = time.time() if now_s is None else now_s
    state, outbox = service_state.notifications, NotificationStore(store.database)
    if not state.has_recovered:
        outbox.forget_started(now_s)
        state.has_recovered = True
    _record_finished(state, outbox, settings, now_s)
    waiting = outbox.waiting(now_s, limit=MAX_WAITING)
    under_way = {
        one.notification_id for message in state.under_way.values() for one in message.digest.notifications
    }
    waiting = [one for one in waiting if one.notification_id not in under_way]
    WAITING_NOTIFICATIONS.set(len(waiting))
    if not waiting:
        return
    service_state.duty_policy = service_state.duty_policy or read_policy(settings.duty_policy_file)
    waiting = _without_superfluous(
        waiting, Incidents(store.database), outbox, policy=service_state.duty_policy
    )
    dispatch = _Dispatch.read(store, settings, outbox, state, now_s)
    dispatch.begin(waiting, state)
    wait([one.future for one in state.under_way.values()], timeout=WAIT_FOR_RESPONSES_S)
    _record_finished(state, outbox, settings, now_s)


def _without_superfluous(
    waiting: Sequence[Notification], incidents: Incidents, outbox: NotificationStore, *, policy: DutyPolicy
) -> list[Notification]:
    """Suppress what became superfluous while it waited, each with its reason; return the rest."""
    ids = sorted({one.incident_id for one in waiting if one.incident_id is not None})
    by_id = {one.incident_id: one for one in incidents.found(IncidentQuery(incident_ids=ids, limit=len(ids)))}
    unacknowledged_steps = {one.step for one in policy.escalation if one.when == "unacknowledged"}
    by_reason: dict[str, list[int]] = {}
    remaining = []
    for one in waiting:
        incident = by_id.get(one.incident_id or 0)
        reason = "" if incident is None else _superfluous_reason(one, incident, unacknowledged_steps)
        if reason:
            by_reason.setdefault(reason, []).append(one.notification_id)
        else:
            remaining.append(one)
    for reason, notification_ids in by_reason.items():
        outbox.suppress(notification_ids, reason)
    return remaining


def _superfluous_reason(one: Notification, incident: Incident, unacknowledged_steps: set[str]) -> str:
    if incident.is_over:
        return f"the incident is {incident.state.replace('_', ' ')}"
    if incident.merged_into is not None:
        return f"the incident was merged into {incident.merged_into}"
    if incident.alarm_state in NOT_CALLING:
        return f"the alarm is {incident.alarm_state.replace('_', ' ')}"
    if one.step in unacknowledged_steps and incident.acknowledged_s is not None:
        return "the incident is acknowledged"
    return ""


@dataclass(frozen=True, slots=True)
class _Dispatch:
    """Everything that sending in one round needs."""

    outbox: NotificationStore
    sender: Sender
    resolved: Mapping[str, ResolvedChannel]
    faults: Mapping[str, str]
    audiences: Mapping[str, set[str]]
    settings: Settings
    now_s: float

    @classmethod
    def read(
        cls, store: Store, settings: Settings, outbox: NotificationStore, state: MessageState, now_s: float
    ) -> _Dispatch:
        """Read channels, members and secrets."""
        assert store.database is not None, "the caller has checked it"  # noqa: S101
        duty = DutyStore(store.database)
        teams = duty.plan(after_s=now_s).teams
        secrets = SecretReader(settings.secrets_folder, os.environ)
        resolved, faults = {}, {}
        console = NotificationChannel(
            channel_id=CONSOLE_CHANNEL, area_id="", kind="console", en="console", zh="控制台"
        )
        for channel in [console, *outbox.channels()]:
            try:
                if not channel.enabled:
                    raise NotificationError(f"channel {channel.channel_id} is switched off")  # noqa: TRY301
                resolved[channel.channel_id] = resolve_channel(channel, secrets)
            except NotificationError as error:
                faults[channel.channel_id] = str(error)
        links = None
        if settings.public_url is not None:
            secret = outbox.acknowledgement_secret()
            links = LinkSigner(settings.public_url, secret, settings.acknowledge_link_h * 3600)
        members = {one.member_id: one for team in teams for one in team.members}
        return cls(
            outbox,
            Sender(state.client_of(settings), mail_server(settings), links, members),
            resolved,
            faults,
            _audiences(teams, duty.preferences()),
            settings,
            now_s,
        )

    def begin(self, waiting: Sequence[Notification], state: MessageState) -> None:
        """Start the messages that may be sent now, and record the failure of channels that are unusable."""
        self._fail_unusable(waiting)
        stored_rates = self.outbox.rates()
        planned = plan_digests(
            waiting,
            kinds={channel_id: one.channel.kind for channel_id, one in self.resolved.items()},
            destinations={channel_id: one.destination for channel_id, one in self.resolved.items()},
            audiences=self.audiences,
            deliveries=self.outbox.deliveries_since(self.now_s - READER_WINDOW_S),
            busy=state.under_way.keys(),
            now_s=self.now_s,
        )
        for digest in planned:
            resolved = self.resolved[digest.channel_id]
            bucket = DestinationBucket(
                digest.destination, resolved.rate, stored_rates.get(digest.destination)
            )
            if not bucket.may_send(self.now_s):
                continue
            delivery = Delivery(
                area_id=digest.notifications[0].area_id,
                channel_id=digest.channel_id,
                destination=digest.destination,
                members=list(digest.members),
                notifications=len(digest.notifications),
                started_s=self.now_s,
            )
            delivery_id = self.outbox.begin_delivery(delivery, bucket.spend(self.now_s))
            state.under_way[digest.destination] = MessageUnderWay(
                digest,
                msgspec.structs.replace(delivery, delivery_id=delivery_id),
                resolved,
                state.pool.submit(self.sender.send, resolved, digest, self.now_s),
            )

    def _fail_unusable(self, waiting: Sequence[Notification]) -> None:
        """Put off the notifications of channels that are unusable, and show them in the console instead."""
        by_channel: dict[str, list[Notification]] = {}
        for one in waiting:
            if one.channel_id not in self.resolved:
                by_channel.setdefault(one.channel_id, []).append(one)
        for channel_id, rows in by_channel.items():
            fault = self.faults.get(channel_id, f"there is no channel {channel_id!r}")
            log.warning("channel_unusable", channel=channel_id, fault=fault, notifications=len(rows))
            self.outbox.put_off(
                [one.notification_id for one in rows],
                next_try_s=_next_try_s(rows, SendOutcome("refused", fault), self.settings, self.now_s),
                detail=fault,
            )
            _show_in_console(self.outbox, rows, self.now_s)


def _audiences(teams: Sequence[Team], preferences: Mapping[str, MemberPreferences]) -> dict[str, set[str]]:
    """Return the members who read each channel, by the preferences of any priority."""
    found: dict[str, set[str]] = {}
    for team in teams:
        for member in team.members:
            for priority in PRIORITIES:
                chosen = preference_for(preferences.get(member.member_id), priority, team.channels)
                for channel_id in chosen.channels:
                    found.setdefault(channel_id, set()).add(member.member_id)
    return found


def _record_finished(
    state: MessageState, outbox: NotificationStore, settings: Settings, now_s: float
) -> None:
    """Record the outcome of every message whose response came."""
    for destination in [key for key, one in state.under_way.items() if one.future.done()]:
        message = state.under_way[destination]
        outcome = _outcome_of(message)
        rows = message.digest.notifications
        ended = msgspec.structs.replace(
            message.delivery, ended_s=now_s, outcome=outcome.result, detail=outcome.detail
        )
        rate = None
        if outcome.result == "limited":
            stored = outbox.rates().get(destination)
            bucket = DestinationBucket(destination, message.resolved.rate, stored)
            rate = bucket.block(now_s, outcome.blocked_s)
        outbox.end_delivery(
            ended,
            [one.notification_id for one in rows],
            next_try_s=_next_try_s(rows, outcome, settings, now_s),
            rate=rate,
        )
        SENT_NOTIFICATIONS.labels(message.resolved.channel.kind, outcome.result).inc(len(rows))
        del state.under_way[destination]  # after it is recorded: else it is repeated by the next process
        if outcome.result != "sent":
            log.warning("notification_failed", channel=message.digest.channel_id, detail=outcome.detail)
            if outcome.is_permanent or max(one.attempts for one in rows) + 1 >= ATTEMPTS_BEFORE_CONSOLE:
                _show_in_console(outbox, rows, now_s)


def _outcome_of(message: MessageUnderWay) -> SendOutcome:
    error = message.future.exception()
    if error is None:
        return message.future.result()
    log.error("sending_failed", channel=message.digest.channel_id, error=type(error).__name__)
    return SendOutcome("unknown", f"the service failed: {type(error).__name__}")


def _next_try_s(
    rows: Sequence[Notification], outcome: SendOutcome, settings: Settings, now_s: float
) -> float | None:
    """Return when a failed message is tried again [Unix s]; None gives it up."""
    oldest_s = min(one.created_s for one in rows)
    if outcome.is_permanent or now_s - oldest_s > settings.notify_give_up_h * 3600:
        return None
    backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S, tries=max(one.attempts for one in rows))
    return now_s + max(outcome.blocked_s, backoff.next_s())


def _show_in_console(outbox: NotificationStore, rows: Sequence[Notification], now_s: float) -> None:
    """Put notifications that could not be sent into the members' consoles."""
    outbox.record(
        msgspec.structs.replace(one, channel_id=CONSOLE_CHANNEL, due_s=now_s)
        for one in rows
        if one.channel_id != CONSOLE_CHANNEL and one.kind == "incident"
    )


def mail_server(settings: Settings) -> MailServer | None:
    """Return the mail server of the settings; None where none is set."""
    if settings.smtp_host is None:
        return None
    password = None
    if settings.smtp_password_file is not None:
        try:
            password = settings.smtp_password_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            log.warning("mail_password_unreadable", file=str(settings.smtp_password_file))
    certificates = settings.notify_certificates
    return MailServer(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_security,
        settings.smtp_sender,
        settings.smtp_user,
        password,
        None if certificates is None else str(certificates),
    )
