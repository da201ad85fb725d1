"""Stored values of notification: channels, preferences, the outbox, deliveries, rates, and deadlines."""

from __future__ import annotations

from typing import Literal

import msgspec

from ingest_service.storage.contract.duty import Language  # noqa: TC001 - msgspec reads the annotation

ChannelKind = Literal["wecom", "dingtalk", "feishu", "email", "webhook", "console"]
NotificationKind = Literal["incident", "test"]
NotificationState = Literal["waiting", "sent", "failed", "suppressed"]
DeliveryOutcome = Literal["started", "sent", "refused", "limited", "unknown"]
DeadlinePhase = Literal["acknowledge", "file", "dispatch", "handle", "verify"]
CONSOLE_CHANNEL = "console"
"""Id of the channel of every member's console, which needs no row of its own."""


class NotificationChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A way to reach people: a robot of a messenger, a mail server, a webhook.

    Attributes
    ----------
    url : address of a webhook or robot, where it holds no secret
    url_secret : name of the secret with the address, in place of ``url``
    sign_secret : name of the secret with which messages are signed
    language : language of its messages

    """

    channel_id: str
    area_id: str
    kind: ChannelKind
    en: str
    zh: str
    url: str | None = None
    url_secret: str | None = None
    sign_secret: str | None = None
    language: Language = "zh"
    enabled: bool = True


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """How a member is notified of incidents of a priority: over which channels, and when not.

    ``quiet_from`` and ``quiet_to`` are local times ``HH:MM``; what falls between them is sent afterwards.
    """

    priority: int
    channels: list[str]
    quiet_from: str | None = None
    quiet_to: str | None = None


class MemberPreferences(msgspec.Struct, frozen=True, kw_only=True):
    """The preferences of a member; priorities without one go to the channels of the team."""

    member_id: str
    area_id: str
    preferences: list[Preference] = []


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the outbox: one step of one incident, to one member over one channel, exactly once.

    Attributes
    ----------
    step : step of the escalation, or ``test``
    due_s : when it may be sent at the earliest [Unix s]; quiet hours have been applied
    attempts : deliveries that failed; ``next_try_s`` is when the next one may begin [Unix s]
    detail : why it failed or was suppressed
    delivery_id : the message that carried it; several notifications share one

    """

    notification_id: int = 0  # given by the database
    kind: NotificationKind = "incident"
    area_id: str
    incident_id: int | None = None
    step: str
    member_id: str | None = None
    channel_id: str
    priority: int
    text_en: str
    text_zh: str
    state: NotificationState = "waiting"
    created_s: float = 0.0  # given by the database
    due_s: float
    attempts: int = 0
    next_try_s: float | None = None
    sent_s: float | None = None
    detail: str = ""
    delivery_id: int | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt to send one message to a destination, and how it ended.

    Attributes
    ----------
    destination : hash of the robot's or server's address, or ``email/<member>``
    members : everybody who reads it
    started_s, ended_s : Unix time [s]

    """

    delivery_id: int = 0
    area_id: str
    channel_id: str
    destination: str
    members: list[str]
    notifications: int
    started_s: float
    ended_s: float | None = None
    outcome: DeliveryOutcome = "started"
    detail: str = ""


class DestinationRate(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a destination's bucket at a time [Unix s], and until when it refuses everything."""

    destination: str
    tokens: float
    at_s: float
    blocked_until_s: float | None = None


class Deadline(msgspec.Struct, frozen=True, kw_only=True):
    """When a phase of an incident has to be over, when it was, by Unix time [s]."""

    incident_id: int
    area_id: str
    phase: DeadlinePhase
    due_s: float
    met_s: float | None = None

    def is_late(self, now_s: float) -> bool:
        """Whether the phase took, or takes, longer than its deadline."""
        return (now_s if self.met_s is None else self.met_s) > self.due_s


class NotificationQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of the outbox, newest first."""

    area_ids: list[str] | None = None
    incident_id: int | None = None
    member_id: str | None = None
    state: NotificationState | None = None
    before_id: int | None = None
    limit: int = 100
