"""Keeps trained forecasts of series, a limited number for a limited time, for all requests of a process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from analytics.service import forecast_refusals, series_forecast
from analytics.service.forecast_refusals import ForecastRefusal
from analytics.service.series_forecast import SeriesForecast, TrainedModel

if TYPE_CHECKING:
    from gateway.api.request_context import RequestContext
    from ingest_service.storage.contract.models import Series

REFUSAL_KEPT_S = 600.0
SHORT_HISTORY_KEPT_S = 30.0  # while recorded files are read in, it grows by days in seconds
FORECAST_KEPT_S = 60.0  # late readings and revisions change a forecast made before them


class _Made(NamedTuple):
    """A forecast, when it was made, and the newest reading of the series then [Unix s]."""

    forecast: SeriesForecast
    made_s: float
    newest_s: float


@dataclass(slots=True)
class _Entry:
    """What is kept of a series: its model or why it has none, and the newest forecast."""

    trained: TrainedModel | ForecastRefusal
    trained_s: float
    made: _Made | None = None


class ForecastCache:
    """Trained models by series, the least recently used of which is dropped.

    A forecast is made from the series' own area alone, so that everybody who may read the series may read it.

    Parameters
    ----------
    max_models : number of series kept
    renew_s : age at which a model is trained again [s]

    """

    def __init__(self, max_models: int, renew_s: float) -> None:
        self._max_models = max_models
        self._renew_s = renew_s
        self._entries = OrderedDict[int, _Entry]()
        self._lock = threading.Lock()
        self._training_lock = threading.Lock()  # one at a time: a training uses all memory bandwidth

    def __len__(self) -> int:
        """Number of series kept."""
        return len(self._entries)

    def forecast(self, context: RequestContext, series: Series) -> SeriesForecast:
        """Return the forecast of a series that the principal may read. Raises as the store does."""
        now_s = time.time()
        newest = context.store.latest([series.series_id])
        if not newest:
            return SeriesForecast(forecast_refusals.NO_READINGS)
        newest_s = newest[0].time_s
        entry = self._usable_entry(series, now_s)
        if entry is None:
            with self._training_lock:
                entry = self._usable_entry(series, now_s) or self._train(context, series)
        if isinstance(entry.trained, ForecastRefusal):
            return SeriesForecast(entry.trained)
        made = entry.made
        if made is None or made.newest_s != newest_s or now_s - made.made_s > FORECAST_KEPT_S:
            forecast = series_forecast.apply(context.store, entry.trained, newest_s=newest_s, now_s=now_s)
            made = entry.made = _Made(forecast, now_s, newest_s)
        return made.forecast

    def _usable_entry(self, series: Series, now_s: float) -> _Entry | None:
        """Return what is kept of a series unless it is too old, or the series has another interval now."""
        with self._lock:
            entry = self._entries.get(series.series_id)
            if entry is None:
                return None
            self._entries.move_to_end(series.series_id)
        age_s = now_s - entry.trained_s
        if isinstance(entry.trained, ForecastRefusal):
            is_short = entry.trained.code == "too_little_history"
            return entry if age_s < (SHORT_HISTORY_KEPT_S if is_short else REFUSAL_KEPT_S) else None
        is_same = entry.trained.series[0].interval_s == series.interval_s
        return entry if is_same and age_s < self._renew_s else None

    def _train(self, context: RequestContext, series: Series) -> _Entry:
        site = context.directory_index.sites[series.site_id]
        directory = context.directories.directory_index((site.area_id,)).directory
        now_s = time.time()
        entry = _Entry(series_forecast.train(context.store, directory, series, now_s=now_s), now_s)
        with self._lock:
            self._entries[series.series_id] = entry
            while len(self._entries) > self._max_models:
                self._entries.popitem(last=False)
        return entry
