"""Chooses plan and companions of a series' forecast, and reads their history on a regular grid of ticks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.service import network_neighbours
from analytics.twin import forecast_plan
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from numpy.typing import NDArray

    from analytics.twin.forecast_plan import ForecastPlan
    from ingest_service.storage.contract.models import Directory, Series
    from ingest_service.storage.contract.store import Reader

    Floats = NDArray[np.float64]

DAY_S, HOUR_S = 86_400, 3600
ROAD_TICKS_S, WATER_TICKS_S = (
    (300, 900),
    (900, HOUR_S, 4 * HOUR_S),
)  # the smallest that a series fills is used
ROAD_HORIZON_S = HOUR_S
WATER_HORIZONS_H = (1, 2, 3, 4, 6, 9, 12, 15, 18, 21, 24)
ROAD_HISTORY_DAYS, WATER_HISTORY_DAYS = 14, 90
VALIDATION_SHARE = 0.25  # of the history, within the limits below
ROAD_VALIDATION_DAYS, WATER_VALIDATION_DAYS = (1, 4), (2, 14)
MIN_FILLED_SHARE = 0.5  # of the ticks of a history that have a good reading
MAX_COMPANIONS = 3
WATER_COMPANIONS = (  # in the order of what they show of others at a section: flow and mixing, then biology
    "water_level",
    "discharge",
    "conductivity",
    "water_temperature",
    "dissolved_oxygen",
    "ph",
    "turbidity",
    "ammonia_nitrogen",
)
NOT_FORECAST = ("rainfall",)  # its own past shows next to nothing of the rain to come


class Grid(NamedTuple):
    """Regular ticks of a history.

    Attributes
    ----------
    begin_s : start of the first tick, a local midnight [Unix s]
    tick_s : length of a tick [s]
    values : (n_ticks, n) mean of the good readings in each tick, a column per series; NaN without any
    n_readings : good readings of the first series

    """

    begin_s: float
    tick_s: int
    values: Floats
    n_readings: int


def is_traffic(series: Series) -> bool:
    """Whether a series is forecast by the plan of traffic: for an hour, with neighbours along the road."""
    return QUANTITIES[series.quantity].domain == "traffic"


def tick_of(series: Series) -> int | None:
    """Return the tick of a series' forecast [s]; None where its readings are too rare."""
    ticks_s = ROAD_TICKS_S if is_traffic(series) else WATER_TICKS_S
    return next((one for one in ticks_s if series.interval_s <= one), None)


def plan_of(series: Series, tick_s: int, history_days: int) -> ForecastPlan:
    """Return the plan of a series with a history of some days, of which the last ones are for validation."""
    first, last = ROAD_VALIDATION_DAYS if is_traffic(series) else WATER_VALIDATION_DAYS
    validation_days = min(max(int(VALIDATION_SHARE * history_days), first), last)
    day_ticks = DAY_S // tick_s
    if is_traffic(series):
        plan = forecast_plan.traffic_plan(tick_s)
        horizons = tuple(one for one in plan.horizons if one * tick_s <= ROAD_HORIZON_S)
        return plan._replace(horizons=horizons, validation_ticks=validation_days * day_ticks)
    if tick_s <= HOUR_S:
        plan = forecast_plan.water_plan(tick_s, validation_days=validation_days)
        return plan._replace(horizons=tuple(hours * HOUR_S // tick_s for hours in WATER_HORIZONS_H))
    return forecast_plan.water_plan(HOUR_S)._replace(
        day_ticks=day_ticks,
        horizons=tuple(range(1, day_ticks + 1)),
        own_lags=tuple(range(day_ticks + 1)),
        neighbour_lags=(0, 1, day_ticks // 2),
        validation_ticks=validation_days * day_ticks,
        profile_ticks=0,
    )


def needed_days(series: Series, tick_s: int) -> float:
    """Return the shortest history from which a series can be forecast [d]."""
    plan = plan_of(series, tick_s, 0)
    return plan.needed_ticks * tick_s / DAY_S


def companions(directory: Directory, series: Series) -> list[Series]:
    """Return other series from which a series is forecast, `MAX_COMPANIONS` at most.

    Of water, other quantities at the same site; of traffic, the same quantity at the next sites along the
    road, downstream first, from where congestion grows.

    Parameters
    ----------
    directory : of one area alone: who may read a series may read all of its area, so that a forecast contains
        nothing of what its reader may not see

    """
    same_site = {one.quantity: one for one in directory.series if one.site_id == series.site_id}
    same_site.pop(series.quantity, None)
    if not is_traffic(series):
        found = [same_site[one] for one in WATER_COMPANIONS if one in same_site]
        return found[:MAX_COMPANIONS]
    by_site = {one.site_id: one for one in directory.series if one.quantity == series.quantity}
    upstream = network_neighbours.upstream_sites(directory, by_site)
    downstream = network_neighbours.downstream_sites(upstream)
    next_sites = [*downstream.get(series.site_id, []), *upstream.get(series.site_id, [])]
    along = [by_site[one.site_id] for one in next_sites if one.network == "road"]
    others = [one for one in same_site.values() if is_traffic(one)]
    return [*along, *others][:MAX_COMPANIONS]


def midnight_before(time_s: float, zone: ZoneInfo, days: int) -> float:
    """Return the local midnight before a time, some days earlier [Unix s]."""
    local = datetime.fromtimestamp(time_s, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return (local - timedelta(days=days)).timestamp()


def read_grid(reader: Reader, series: list[Series], begin_s: float, n_ticks: int, tick_s: int) -> Grid:
    """Read the history of some series, (n_ticks, n). Raises as the store does."""
    values = np.full((n_ticks, len(series)), np.nan)
    n_readings = 0
    for column, one in enumerate(series):
        for bucket in reader.buckets(one.series_id, begin_s, begin_s + n_ticks * tick_s, tick_s):
            tick = int((bucket.time_s - begin_s) // tick_s)
            if bucket.mean is not None and 0 <= tick < n_ticks:
                values[tick, column] = bucket.mean
                n_readings += bucket.good if column == 0 else 0
    return Grid(begin_s, tick_s, values, n_readings)
