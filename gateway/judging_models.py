"""Request and response models of judging, trials and limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.models import Model, Time
from gateway.params import Moment

Limits = Annotated[
    dict[str, Annotated[float, Field(allow_inf_nan=False)] | None],
    Field(description="Limits of the judge by name (docs/detection.md); null switches one off"),
]


class JudgedAnomaly(Model):
    """An anomaly that judging found; it is stored nowhere."""

    detector: str = Field(examples=["residual"])
    version: str
    state: Literal["open", "closed"]
    severity: int = Field(description="1 notice, 2 warning, 3 alarm")
    start: Time
    end: Time | None
    peak: Time
    observed: float | None
    expected: float | None
    spread: float | None
    score: float
    n_readings: int
    reason_en: str
    reason_zh: str
    evidence: dict[str, Any]


class JudgedReading(Model):
    """A reading and what the judge says of it."""

    measured: Time
    value: float | None
    quality: int = Field(description="QARTOD: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing")
    rules: list[str] = Field(description="Why it is not simply pass")
    expected: float | None
    spread: float | None
    score: float | None = Field(description="−log10 of its false-alarm probability")


class Judged(Model):
    """A posted series, judged."""

    quantity: str
    unit: str
    interval_s: float = Field(description="Usual time between readings [s]")
    limits: Limits
    left_out: dict[str, int] = Field(description="Rows without a usable time, and repeats of a time")
    anomalies: list[JudgedAnomaly]
    readings: list[JudgedReading]


class TrialWanted(Model):
    """Which limits to try, on which stretch of a series' history."""

    limits: Limits
    from_: Moment = Field(alias="from", description="From this moment on (RFC 3339)")
    to: Moment = Field(description="Before this moment (RFC 3339)")


class Outcome(Model):
    """What judging a stretch by some limits gives."""

    limits: Limits
    readings: int
    flagged: int = Field(description="Readings that are suspect or fail")
    anomalies: list[JudgedAnomaly]


class Trial(Model):
    """The limits in force beside those tried, on the same readings."""

    now: Outcome
    tried: Outcome
    gone: list[JudgedAnomaly] = Field(description="Of now, overlapped by no tried one")
    new: list[JudgedAnomaly] = Field(description="Tried ones that overlap none of now")


class Adopted(Model):
    """Limits to stand for a series from now on, in place of all adopted before."""

    limits: Limits
    note: str = Field(default="", max_length=2000, examples=["two false alarms a day at low flow"])


class Adoption(Model):
    """What was adopted, by whom, when and why."""

    limits: Limits
    who: str
    note: str
    at: Time


class SeriesLimits(Model):
    """The limits of a series, and where each comes from; the later ones stand over the earlier."""

    series_id: int
    judge: Limits = Field(description="The judge's own")
    quantity: Limits = Field(description="By quantity, where they differ")
    site_file: Limits
    adopted: Limits
    in_force: Limits = Field(description="With the shift by operators' feedback")
    problems: list[str] = Field(
        description="What is wrong with them as enrolled; in force are then those of the quantity"
    )
    history: list[Adoption] = Field(description="Every adoption, oldest first")
