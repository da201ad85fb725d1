"""Chooses the plot's time range, and reads the downsampled readings of one series in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gateway.api.time_ranges import TimeRange
from gateway.formats import plots
from gateway.formats.downsampling import downsample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.api.request_context import RequestContext
    from ingest_service.storage.contract.models import Anomaly, Series

HOUR_S = 3600.0
RANGE_CHOICES_H = (6, 24, 48, 168, 720)
DEFAULT_RANGE_H = 48
BEFORE_ANOMALY_S, AFTER_ANOMALY_S = 12 * HOUR_S, 6 * HOUR_S  # shown on either side of an anomaly
CLOCK_AHEAD_S = 600.0  # readings of clocks that are a little fast are shown too
PLOT_POINTS = 1500  # about as many as a wide screen has pixels
MAX_READINGS = 100_000  # read from an in-memory store


class PlotRange(NamedTuple):
    """The last ``hours`` up to now, or the ``fixed_range`` around an anomaly [Unix s]."""

    hours: int = DEFAULT_RANGE_H
    fixed_range: tuple[float, float] | None = None

    def bounds(self, now_s: float) -> tuple[float, float]:
        """Return start and end [Unix s]."""
        if self.fixed_range is not None:
            return self.fixed_range
        return now_s - self.hours * HOUR_S, now_s + CLOCK_AHEAD_S


def range_around(anomaly: Anomaly, now_s: float) -> PlotRange:
    """Return the time range of an anomaly with some hours before and after it, 30 days at most."""
    end_s = now_s if anomaly.end_s is None else anomaly.end_s
    from_s = anomaly.start_s - BEFORE_ANOMALY_S
    to_s = min(
        max(end_s, anomaly.start_s) + AFTER_ANOMALY_S,
        now_s + CLOCK_AHEAD_S,
        from_s + RANGE_CHOICES_H[-1] * HOUR_S,
    )
    return PlotRange(fixed_range=(from_s, max(to_s, anomaly.start_s + HOUR_S)))


def read_plot_rows(context: RequestContext, series: Series, from_s: float, to_s: float) -> NDArray[np.void]:
    """Return (n,) READING, n at most `PLOT_POINTS`, each a stored reading. Raises as the store does."""
    from_us, to_us = round(from_s * 1e6), round(to_s * 1e6)
    if context.unscoped_store.database is not None:
        query_api = context.history_api()
        snapshot = query_api.reader_at().snapshot
        time_range = TimeRange(from_us, to_us, None)
        return plots.downsample_series(
            query_api, [series], time_range, snapshot, points=PLOT_POINTS, method="minmax"
        )[0][0]
    rows = context.store.readings(series.series_id, from_s, to_s, limit=MAX_READINGS)
    return downsample([rows], from_us, to_us, points=PLOT_POINTS, method="minmax")[0]
