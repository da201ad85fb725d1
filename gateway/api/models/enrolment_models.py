"""Request and response models of the enrolment of devices."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from edge.wire.topics import LEVEL_ADVICE, LEVEL_PATTERN
from gateway.api.models.key_models import KeyName
from gateway.api.models.resource_models import ApiModel, UtcTime
from ingest_service.storage.contract.bounds import CODE_DEVICES, CODE_HOURS, MAX_INTERVAL_S

MAX_CHANNELS = 64
MAX_REQUEST_CHARS = 8192
MIN_PASSWORD_CHARS, MAX_PASSWORD_CHARS = 20, 128
MIN_CODE_DEVICES, MAX_CODE_DEVICES = CODE_DEVICES
MIN_CODE_HOURS, MAX_CODE_HOURS = CODE_HOURS


def _check_topic_level(text: str) -> str:
    if not LEVEL_PATTERN.fullmatch(text):
        raise ValueError(f"{text[:80]!r} can't stand in a topic: {LEVEL_ADVICE}")
    return text


TopicLevel = Annotated[str, Field(max_length=64), AfterValidator(_check_topic_level)]
CodeText = Annotated[str, Field(max_length=100, examples=["tte_0f3a5c9d2e71_…"])]


class NewCodeRequest(ApiModel):
    """An enrolment code for technicians."""

    area: str = Field(description="The area that the devices get", examples=["330483-d1"])
    devices: int = Field(
        default=1, ge=MIN_CODE_DEVICES, le=MAX_CODE_DEVICES, description="Devices that it enrols at most"
    )
    hours: float = Field(
        default=24.0, ge=MIN_CODE_HOURS, le=MAX_CODE_HOURS, description="How long it is valid [h]"
    )


class CodeResponse(ApiModel):
    """An enrolment code without its secret."""

    code_id: str = Field(examples=["0f3a5c9d2e71"])
    area: str
    devices: int
    proposals: int = Field(description="How many devices have used it")
    created: UtcTime
    created_by: str
    expires: UtcTime
    revoked: UtcTime | None


class NewCodeResponse(ApiModel):
    """A created enrolment code; it is shown only once."""

    code_id: str
    code: str = Field(description="For `towntwin edge enrol`", examples=["https://twin.example.org/#tte_…"])
    qr_svg: str = Field(description="The same as a QR code (SVG)")
    expires: UtcTime


class ProposedChannelModel(ApiModel):
    """A channel of a device, with a sample of its values."""

    name: TopicLevel = Field(examples=["ph"])
    unit: str | None = Field(default=None, max_length=32, examples=["pH"])
    value: float | None = Field(default=None, allow_inf_nan=False, examples=[7.4])


class ProposalRequest(ApiModel):
    """A device that proposes itself, with a code; for a certificate, with its signing request."""

    code: CodeText
    area: TopicLevel = Field(examples=["330483-d1"])
    device: TopicLevel = Field(examples=["wz-01"])
    credential: Literal["password", "certificate"]
    request: str | None = Field(
        default=None,
        max_length=MAX_REQUEST_CHARS,
        pattern="^-----BEGIN (NEW )?CERTIFICATE REQUEST-----\\s",
        description="PEM",
    )
    channels: list[ProposedChannelModel] = Field(max_length=MAX_CHANNELS)
    agent: KeyName = Field(default="towntwin", max_length=64)


class ProposalResponse(ApiModel):
    """An accepted proposal; the token is the device's, for its next requests."""

    enrolment_id: int
    token: str


class CollectRequest(ApiModel):
    """A device that requests its state, and delivers its password once it is confirmed."""

    token: str = Field(max_length=100)
    password: str | None = Field(
        default=None, min_length=MIN_PASSWORD_CHARS, max_length=MAX_PASSWORD_CHARS, pattern="^[!-~]+$"
    )


class CollectResponse(ApiModel):
    """The state of a device's enrolment, and what it needs to connect once it has access."""

    state: Literal["proposed", "confirmed", "rejected", "revoked"]
    access: Literal["none", "pending", "granted", "withdrawn", "open"] = Field(
        description="`open`: the broker has no access control"
    )
    note: str
    broker: str | None = Field(
        default=None,
        description="Address of the listener for the device's credential, a password or a certificate",
        examples=["mqtts://broker.example.org:8883"],
    )
    ca: str | None = Field(default=None, description="PEM")
    certificate: str | None = Field(default=None, description="PEM")


class ConfirmedChannel(ApiModel):
    """A channel with the series of its readings."""

    name: TopicLevel = Field(examples=["ph"])
    site: str = Field(max_length=200, examples=["330483-d1-r04"])
    quantity: str = Field(max_length=64, examples=["ph"])
    unit: str | None = Field(
        default=None, max_length=32, description="In which the device measures; without one, as proposed"
    )
    interval_s: float = Field(default=300.0, gt=0, le=MAX_INTERVAL_S)
    limits: dict[str, float] | None = Field(
        default=None, description="Limits of the quality checks; without them those of the series stay"
    )


class DecisionRequest(ApiModel):
    """What is decided of a device: confirmed with its channels, rejected, or revoked."""

    decision: Literal["confirm", "reject", "revoke"]
    channels: list[ConfirmedChannel] = Field(
        default_factory=list, max_length=MAX_CHANNELS, description="Of a confirmation"
    )
    note: str = Field(default="", max_length=2000)


class EnrolmentResponse(ApiModel):
    """The enrolment of a device."""

    enrolment_id: int
    area: str
    device: str
    state: Literal["proposed", "confirmed", "rejected", "revoked"]
    credential: Literal["password", "certificate"]
    channels: list[dict[str, Any]] = Field(description="As the device proposed them: name, unit, value")
    agent: str
    address: str
    proposed: UtcTime
    decided: UtcTime | None
    decided_by: str | None
    note: str
    access: Literal["none", "pending", "granted", "withdrawn"] = Field(description="At the broker")
    access_error: str = Field(description="Why the access is still pending")
