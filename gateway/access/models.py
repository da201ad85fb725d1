"""Request and response models of API keys and of the audit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from gateway.models import Model, Time
from gateway.params import Moment
from ingest_service.storage import names

RoleWord = Literal["viewer", "operator", "engineer", "administrator"]


def _name(text: str) -> str:
    if not names.is_name(text):
        raise ValueError(f"{names.printable(text)!r} {names.REMEDY}")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_name)]


class Me(Model):
    """Who asks, and how far they see."""

    who: str = Field(examples=["key:0f3a5c9d2e71"])
    name: str = Field(examples=["Wang Fang"])
    role: RoleWord
    areas: list[str] | None = Field(
        description="With all below them; null is everything", examples=[["330483"]]
    )
    scopes: list[str] = Field(description="Empty is all that the role may")


class NewKey(Model):
    """A key to be made."""

    name: Name = Field(examples=["Wang Fang, Tongxiang"])
    role: RoleWord = Field(examples=["operator"])
    area: str | None = Field(
        default=None, description="With all below it; without one, everything", examples=["330483"]
    )
    scopes: list[str] = Field(
        default_factory=list,
        max_length=50,
        description="Empty is all that the role may",
        examples=[["anomalies"]],
    )
    expires: Moment | None = Field(default=None, examples=["2027-12-31T00:00:00+08:00"])


class Key(Model):
    """A key without its secret."""

    key_id: str = Field(examples=["0f3a5c9d2e71"])
    name: str
    role: RoleWord
    area: str | None
    scopes: list[str]
    loopback: bool = Field(description="Good on the gateway's own machine alone")
    created: Time
    created_by: str
    expires: Time | None
    revoked: Time | None
    revoked_by: str | None
    last_used: Time | None = Field(description="To the minute")


class MadeKey(Model):
    """A key that was made; it is shown this once."""

    key_id: str
    key: str = Field(description="Keep it: it is not shown again", examples=["tt_0f3a5c9d2e71_…"])


class AuditLine(Model):
    """Something that was changed or exported, or was tried."""

    audit_id: int
    at: Time
    who: str
    name: str
    areas: list[str] | None = Field(description="That whoever did it was bound to")
    action: str = Field(examples=["POST /v1/anomalies/{anomaly_id}/feedback"])
    target: str = Field(examples=["/v1/anomalies/42/feedback"])
    address: str = Field(examples=["192.0.2.7"])
    status: int = Field(description="What was answered", examples=[200])
    detail: dict[str, Any]
