"""Request and response models of commands to HJ 212 stations."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gateway.api.models.resource_models import ApiModel, UtcTime
from gateway.api.query_params import AwareTime


class _CommandRequest(ApiModel):
    """What is common to all commands."""

    note: str = Field(default="", max_length=2000, examples=["the station's clock is 4 min late"])
    expires_s: float = Field(
        default=86_400, ge=1, le=30 * 86_400, description="Within this time it has to be sent [s]"
    )
    over_time_s: float = Field(default=10, ge=1, le=600, description="Time for an answer to one attempt [s]")
    re_count: int = Field(default=3, ge=0, le=10, description="Attempts after the first")

    @property
    def parameters(self) -> dict[str, Any]:
        """What the content of the command is made of."""
        return {}


class ReadTimeRequest(_CommandRequest):
    """Read the station's clock (CN=1011)."""

    kind: Literal["read-time"]


class SetTimeRequest(_CommandRequest):
    """Set the station's clock to the platform's (CN=1012)."""

    kind: Literal["set-time"]


class SetOverTimeRequest(_CommandRequest):
    """Set how long the station waits for answers, and how often it repeats (CN=1000)."""

    kind: Literal["set-over-time"]
    station_over_time_s: int = Field(ge=1, le=99_999, description="OverTime [s]")
    station_re_count: int = Field(ge=0, le=99, description="ReCount")

    @property
    def parameters(self) -> dict[str, Any]:
        """What the content of the command is made of."""
        return {"over_time_s": self.station_over_time_s, "re_count": self.station_re_count}


class ReadIntervalRequest(_CommandRequest):
    """Read the interval of real-time uploads (CN=1061)."""

    kind: Literal["read-interval"]


class SetIntervalRequest(_CommandRequest):
    """Set the interval of real-time uploads (CN=1062)."""

    kind: Literal["set-interval"]
    interval_s: int = Field(ge=30, le=3600, description="RtdInterval [s]")

    @property
    def parameters(self) -> dict[str, Any]:
        """What the content of the command is made of."""
        return {"interval_s": self.interval_s}


class UploadHistoryRequest(_CommandRequest):
    """Request uploads of the past; they are stored as usual."""

    kind: Literal["upload-history"]
    data: Literal["real-time", "minute", "hour", "day"] = Field(
        description="CN=2011, 2051, 2061 or 2031; many stations keep no real-time values"
    )
    from_: AwareTime = Field(alias="from", examples=["2026-11-01T00:00:00+08:00"])
    to: AwareTime = Field(examples=["2026-11-02T00:00:00+08:00"])

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.from_ >= self.to:
            raise ValueError("from must be before to")
        return self

    @property
    def parameters(self) -> dict[str, Any]:
        """What the content of the command is made of."""
        return {"from_s": self.from_.timestamp(), "to_s": self.to.timestamp()}


StationCommandRequest = Annotated[
    ReadTimeRequest
    | SetTimeRequest
    | SetOverTimeRequest
    | ReadIntervalRequest
    | SetIntervalRequest
    | UploadHistoryRequest,
    Field(discriminator="kind"),
]


class StationCommandResponse(ApiModel):
    """A command to a station and what became of it."""

    command_id: int
    device_id: str
    command: str = Field(description="CN", examples=["1012"])
    parameters: dict[str, Any]
    state: Literal["waiting", "sent", "accepted", "done", "refused", "failed", "timed_out", "expired"] = (
        Field(
            description="waiting until the station is connected; accepted is 9011 with QnRtn=1, done 9012"
            " with ExeRtn=1, refused and failed are other codes; timed_out is no answer to the last attempt,"
            " or no result after an acceptance; expired was never sent"
        )
    )
    attempts: int
    request: str = Field(description="QN of all attempts, empty before the first")
    result: int | None = Field(description="QnRtn of a refusal, or ExeRtn")
    answers: list[dict[str, str]] = Field(
        description="Command (CN) and content (CP) of each answer, in order"
    )
    uploads: int = Field(description="Uploads that the station sent for it")
    who: str
    note: str
    created: UtcTime
    expires: UtcTime
    finished: UtcTime | None


def commands_of(request: Any) -> str:
    """Return the command (CN) of a request."""
    if isinstance(request, UploadHistoryRequest):
        return {"real-time": "2011", "minute": "2051", "hour": "2061", "day": "2031"}[request.data]
    return {
        "read-time": "1011",
        "set-time": "1012",
        "set-over-time": "1000",
        "read-interval": "1061",
        "set-interval": "1062",
    }[request.kind]
