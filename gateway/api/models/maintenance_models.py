"""Request and response models of maintenance, calibrations and drift of probes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.api.models.resource_models import ApiModel, UtcTime
from gateway.api.query_params import AwareTime
from ingest_service.storage.contract.bounds import (
    CALIBRATION_TOLERANCES,
    CALIBRATION_VALUES,
    MAINTENANCE_MINUTES,
    MAX_NOTE_CHARS,
)

MIN_VALUE, MAX_VALUE = CALIBRATION_VALUES
MIN_TOLERANCE, MAX_TOLERANCE = CALIBRATION_TOLERANCES
MIN_MINUTES, MAX_MINUTES = MAINTENANCE_MINUTES

CalibrationValue = Annotated[float, Field(ge=MIN_VALUE, le=MAX_VALUE, allow_inf_nan=False)]


class MaintenanceRequest(ApiModel):
    """Begin or end of the maintenance of a device's probes."""

    action: Literal["begin", "end"]
    channels: list[str] | None = Field(
        default=None, description="Only these channels of the device; all by default", examples=[["ph"]]
    )
    minutes: float = Field(
        default=240,
        ge=MIN_MINUTES,
        le=MAX_MINUTES,
        description="After so long it ends by itself [min]; for `begin`",
    )
    note: str = Field(default="", max_length=MAX_NOTE_CHARS, examples=["membrane exchanged"])


class MaintenanceResponse(ApiModel):
    """A time in which readings of a series are flagged (rule `DEVICE`), and raise no anomaly."""

    maintenance_id: int
    series_id: int
    begins: UtcTime
    ends: UtcTime
    who: str
    note: str
    ended_by: str | None = Field(description="Who ended it before its time")


class CalibrationRequest(ApiModel):
    """A calibration: what the probe read in a standard before and after, in the quantity's unit."""

    reference: CalibrationValue = Field(description="Value of the standard", examples=[7.0])
    before: CalibrationValue = Field(description="Reading in it before the calibration", examples=[7.12])
    after: CalibrationValue = Field(description="Reading in it after the calibration", examples=[7.01])
    calibrated: AwareTime | None = Field(default=None, description="When; now by default")
    tolerance: float | None = Field(
        default=None,
        ge=MIN_TOLERANCE,
        le=MAX_TOLERANCE,
        allow_inf_nan=False,
        description="Error at which it is due again",
    )
    note: str = Field(default="", max_length=MAX_NOTE_CHARS)


class CalibrationResponse(ApiModel):
    """A stored calibration."""

    calibration_id: int
    calibrated: UtcTime
    reference: float
    before: float
    after: float
    tolerance: float | None
    who: str
    note: str


class ProbeDriftResponse(ApiModel):
    """Calibrations of a probe, oldest first, its drift, and when the next one is due."""

    series_id: int
    unit: str
    items: list[CalibrationResponse]
    drift_per_week: float | None = Field(
        description="Median of the newest intervals, in `unit` per week; null before the second calibration"
    )
    tolerance: float
    due: UtcTime | None = Field(
        description="When the drift will have reached the tolerance, at most four weeks after the newest"
        " calibration; null without one"
    )
    is_overdue: bool
