"""Prepares the forecast of a series for its page: line of the plot, rows of a table, and sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gateway.console.series_chart import ForecastLine

if TYPE_CHECKING:
    from analytics.twin.forecast_plan import Loss
    from gateway.api.models.forecast_models import ForecastPointResponse, ForecastResponse
    from gateway.console.visitor import Visitor


class ForecastRow(NamedTuple):
    """A row of the table: time, horizon, values, and gain over the best forecast without a model [%]."""

    at_s: float
    horizon_s: float
    value: float
    low: float
    high: float
    gain: float


class ForecastView(NamedTuple):
    """What a page shows of a forecast.

    Attributes
    ----------
    line : for the plot; None without values
    rows : the times that have a value
    sentence : what it was made from, or why there is none
    hidden : how many times have no value, and why; empty without any
    summary : for the plot's description; empty without values
    is_pending : whether it is being computed: the page loads its plot again

    """

    line: ForecastLine | None
    rows: list[ForecastRow]
    sentence: str
    hidden: str = ""
    summary: str = ""
    is_pending: bool = False


def forecast_view(visitor: Visitor, made: ForecastResponse | None, *, is_pending: bool) -> ForecastView:
    """Return a forecast as a page shows it; without one, that it is being computed or has failed."""
    if made is None:
        sentence = visitor.text("forecast_pending" if is_pending else "forecast_failed")
        return ForecastView(None, [], sentence, is_pending=is_pending)
    if made.refusal is not None:
        return ForecastView(None, [], visitor.name(made.refusal))
    assert made.issued is not None  # noqa: S101 - of a forecast without a refusal
    assert made.training is not None  # noqa: S101 - likewise
    issued_s, origin = made.issued.timestamp(), made.origin
    columns = [(issued_s, origin, origin, origin)]
    columns += [(one.time.timestamp(), one.value, one.low, one.high) for one in made.points]
    rows = [_row(one, made.loss) for one in made.points if one.value is not None]
    hidden = [one.horizon_s for one in made.points if one.value is None]
    last = rows[-1]
    sentence = visitor.text(
        "forecast_made",
        _stamp(visitor, issued_s),
        f"{made.training.readings:,}",
        f"{made.band_share * 100:.0f}",
        made.training.validation_days,
    )
    summary = visitor.text(
        "forecast_summary",
        _stamp(visitor, last.at_s),
        *(f"{number:.4g}" for number in (last.value, last.low, last.high)),
    )
    return ForecastView(
        ForecastLine(*np.array(columns, float).T),
        rows,
        sentence,
        hidden=visitor.text("forecast_hidden", len(hidden), visitor.duration(max(hidden))) if hidden else "",
        summary=summary,
    )


def _row(one: ForecastPointResponse, loss: Loss) -> ForecastRow:
    assert one.value is not None  # noqa: S101 - of a point that is shown
    assert one.low is not None  # noqa: S101 - likewise
    assert one.high is not None  # noqa: S101 - likewise
    skills = (one.skill.persistence, one.skill.same_hour_yesterday, one.skill.climatology)
    ratio = max(1 - each for each in skills if each is not None)
    gain = 1 - (math.sqrt(ratio) if loss == "squared" else ratio)  # of a typical error, not of its square
    return ForecastRow(one.time.timestamp(), one.horizon_s, one.value, one.low, one.high, 100 * gain)


def _stamp(visitor: Visitor, at_s: float) -> str:
    return visitor.local_time(at_s).strftime("%m-%d %H:%M")
