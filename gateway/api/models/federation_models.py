"""Request and response models of commands to the towns below."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edge.wire.federation_uplink import MAX_MESSAGES
from edge.wire.receipts import MAX_EPOCH_LENGTH
from gateway.api.models.incident_models import Id, RequiredText
from gateway.api.models.judging_models import LimitsByName
from gateway.api.models.resource_models import ApiModel, UtcTime
from ingest_service.storage.contract.incidents import IncidentKind


class LimitsCommandRequest(ApiModel):
    """Limits that a town shall adopt for a series that it forwards, in place of all adopted before."""

    site_id: Id = Field(examples=["shendang-r01"])
    quantity: Id = Field(examples=["ph"])
    limits: LimitsByName
    note: str = Field(default="", max_length=2000, examples=["two false alarms a day at low flow"])


class IncidentCommandRequest(ApiModel):
    """An incident that is dispatched to a town; with ``incident_id`` one of this platform."""

    site_id: Id = Field(description="Site that the town forwards", examples=["shendang-r01"])
    incident_id: int | None = Field(
        default=None,
        ge=1,
        lt=2**63,
        description="Incident of this platform, with its kind, cause, severity and priority; the town's is"
        " put below it",
    )
    kind: IncidentKind = Field(default="water", description="Without incident_id")
    cause: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$")] = Field(
        default="reported", description="Without incident_id", examples=["dead_fish"]
    )
    severity: int = Field(default=2, ge=1, le=3, description="Without incident_id")
    summary: RequiredText = Field(examples=["foam below the bridge, seen from the county's boat"])
    note: str = Field(default="", max_length=2000)


class DashboardsCommandRequest(ApiModel):
    """A dashboard of Grafana for the towns of an area."""

    area_id: Id = Field(description="A town, or an area with towns below it", examples=["330424-shendang"])
    dashboard: dict[str, Any] = Field(
        description="JSON as Grafana exports it, with `uid` and `title`; its data source is"
        " `towntwin-postgres`, which each town has",
        examples=[{"uid": "county-rivers", "title": "Rivers of the county", "panels": []}],
    )
    note: str = Field(default="", max_length=2000)


class FederationCommandResponse(ApiModel):
    """A command to a town, or one of the platform above, and what became of it."""

    command_id: str = Field(examples=["5b1f5c8e-4f0c-4a6e-9b53-0f0a6e0c8f11"])
    kind: Literal["limits", "incident", "dashboards", "unknown"]
    area_id: str
    device_id: str | None = Field(description="Forwarder of the town that gets it; null: it is applied here")
    from_above: bool = Field(description="Whether the platform above issued it")
    content: dict[str, Any] = Field(description="Of a dashboard, uid, title and SHA-256 alone")
    who: str
    note: str
    issued: UtcTime
    state: Literal["waiting", "applied", "refused"] = Field(
        description="waiting until the town's answer is here, which takes as long as it has no line"
    )
    detail: str = Field(description="Why it was refused")
    incident_id: int | None = Field(description="Incident that it opened, by its number at the town")
    own_incident: int | None = Field(description="Incident of this platform that it is about")
    finished: UtcTime | None


class ForwardedMessageRequest(ApiModel):
    """A message of a town by its number in the town's spool."""

    number: int = Field(ge=0, lt=2**63)
    payload: str = Field(description="JSON text, as in docs/federation.md")


class ForwardedMessagesRequest(ApiModel):
    """Messages of one spool; none to collect commands alone."""

    device: Id = Field(examples=["shendang-box"])
    epoch: str = Field(min_length=1, max_length=MAX_EPOCH_LENGTH, pattern=r"^[!-~]+$", examples=["a1b2"])
    messages: list[ForwardedMessageRequest] = Field(max_length=MAX_MESSAGES)


class RefusalResponse(ApiModel):
    """A message that was not stored, or not all of it: reason and detail of its dead letter."""

    number: int
    reason: str
    detail: str


class ReceiptResponse(ApiModel):
    """Closed ranges of numbers that are stored, as readings and the like or as dead letters."""

    epoch: str
    kept: list[tuple[int, int]]
    refused: list[RefusalResponse] = Field(default_factory=list)
    more: int = Field(default=0, description="Further refused messages")


class ForwardedMessagesResponse(ApiModel):
    """Receipts, and the commands that wait for the town."""

    receipts: list[ReceiptResponse]
    commands: list[dict[str, Any]]
