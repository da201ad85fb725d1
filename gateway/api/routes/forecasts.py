"""Route of the forecast of a series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request

from gateway.api import query_params
from gateway.api.models import forecast_models
from gateway.api.problems import not_found, problem_responses
from gateway.api.request_context import CurrentContext
from gateway.auth.authorization import VIEWER, RequiredRight, requires

if TYPE_CHECKING:
    from gateway.forecast_cache import ForecastCache

router = APIRouter(prefix="/v1", tags=["twin"])


@router.get("/series/{series_id}/forecast", responses=problem_responses(404))
@requires(RequiredRight(VIEWER, "readings", heavy=True))
def forecast(
    context: CurrentContext, request: Request, series_id: query_params.SeriesIdParam
) -> forecast_models.ForecastResponse:
    """What a series will be: traffic 5 to 60 min ahead, water and weather 1 to 24 h, with an 80 % band.

    The skill of each point is that over three forecasts without a model, in the last days of the history.
    Where it is not reliably better than the best of them, the point has no value; where no point has a
    value, `refusal` is the reason in words.
    """
    series = context.directory_index.series.get(series_id)
    if series is None:
        raise not_found("series", series_id)
    forecasts: ForecastCache = request.app.state.forecasts
    return forecast_models.forecast_response(series, forecasts.forecast(context, series))
