"""Request and response models of channels, preferences, the outbox of notifications, and deadlines."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from analytics.notification.secret_files import NAME_PATTERN
from gateway.api.models.duty_models import ClockTime, RowId
from gateway.api.models.key_models import KeyName
from gateway.api.models.resource_models import ApiModel, UtcTime
from ingest_service.storage.contract.duty import Language
from ingest_service.storage.contract.notifications import (
    ChannelKind,
    DeadlinePhase,
    NotificationKind,
    NotificationState,
)

SecretName = Annotated[str, Field(pattern=NAME_PATTERN, examples=["water-robot-url"])]


class ChannelRequest(ApiModel):
    """A channel, which replaces what is stored of it. Secrets are named here, and kept by the service."""

    area_id: str = Field(max_length=200, examples=["330483-d1"])
    kind: ChannelKind
    en: KeyName
    zh: KeyName
    url: Annotated[str, Field(max_length=2_000)] | None = Field(
        default=None, description="Of a webhook, where it holds no secret"
    )
    url_secret: SecretName | None = Field(default=None, description="Name of the secret with the address")
    sign_secret: SecretName | None = Field(default=None, description="Name of the secret that signs")
    language: Language = "zh"
    enabled: bool = True


class ChannelResponse(ChannelRequest):
    """A channel, without secrets."""

    channel_id: str


class PreferenceModel(ApiModel):
    """How a member is notified of incidents of a priority."""

    priority: int = Field(ge=1, le=4, description="1 is the most urgent")
    channels: list[RowId] = Field(
        max_length=10, description="Ids of channels, or `console`; none switches notifications off"
    )
    quiet_from: ClockTime | None = None
    quiet_to: ClockTime | None = Field(default=None, description="What falls between is sent afterwards")


class PreferencesRequest(ApiModel):
    """Preferences by priority; priorities without one go to the channels of the team."""

    preferences: list[PreferenceModel] = Field(max_length=4)


class PreferencesResponse(PreferencesRequest):
    """Preferences of a member."""

    member_id: str
    area_id: str


class NotificationResponse(ApiModel):
    """A notification of the outbox."""

    notification_id: int
    kind: NotificationKind
    area_id: str
    incident_id: int | None
    step: str
    member_id: str | None
    channel_id: str
    priority: int
    text_en: str
    text_zh: str
    state: NotificationState
    created: UtcTime
    due: UtcTime
    attempts: int
    next_try: UtcTime | None
    sent: UtcTime | None
    detail: str = Field(description="Why it failed or was suppressed")
    delivery_id: int | None = Field(description="The message that carried it; several share one")


class DeadlineResponse(ApiModel):
    """When a phase of an incident has to be over, and when it was."""

    phase: DeadlinePhase
    due: UtcTime
    met: UtcTime | None
    late: bool
