"""Forecasts one series from its history in the store: trains a model, applies it to the newest readings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from analytics.service import forecast_inputs, forecast_refusals
from analytics.service.forecast_inputs import DAY_S
from analytics.service.forecast_refusals import ForecastRefusal  # noqa: TC001 - msgspec resolves the annotation
from analytics.twin import forecast
from analytics.twin.forecast_features import Neighbours
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from ingest_service.storage.contract.models import Directory, Series
    from ingest_service.storage.contract.store import Reader

INTERVAL_TOLERANCE = 0.1  # of the usual time between readings, by which a tick's last reading may be late


class ForecastPoint(msgspec.Struct, frozen=True):
    """The forecast at one horizon; values are None where it has no skill [canonical unit].

    Skill is 1 - error / error of a forecast without a model, of absolute (traffic) or squared (water) errors
    in the validation days; None where that one makes no errors.
    """

    time_s: float
    horizon_s: float
    value: float | None
    low: float | None
    high: float | None
    skill_persistence: float | None
    skill_yesterday: float | None
    skill_climatology: float | None


class Training(msgspec.Struct, frozen=True):
    """What a model was trained on: when, on which history [Unix s], and on how many good readings."""

    trained_s: float
    from_s: float
    to_s: float
    n_readings: int
    validation_days: int


class SeriesForecast(msgspec.Struct, frozen=True):
    """The forecast of a series from its newest good readings; without values where there is a refusal.

    ``issued_s`` is the time of the readings that it is made from, and ``origin`` their value.
    """

    refusal: ForecastRefusal | None
    issued_s: float | None = None
    origin: float | None = None
    training: Training | None = None
    points: list[ForecastPoint] = []


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model of a series, whose column is the first, and of its companions.

    Attributes
    ----------
    series : the series and its companions, as the model's columns
    begin_s : start of the training record, a local midnight [Unix s]
    tick_s : length of a tick [s]

    """

    model: forecast.ForecastModel
    series: list[Series]
    begin_s: float
    tick_s: int
    training: Training


