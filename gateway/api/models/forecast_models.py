"""Response models of forecasts of series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from analytics.service import forecast_inputs
from analytics.service.forecast_refusals import RefusalCode  # at run time: pydantic resolves the annotation
from edge.wire.quantities import QUANTITIES
from gateway.api.models.resource_models import ApiModel, UtcTime, utc_datetime

if TYPE_CHECKING:
    from analytics.service.series_forecast import ForecastPoint, SeriesForecast, Training
    from ingest_service.storage.contract.models import Series

BAND_SHARE = 0.8  # of `analytics.twin.forecast_plan.ForecastPlan`


class ForecastSkillResponse(ApiModel):
    """1 - mean loss / that of a forecast without a model, in the validation days; null where that is 0."""

    persistence: float | None = Field(description="Over the newest value", examples=[0.83])
    same_hour_yesterday: float | None = Field(description="Over the value 24 h before", examples=[0.61])
    climatology: float | None = Field(description="Over the usual course of the day", examples=[0.7])


class ForecastPointResponse(ApiModel):
    """The forecast for one time; value and band are null where it has no skill."""

    time: UtcTime
    horizon_s: float = Field(description="After the time of issue [s]", examples=[3600])
    value: float | None = Field(description="Expected value, in the unit of the series", examples=[7.9])
    low: float | None = Field(description="Lower end of the band", examples=[7.6])
    high: float | None = Field(description="Upper end of the band", examples=[8.2])
    skill: ForecastSkillResponse


class ForecastTrainingResponse(ApiModel):
    """What the forecast was trained on."""

    trained: UtcTime
    from_: UtcTime = Field(alias="from")
    to: UtcTime
    readings: int = Field(description="Good readings of the series", examples=[25_920])
    validation_days: int = Field(description="Last days, by which skill and band are found", examples=[14])


class ForecastRefusalResponse(ApiModel):
    """Why there is no forecast."""

    code: RefusalCode
    en: str
    zh: str


class ForecastResponse(ApiModel):
    """The forecast of a series; without one that has skill, no point has a value and ``refusal`` is set."""

    series_id: int = Field(examples=[12])
    site_id: str
    quantity: str = Field(examples=["dissolved_oxygen"])
    unit: str = Field(examples=["mg/L"])
    issued: UtcTime | None = Field(description="Time of the readings that it is made from")
    origin: float | None = Field(description="Their mean value", examples=[8.1])
    loss: Literal["absolute", "squared"] = Field(description="Errors whose mean the skill compares")
    band_share: float = Field(description="Share of values that the band is to hold", examples=[BAND_SHARE])
    training: ForecastTrainingResponse | None
    refusal: ForecastRefusalResponse | None
    points: list[ForecastPointResponse] = Field(description="By time; only times that are still to come")


def forecast_response(series: Series, made: SeriesForecast) -> ForecastResponse:
    """Return a forecast as a response."""
    refusal = made.refusal
    return ForecastResponse(
        series_id=series.series_id,
        site_id=series.site_id,
        quantity=series.quantity,
        unit=QUANTITIES[series.quantity].unit,
        issued=None if made.issued_s is None else utc_datetime(made.issued_s),
        origin=made.origin,
        loss="absolute" if forecast_inputs.is_traffic(series) else "squared",
        band_share=BAND_SHARE,
        training=None if made.training is None else _training_response(made.training),
        refusal=None
        if refusal is None
        else ForecastRefusalResponse(code=refusal.code, en=refusal.en, zh=refusal.zh),
        points=[_point_response(one) for one in made.points],
    )


def _training_response(one: Training) -> ForecastTrainingResponse:
    return ForecastTrainingResponse(
        trained=utc_datetime(one.trained_s),
        **{"from": utc_datetime(one.from_s)},
        to=utc_datetime(one.to_s),
        readings=one.n_readings,
        validation_days=one.validation_days,
    )


def _point_response(one: ForecastPoint) -> ForecastPointResponse:
    return ForecastPointResponse(
        time=utc_datetime(one.time_s),
        horizon_s=one.horizon_s,
        value=one.value,
        low=one.low,
        high=one.high,
        skill=ForecastSkillResponse(
            persistence=one.skill_persistence,
            same_hour_yesterday=one.skill_yesterday,
            climatology=one.skill_climatology,
        ),
    )
