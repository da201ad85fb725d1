"""The time range of the plot, and the downsampled readings of one series in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gateway import plots
from gateway.stretches import Stretch
from gateway.thin import thin
from ingest_service.storage.postgres import PostgresStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.context import Context
    from ingest_service.storage.model import Anomaly, Series

HOUR_S = 3600.0
HOURS = (24, 48, 168, 720)
USUAL_H = 48
BEFORE_S, AFTER_S = 12 * HOUR_S, 6 * HOUR_S  # shown on either side of an anomaly
AHEAD_S = 600.0  # readings of clocks that are a little fast are shown, too
POINTS = 1500  # about as many as a wide screen has pixels
MOST_READINGS = 100_000  # of a store in memory


class Range(NamedTuple):
    """So many hours up to now, or the fixed stretch of an anomaly [Unix s]."""

    hours: int = USUAL_H
    fixed: tuple[float, float] | None = None

    def bounds(self, now_s: float) -> tuple[float, float]:
        """From and to, Unix seconds [s]."""
        if self.fixed is not None:
            return self.fixed
        return now_s - self.hours * HOUR_S, now_s + AHEAD_S


def around(anomaly: Anomaly, now_s: float) -> Range:
    """The range of an anomaly with what was before and after it, a month at most."""
    end_s = now_s if anomaly.end_s is None else anomaly.end_s
    from_s = anomaly.start_s - BEFORE_S
    to_s = min(max(end_s, anomaly.start_s) + AFTER_S, now_s + AHEAD_S, from_s + HOURS[-1] * HOUR_S)
    return Range(fixed=(from_s, max(to_s, anomaly.start_s + HOUR_S)))


def read(context: Context, series: Series, from_s: float, to_s: float) -> NDArray[np.void]:
    """(n,) READING, n at most `POINTS`, each a stored one. Raises as the store does."""
    from_us, to_us = round(from_s * 1e6), round(to_s * 1e6)
    if isinstance(context.whole, PostgresStore):
        answers = context.answers
        moment = answers.then().moment
        over = Stretch(from_us, to_us, None)
        return plots.thinned(answers, [series], over, moment, points=POINTS, method="minmax")[0][0]
    rows = context.store.readings(series.series_id, from_s, to_s, limit=MOST_READINGS)
    return thin([rows], from_us, to_us, points=POINTS, method="minmax")[0]