def train(
    reader: Reader, directory: Directory, series: Series, *, now_s: float
) -> TrainedModel | ForecastRefusal:
    """Train a model of a series, or return why that is not possible. Raises as the store does.

    Parameters
    ----------
    reader : of the store
    directory : of the area of the series' site alone
    series : to be forecast
    now_s : the present [Unix s]

    """
    if series.quantity in forecast_inputs.NOT_FORECAST:
        return forecast_refusals.NOT_FORECAST
    is_traffic = forecast_inputs.is_traffic(series)
    tick_s = forecast_inputs.tick_of(series)
    if tick_s is None:
        longest_s = (forecast_inputs.ROAD_TICKS_S if is_traffic else forecast_inputs.WATER_TICKS_S)[-1]
        return forecast_refusals.too_rare(series.interval_s, longest_s)
    days = forecast_inputs.ROAD_HISTORY_DAYS if is_traffic else forecast_inputs.WATER_HISTORY_DAYS
    begin_s = forecast_inputs.midnight_before(now_s, reader.zone, days)
    n_ticks = int((now_s - begin_s) // tick_s)
    grid = forecast_inputs.read_grid(reader, [series], begin_s, n_ticks, tick_s)
    filled = np.flatnonzero(np.isfinite(grid.values[:, 0]))
    if not len(filled):
        return forecast_refusals.NO_READINGS
    first = filled[0] // (DAY_S // tick_s) * (DAY_S // tick_s)
    begin_s, n_ticks = begin_s + float(first) * tick_s, int(filled[-1] - first) + 1
    history_days = (filled[-1] - filled[0] + 1) * tick_s / DAY_S
    plan = forecast_inputs.plan_of(series, tick_s, int(history_days))
    has_gaps = len(filled) < forecast_inputs.MIN_FILLED_SHARE * (filled[-1] - filled[0] + 1)
    if has_gaps or history_days * DAY_S < plan.needed_ticks * tick_s:
        return forecast_refusals.too_little_history(
            len(filled) * tick_s / DAY_S, forecast_inputs.needed_days(series, tick_s)
        )
    others = forecast_inputs.companions(directory, series)
    beside = forecast_inputs.read_grid(reader, others, begin_s, n_ticks, tick_s)
    values = np.column_stack([grid.values[first : first + n_ticks], beside.values])
    return TrainedModel(
        forecast.fit(values, plan, _neighbours(len(others) + 1)),
        [series, *others],
        begin_s,
        tick_s,
        Training(
            trained_s=now_s,
            from_s=begin_s,
            to_s=begin_s + n_ticks * tick_s,
            n_readings=grid.n_readings,
            validation_days=plan.validation_ticks // plan.day_ticks,
        ),
    )


def apply(reader: Reader, trained: TrainedModel, *, newest_s: float, now_s: float) -> SeriesForecast:
    """Return the forecast from the newest complete tick on. Raises as the store does.

    Parameters
    ----------
    reader : of the store
    trained : model of the series
    newest_s : time of the series' newest reading [Unix s]
    now_s : the present: points before it are left out [Unix s]

    """
    plan, tick_s, series = trained.model.plan, trained.tick_s, trained.series[0]
    complete_s = newest_s + series.interval_s * (1 + INTERVAL_TOLERANCE)
    last = int((complete_s - trained.begin_s) // tick_s)  # the tick that begins here is not complete
    past_days = -(-(plan.longest_lag + 1) // plan.day_ticks) + 1
    first = (last // plan.day_ticks - past_days) * plan.day_ticks
    begin_s = trained.begin_s + first * tick_s
    grid = forecast_inputs.read_grid(reader, trained.series, begin_s, last - first, tick_s)
    filled = np.flatnonzero(np.isfinite(grid.values[:, 0]))
    if not len(filled):
        return SeriesForecast(forecast_refusals.NO_READINGS, training=trained.training)
    origin = int(filled[-1])
    issued_s = begin_s + origin * tick_s + (tick_s - min(series.interval_s, tick_s)) / 2
    made = SeriesForecast(
        None,
        issued_s,
        float(grid.values[origin, 0]),
        trained.training,
        _points(trained, grid.values, origin, issued_s),
    )
    horizon_s = plan.horizons[-1] * tick_s
    if issued_s + horizon_s <= now_s:
        return msgspec.structs.replace(
            made, refusal=forecast_refusals.stale(now_s - issued_s, horizon_s), points=[]
        )
    ahead = [one for one in made.points if one.time_s > now_s]
    has_values = any(one.value is not None for one in ahead)
    return msgspec.structs.replace(
        made, points=ahead, refusal=None if has_values else forecast_refusals.NO_SKILL
    )


def _points(
    trained: TrainedModel, values: forecast_inputs.Floats, origin: int, issued_s: float
) -> list[ForecastPoint]:
    """Return the forecast at each horizon, from tick ``origin`` of the values (n_ticks, n)."""
    model, quantity = trained.model, QUANTITIES[trained.series[0].quantity]
    middle = model.predict(values[: origin + 1], np.array([origin]))[0, 0]
    bounds = np.stack([middle, middle - model.below[0], middle + model.above[0]])
    bounds = np.clip(bounds, quantity.low, quantity.high)
    with np.errstate(divide="ignore", invalid="ignore"):
        skills = 1 - model.error[0, :, None] / model.baseline_errors[0]
    points = []
    for at, horizon in enumerate(model.plan.horizons):
        is_shown = bool(model.has_skill[0, at]) and bool(np.isfinite(bounds[:, at]).all())
        value, low, high = (float(one) if is_shown else None for one in bounds[:, at])
        each = [float(one) if np.isfinite(one) else None for one in skills[at]]
        horizon_s = float(horizon * trained.tick_s)
        points.append(ForecastPoint(issued_s + horizon_s, horizon_s, value, low, high, *each))
    return points


def _neighbours(n_series: int) -> Neighbours:
    """Return neighbours by which each of ``n`` series is forecast from all others."""
    others = [[other for other in range(n_series) if other != one] for one in range(n_series)]
    shape = (n_series, n_series - 1)
    return Neighbours(np.empty((0, n_series, n_series)), np.array(others, np.intp).reshape(shape))
