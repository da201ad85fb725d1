"""Periodic task that stores the newest forecasts of the sections and roads, which dashboards show.

At most ``forecast_series`` series are forecast (`analytics.service.series_forecast`), the most important
quantities first, once in ``forecast_every_s``. A series with a forecast that a town has
forwarded is left out. Models are trained in at most a fifth of the time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from analytics.service import forecast_refusals, series_forecast
from analytics.service.forecast_refusals import ForecastRefusal
from analytics.service.service_state import ForecastOfSeries, ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract.series_forecasts import StoredForecast
from ingest_service.storage.postgres.series_forecasts import SeriesForecasts

if TYPE_CHECKING:
    from analytics.service.series_forecast import SeriesForecast
    from analytics.service.service_state import ForecastTaskState
    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.models import Directory, Series
    from ingest_service.storage.contract.store import Store

RENEW_S, REFUSED_S = 21_600.0, 3600.0  # after which a model, or what has none, is trained again
PAUSE = 4.0  # of the duration of a training, before the next one
KINDS = ("river_section", "lake_section", "road_section", "junction")
QUANTITIES = (  # in the order of importance: a limit leaves out the last ones
    "traffic_speed",
    "water_level",
    "dissolved_oxygen",
    "ammonia_nitrogen",
    "water_temperature",
    "total_phosphorus",
    "ph",
    "turbidity",
    "conductivity",
    "discharge",
)


def store_forecasts(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Store the forecasts that are due. A store in memory has none."""
    if store.database is None or settings.forecast_every_s == 0:
        return
    service_state = service_state or ServiceState()
    state, failing = service_state.forecasts, service_state.backoff("store_forecasts")
    stored = SeriesForecasts(store.database)
    if not state.pending:
        if time.monotonic() < state.due_s:
            return
        state.due_s = time.monotonic() + settings.forecast_every_s
        forwarded = stored.forwarded()
        found = forecast_series(service_state.directory_of(store))
        chosen = [one for one in found if one.series_id not in forwarded][: settings.forecast_series]
        _restrict(state, stored, {one.series_id for one in chosen})
        state.pending = chosen[::-1]
    waiting: list[Series] = []
    while state.pending and not time_slice.is_over:
        series = state.pending.pop()
        if failing.is_deferred(str(series.series_id)):
            continue
        with failing.isolate(str(series.series_id)):
            if not _is_usable(state, series):
                if time_slice is not UNLIMITED and time.monotonic() < state.training_due_s:
                    waiting.append(series)
                    continue
                _train(state, store, service_state.directory_of(store), series)
            stored.replace(series.series_id, stored_forecast(_forecast(state, store, series)))
    state.pending += waiting[::-1]


def forecast_series(directory: Directory) -> list[Series]:
    """Return the series that dashboards show with a forecast, the most important ones first."""
    sites = {one.site_id for one in directory.sites if one.kind in KINDS}
    shown = [one for one in directory.series if one.site_id in sites and one.quantity in QUANTITIES]
    return sorted(shown, key=lambda one: (QUANTITIES.index(one.quantity), one.series_id))


def stored_forecast(forecast: SeriesForecast) -> StoredForecast | None:
    """Return a forecast as it is stored, with the times that have a value alone; None without any."""
    shown = [one for one in forecast.points if one.value is not None]
    if forecast.refusal is not None or not shown:
        return None
    assert forecast.issued_s is not None  # noqa: S101 - of a forecast without a refusal
    assert forecast.origin is not None  # noqa: S101 - likewise
    start = (forecast.issued_s, forecast.origin, forecast.origin, forecast.origin)
    rows = [start, *((one.time_s, one.value, one.low, one.high) for one in shown)]
    times_s, values, low, high = (list(column) for column in zip(*rows, strict=True))
    return msgspec.convert(
        {"issued_s": forecast.issued_s, "times_s": times_s, "values": values, "low": low, "high": high},
        StoredForecast,
    )


def _restrict(state: ForecastTaskState, stored: SeriesForecasts, series_ids: set[int]) -> None:
    """Drop the models and the stored forecasts of all other series."""
    stored.keep_only(sorted(series_ids))
    state.models = {one: model for one, model in state.models.items() if one in series_ids}


def _is_usable(state: ForecastTaskState, series: Series) -> bool:
    """Whether what is kept of a series is young enough, and the series has the same interval as then."""
    kept = state.models.get(series.series_id)
    if kept is None:
        return False
    age_s = time.monotonic() - kept.trained_s
    if isinstance(kept.trained, ForecastRefusal):
        return age_s < REFUSED_S
    return age_s < RENEW_S and kept.trained.series[0].interval_s == series.interval_s


def _train(state: ForecastTaskState, store: Store, directory: Directory, series: Series) -> None:
    began_s = time.monotonic()
    trained = series_forecast.train(store, _of_same_area(directory, series), series, now_s=time.time())
    ended_s = time.monotonic()
    state.models[series.series_id] = ForecastOfSeries(trained, ended_s)
    state.training_due_s = ended_s + PAUSE * (ended_s - began_s)


def _forecast(state: ForecastTaskState, store: Store, series: Series) -> SeriesForecast:
    trained = state.models[series.series_id].trained
    if isinstance(trained, ForecastRefusal):
        return series_forecast.SeriesForecast(trained)
    newest = store.latest([series.series_id])
    if not newest:  # what the model was trained on was deleted since
        return series_forecast.SeriesForecast(forecast_refusals.NO_READINGS)
    return series_forecast.apply(store, trained, newest_s=newest[0].time_s, now_s=time.time())


def _of_same_area(directory: Directory, series: Series) -> Directory:
    """Return what lies in the area of a series' site, from which alone it is forecast."""
    area_of = {one.site_id: one.area_id for one in directory.sites}
    area_id = area_of[series.site_id]
    nodes = [one for one in directory.nodes if one.area_id == area_id]
    node_ids = {one.node_id for one in nodes}
    return msgspec.structs.replace(
        directory,
        sites=[one for one in directory.sites if one.area_id == area_id],
        series=[one for one in directory.series if area_of[one.site_id] == area_id],
        nodes=nodes,
        links=[one for one in directory.links if {one.from_node, one.to_node} <= node_ids],
    )
