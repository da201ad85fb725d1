"""Runs the product's judge with its default configuration as a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analytics.core.judge import judge
from analytics.core.parameters import Parameters
from analytics.core.state import State
from analytics.quality import default_limits
from benchmarks.detection.scoring import Alarms
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.models import Series

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.core.judge import Judgement
    from benchmarks.detection.labelled import LabelledSeries

    Floats = NDArray[np.float64]


def judged(series: LabelledSeries) -> Judgement:
    """Return the judgement of a series; one of an unknown quantity is judged by the general defaults."""
    parameters = (
        default_limits.judge_parameters(
            [Series(site_id=series.site, quantity=series.quantity, interval_s=series.interval_s)]
        )
        if series.quantity in QUANTITIES
        else Parameters.of(1)
    )
    positions = np.zeros(len(series.value), np.intp)
    return judge(State.empty(1), parameters, positions, series.time_s, series.value)


def scores(series: LabelledSeries) -> Floats:
    """Return the judge's own score of each reading."""
    return judged(series).score.astype(np.float64)


def anomalies(series: LabelledSeries) -> Alarms:
    """Return the anomalies that the judge opens, with their scores."""
    events = judged(series).events
    end_s = np.where(np.isnan(events.end_s), series.time_s[-1], events.end_s)
    return Alarms(events.start_s, end_s, np.nan_to_num(np.asarray(events.score, np.float64)))
