"""Request and response models of API keys, the own principal, and the audit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from gateway.api.models.resource_models import ApiModel, UtcTime
from gateway.api.query_params import AwareTime
from ingest_service.storage.contract import name_rules

RoleName = Literal["viewer", "team_member", "operator", "supervisor", "engineer", "administrator"]


def _check_name(text: str) -> str:
    if not name_rules.is_valid_name(text):
        raise ValueError(f"{name_rules.escape_controls(text)!r} {name_rules.FORBIDDEN_NAME_ADVICE}")
    return text


KeyName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_name)]


TeamId = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_check_name)]


class PrincipalResponse(ApiModel):
    """The principal of the request, with its role, areas and scopes."""

    who: str = Field(examples=["key:0f3a5c9d2e71"])
    name: str = Field(examples=["Wang Fang"])
    role: RoleName
    areas: list[str] | None = Field(
        description="With all below them; null is everything", examples=[["330483"]]
    )
    scopes: list[str] = Field(description="Empty is all that the role may")
    team_id: str | None = Field(default=None, description="Team of a team member")


class NewKeyRequest(ApiModel):
    """A key to create."""

    name: KeyName = Field(examples=["Wang Fang, Tongxiang"])
    role: RoleName = Field(examples=["operator"])
    area: str | None = Field(
        default=None, description="With all below it; without one, everything", examples=["330483"]
    )
    scopes: list[str] = Field(
        default_factory=list,
        max_length=50,
        description="Empty is all that the role may",
        examples=[["anomalies"]],
    )
    expires: AwareTime | None = Field(default=None, examples=["2027-12-31T00:00:00+08:00"])
    team_id: TeamId | None = Field(default=None, description="Team of a team member", examples=["d1-water"])
    member_id: str | None = Field(
        default=None,
        max_length=64,
        description="Of a team: the key signs this person in, who sets the own preferences with it;"
        " replaces an earlier principal. A team member's team_id follows from it",
        examples=["wang-fang"],
    )


class KeyResponse(ApiModel):
    """A key without its secret."""

    key_id: str = Field(examples=["0f3a5c9d2e71"])
    name: str
    role: RoleName
    area: str | None
    scopes: list[str]
    loopback: bool = Field(description="Good on the gateway's own machine alone")
    created: UtcTime
    created_by: str
    expires: UtcTime | None
    revoked: UtcTime | None
    revoked_by: str | None
    last_used: UtcTime | None = Field(description="To the minute")
    team_id: str | None = None


class NewKeyResponse(ApiModel):
    """A created key; it is shown only once."""

    key_id: str
    key: str = Field(description="Keep it: it is not shown again", examples=["tt_0f3a5c9d2e71_…"])


class AuditEntryResponse(ApiModel):
    """A change or export, successful or attempted."""

    audit_id: int
    at: UtcTime
    who: str
    name: str
    areas: list[str] | None = Field(description="That whoever did it was bound to")
    action: str = Field(examples=["POST /v1/anomalies/{anomaly_id}/feedback"])
    target: str = Field(examples=["/v1/anomalies/42/feedback"])
    address: str = Field(examples=["192.0.2.7"])
    status: int = Field(description="What was answered", examples=[200])
    detail: dict[str, Any]
