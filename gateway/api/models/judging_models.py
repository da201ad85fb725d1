"""Request and response models of judging posted series, limit trials, and adopted limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.api.models.resource_models import ApiModel, UtcTime
from gateway.api.query_params import AwareTime

LimitsByName = Annotated[
    dict[str, Annotated[float, Field(allow_inf_nan=False)] | None],
    Field(description="Limits of the judge by name (docs/detection.md); null switches one off"),
]


class JudgedAnomalyResponse(ApiModel):
    """An anomaly found by judging posted or historical readings; it is not stored."""

    detector: str = Field(examples=["residual"])
    version: str
    state: Literal["open", "closed"]
    severity: int = Field(description="1 notice, 2 warning, 3 alarm")
    start: UtcTime
    end: UtcTime | None
    peak: UtcTime
    observed: float | None
    expected: float | None
    spread: float | None
    score: float
    n_readings: int
    reason_en: str
    reason_zh: str
    evidence: dict[str, Any]


class JudgedReadingResponse(ApiModel):
    """A reading with its flag, rules, expected value and score."""

    measured: UtcTime
    value: float | None
    quality: int = Field(description="QARTOD: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing")
    rules: list[str] = Field(description="Why it is not simply pass")
    expected: float | None
    spread: float | None
    score: float | None = Field(description="−log10 of its false-alarm probability")


class JudgedSeriesResponse(ApiModel):
    """The result of judging a posted series."""

    quantity: str
    unit: str
    interval_s: float = Field(description="Usual time between readings [s]")
    limits: LimitsByName
    left_out: dict[str, int] = Field(description="Rows without a usable time, and repeats of a time")
    anomalies: list[JudgedAnomalyResponse]
    readings: list[JudgedReadingResponse]


class TrialRequest(ApiModel):
    """Limits to try, and the time range of a series' history to try them on."""

    limits: LimitsByName
    from_: AwareTime = Field(alias="from", description="From this moment on (RFC 3339)")
    to: AwareTime = Field(description="Before this moment (RFC 3339)")


class OutcomeResponse(ApiModel):
    """The result of judging a time range by some limits."""

    limits: LimitsByName
    readings: int
    flagged: int = Field(description="Readings that are suspect or fail")
    anomalies: list[JudgedAnomalyResponse]


class TrialResponse(ApiModel):
    """The limits in force beside those tried, on the same readings."""

    now: OutcomeResponse
    tried: OutcomeResponse
    gone: list[JudgedAnomalyResponse] = Field(description="Of now, overlapped by no tried one")
    new: list[JudgedAnomalyResponse] = Field(description="Tried ones that overlap none of now")


class LimitChangeRequest(ApiModel):
    """Limits for a series from now on, which replace all adopted before."""

    limits: LimitsByName
    note: str = Field(default="", max_length=2000, examples=["two false alarms a day at low flow"])


class LimitChangeResponse(ApiModel):
    """An adoption of limits: limits, author, time and reason."""

    limits: LimitsByName
    who: str
    note: str
    at: UtcTime


class SeriesLimitsResponse(ApiModel):
    """The limits of a series by origin; later origins override earlier ones."""

    series_id: int
    judge: LimitsByName = Field(description="The judge's own")
    quantity: LimitsByName = Field(description="By quantity, where they differ")
    site_file: LimitsByName
    adopted: LimitsByName
    in_force: LimitsByName = Field(description="With the shift by operators' feedback")
    problems: list[str] = Field(
        description="What is wrong with them as enrolled; in force are then those of the quantity"
    )
    history: list[LimitChangeResponse] = Field(description="Every adoption, oldest first")
