"""Request and response models of dead letters (messages that ingest could not store)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from gateway.api.models.resource_models import ApiModel, UtcTime


class DeadLetterResponse(ApiModel):
    """A message that could not be stored; its payload stays in the database."""

    letter_id: int
    received: UtcTime
    topic: str
    bytes: int
    content_type: str | None
    reason: str = Field(examples=["channel"])
    detail: str
    state: Literal["waiting", "replay"] = Field(description="replay: asked for, and not taken yet")
    replays: int = Field(description="How often it was replayed in vain")


class DeadLetterDetailResponse(DeadLetterResponse):
    """A dead letter with its payload."""

    properties: dict[str, str]
    payload_base64: str


class DeadLetterFilterRequest(ApiModel):
    """Filter of dead letters; all given conditions must hold."""

    ids: list[Annotated[int, Field(ge=1, lt=2**63)]] | None = Field(default=None, max_length=1000)
    reason: str | None = Field(default=None, examples=["channel"])
    device: str | None = Field(default=None, examples=["330402-d1-r01"])
    received_before: AwareDatetime | None = None


class DeadLetterCountResponse(ApiModel):
    """Number of dead letters that matched a filter."""

    letters: int
