"""Loads the readings of several series onto a common 5-minute time grid, as input of the site model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analytics.core.flags import Flag, Rule
from analytics.core.oxygen_solubility import oxygen_saturation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Series
    from ingest_service.storage.contract.store import Store

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

TICK_S = 300
TICKS_PER_H = 3600 // TICK_S
TICK_US = TICK_S * 1_000_000
READINGS_PER_PAGE = 200_000  # readings of a series in one query
MAX_HELD_TICKS = 7 * 24 * TICKS_PER_H  # a value is held for a week at most, however rarely it is measured
FAILED_CHECK_RULES = Rule.GROSS_RANGE | Rule.FLAT_LINE | Rule.ATTENUATED
RAIN, OXYGEN, TEMPERATURE = "rainfall", "dissolved_oxygen", "water_temperature"


@dataclass(frozen=True, slots=True)
class ReadingGrid:
    """Readings, ``(n_ticks, n_sites, n_quantities)`` unless stated otherwise; NaN means missing.

    A tick holds the last reading measured in it; a less frequent series holds its value for its interval.

    Attributes
    ----------
    first : number of the first tick since the epoch
    value, expected, spread : canonical unit
    good : whether there is a reading and it was not flagged
    failed, flat : whether it failed a check of its own series, or the flat-line check
    saturation : of oxygen [share], (n_ticks, n_sites)
    departure : residuals divided by the spread

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


def load_grid(
    store: Store,
    series: Sequence[Series],
    sites: Sequence[str],
    quantities: Sequence[str],
    *,
    ticks: tuple[int, int],
) -> ReadingGrid:
    """Read some series at ``ticks``, that is ``[first, last)`` since the epoch.

    Raises `StoreUnavailableError`.
    """
    first, last = ticks
    shape = (max(last - first, 0), len(sites), len(quantities))
    value, expected, spread = (np.full(shape, np.nan) for _ in range(3))
    rules, quality = np.zeros(shape, np.uint16), np.full(shape, Flag.MISSING, np.uint8)
    for one in series:
        hold_ticks = min(max(round(one.interval_s / TICK_S), 1), MAX_HELD_TICKS)
        rows = _last_reading_of_ticks(store, one.series_id, (max(first - hold_ticks, 0), last))
        tick, at = _hold_readings(rows["time_us"] // TICK_US - first, hold_ticks, shape[0])
        positions = (tick, sites.index(one.site_id), quantities.index(one.quantity))
        for name, column in (("value", value), ("expected", expected), ("spread", spread)):
            column[positions] = rows[name][at]
        rules[positions], quality[positions] = rows["rules"][at], rows["quality"][at]
    value[~np.isfinite(value)] = np.nan
    oxygen_saturation_share, departure = _departures(value, expected, spread, quantities)
    return ReadingGrid(
        first,
        value,
        expected,
        spread,
        good=quality <= Flag.NOT_EVALUATED,
        failed=(rules & FAILED_CHECK_RULES) > 0,
        flat=(rules & Rule.FLAT_LINE) > 0,
        saturation=oxygen_saturation_share,
        departure=departure,
    )


def _last_reading_of_ticks(store: Store, series_id: int, ticks: tuple[int, int]) -> NDArray[np.void]:
    """Return the last READING row of each tick of a series in ``[first, last)`` ticks; read in pages."""
    from_s, to_s = (float(tick * TICK_S) for tick in ticks)
    found = []
    while True:
        rows = store.readings(series_id, from_s, to_s, limit=READINGS_PER_PAGE)
        tick = rows["time_us"] // TICK_US
        found.append(rows[np.diff(tick, append=-1) != 0])
        if len(rows) < READINGS_PER_PAGE:
            return np.concatenate(found)
        from_s = (int(rows["time_us"][-1]) + 1) / 1e6


def _hold_readings(
    tick: NDArray[np.int64], hold_ticks: int, n: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the ticks with a value and the index of its reading: the last of the tick, or one held."""
    last = np.full(n + hold_ticks, -1, np.intp)
    inside = (tick >= -hold_ticks) & (tick < n)
    last[tick[inside] + hold_ticks] = np.flatnonzero(inside)
    positions = np.arange(n + hold_ticks)
    measured = np.maximum.accumulate(np.where(last >= 0, positions, -1))
    held = np.where((measured >= 0) & (positions - measured < hold_ticks), last[measured], -1)[hold_ticks:]
    found = np.flatnonzero(held >= 0)
    return found, held[found]


def _departures(
    value: Floats, expected: Floats, spread: Floats, quantities: Sequence[str]
) -> tuple[Floats, Floats]:
    """Return the oxygen saturation and the residuals in spreads; those of oxygen as shares of saturation.

    Water that is warmer than expected dissolves less oxygen, which is no departure of the oxygen.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        departure = (value - expected) / spread
    saturation = np.full(value.shape[:2], np.nan)
    if RAIN in quantities:
        departure[:, :, quantities.index(RAIN)] = np.nan
    if OXYGEN in quantities and TEMPERATURE in quantities:
        oxygen, temperature_column = quantities.index(OXYGEN), quantities.index(TEMPERATURE)
        capacity, expected_capacity = (
            oxygen_saturation(x[:, :, temperature_column]) for x in (value, expected)
        )
        saturation = value[:, :, oxygen] / capacity
        share = (saturation - expected[:, :, oxygen] / expected_capacity) / (
            spread[:, :, oxygen] / expected_capacity
        )
        departure[:, :, oxygen] = np.where(np.isnan(share), departure[:, :, oxygen], share)
    departure[~np.isfinite(departure)] = np.nan
    return saturation, departure
