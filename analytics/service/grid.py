"""Readings of several series on one grid of ticks, as input of the site model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analytics.core.covariates import oxygen_saturation
from analytics.core.flags import Flag, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ingest_service.storage.model import Series
    from ingest_service.storage.store import Store

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

TICK_S = 300
TICKS_PER_H = 3600 // TICK_S
TICK_US = TICK_S * 1_000_000
MOST_READINGS = 200_000  # of a series at once
MOST_HELD = 7 * 24 * TICKS_PER_H  # what is measured once a year says nothing of the year
FAILED = Rule.GROSS_RANGE | Rule.FLAT_LINE | Rule.ATTENUATED
RAIN, OXYGEN, TEMPERATURE = "rainfall", "dissolved_oxygen", "water_temperature"


@dataclass(frozen=True, slots=True)
class Grid:
    """Readings, ``(n_ticks, n_sites, n_quantities)`` unless said otherwise; NaN means missing.

    A tick holds the last reading that was measured in it; what is measured less often stays for its interval.

    Attributes
    ----------
    first : number of the first tick since the epoch
    value, expected, spread : canonical unit
    good : whether a reading is there and was not flagged
    failed, flat : whether it failed a check of its own, or stood still
    saturation : of oxygen [share], (n_ticks, n_sites)
    departure : residuals in spreads

    """

    first: int
    value: Floats
    expected: Floats
    spread: Floats
    good: Bools
    failed: Bools
    flat: Bools
    saturation: Floats
    departure: Floats


def load(
    store: Store,
    series: Sequence[Series],
    sites: Sequence[str],
    quantities: Sequence[str],
    *,
    ticks: tuple[int, int],
) -> Grid:
    """The readings of some series in ``[first, last)`` ticks since the epoch. Raises `StoreUnavailable`."""
    first, last = ticks
    shape = (max(last - first, 0), len(sites), len(quantities))
    value, expected, spread = (np.full(shape, np.nan) for _ in range(3))
    rules, quality = np.zeros(shape, np.uint16), np.full(shape, Flag.MISSING, np.uint8)
    for one in series:
        hold = min(max(round(one.interval_s / TICK_S), 1), MOST_HELD)
        rows = _newest_of_ticks(store, one.series_id, (max(first - hold, 0), last))
        tick, at = _held(rows["time_us"] // TICK_US - first, hold, shape[0])
        here = (tick, sites.index(one.site_id), quantities.index(one.quantity))
        for name, column in (("value", value), ("expected", expected), ("spread", spread)):
            column[here] = rows[name][at]
        rules[here], quality[here] = rows["rules"][at], rows["quality"][at]
    value[~np.isfinite(value)] = np.nan
    saturated, departure = _departures(value, expected, spread, quantities)
    return Grid(
        first,
        value,
        expected,
        spread,
        good=quality <= Flag.NOT_EVALUATED,
        failed=(rules & FAILED) > 0,
        flat=(rules & Rule.FLAT_LINE) > 0,
        saturation=saturated,
        departure=departure,
    )


def _newest_of_ticks(store: Store, series_id: int, ticks: tuple[int, int]) -> NDArray[np.void]:
    """READING rows of a series in ``[first, last)`` ticks, the last one of each tick; read in pieces."""
    from_s, to_s = (float(tick * TICK_S) for tick in ticks)
    found = []
    while True:
        rows = store.readings(series_id, from_s, to_s, limit=MOST_READINGS)
        tick = rows["time_us"] // TICK_US
        found.append(rows[np.diff(tick, append=-1) != 0])
        if len(rows) < MOST_READINGS:
            return np.concatenate(found)
        from_s = (int(rows["time_us"][-1]) + 1) / 1e6


def _held(tick: NDArray[np.int64], hold: int, n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Ticks with a reading, and its place; the last one of each tick, and held until the next."""
    last = np.full(n + hold, -1, np.intp)
    inside = (tick >= -hold) & (tick < n)
    last[tick[inside] + hold] = np.flatnonzero(inside)
    here = np.arange(n + hold)
    measured = np.maximum.accumulate(np.where(last >= 0, here, -1))
    held = np.where((measured >= 0) & (here - measured < hold), last[measured], -1)[hold:]
    found = np.flatnonzero(held >= 0)
    return found, held[found]


def _departures(
    value: Floats, expected: Floats, spread: Floats, quantities: Sequence[str]
) -> tuple[Floats, Floats]:
    """Saturation of oxygen, and residuals in spreads; those of oxygen as shares of saturation.

    Where the water is warmer than expected it holds less oxygen: that is no departure of the oxygen.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        departure = (value - expected) / spread
    saturation = np.full(value.shape[:2], np.nan)
    if RAIN in quantities:
        departure[:, :, quantities.index(RAIN)] = np.nan
    if OXYGEN in quantities and TEMPERATURE in quantities:
        oxygen, warm = quantities.index(OXYGEN), quantities.index(TEMPERATURE)
        holds, would_hold = (oxygen_saturation(x[:, :, warm]) for x in (value, expected))
        saturation = value[:, :, oxygen] / holds
        share = (saturation - expected[:, :, oxygen] / would_hold) / (spread[:, :, oxygen] / would_hold)
        departure[:, :, oxygen] = np.where(np.isnan(share), departure[:, :, oxygen], share)
    departure[~np.isfinite(departure)] = np.nan
    return saturation, departure
