"""Computes features of a site's event (shape, rise, rain, neighbours) for `analytics.core.cause_patterns`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analytics.core.cause_patterns import NEAR_ZERO_SHARE, EventFeatures
from analytics.core.tick import LARGEST_USABLE_VALUE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

MAX_TICKS_BEFORE = 36  # ticks before an event in which a departure may have begun
STEP_TICKS = 6  # ticks within which a step must happen (half an hour)
RAIN_TICKS = 144  # ticks for which rain affects the river (12 h)
SLOWER_TRAVEL, FASTER_TRAVEL = 1.4, 0.8  # factors on a travel time, see `analytics.twin.upstream_trace`


@dataclass(frozen=True, slots=True)
class SiteSignals:
    """Signals of the sites over a time range, (n_ticks, n_sites, n_quantities) unless stated otherwise.

    Attributes
    ----------
    signed : scores with the sign of the departure, 0 where unknown
    departure : smoothed residuals, canonical unit (spreads differ by the hour), NaN where unknown
    value, expected : canonical unit, NaN where unknown
    flat : bool, whether the reading failed the flat-line check
    saturation : oxygen saturation [share], (n_ticks, n_sites), NaN where unknown
    rain_mm : rain in each tick, (n_ticks, n_sites) [mm]

    """

    signed: Floats
    departure: Floats
    value: Floats
    expected: Floats
    flat: Bools
    saturation: Floats
    rain_mm: Floats


class LaggedSite(NamedTuple):
    """A neighbouring site and its lag: by how many ticks it leads the event's site; negative downstream."""

    site: int
    lag: int


class EventWindow(NamedTuple):
    """An event's site, first and last tick (inclusive), and the neighbours upstream and downstream."""

    site: int
    begin: int
    end: int
    above: tuple[LaggedSite, ...] = ()
    below: tuple[LaggedSite, ...] = ()


def event_features(signals: SiteSignals, events: Sequence[EventWindow]) -> EventFeatures:
    """Return the features of events; no tick after an event's end is used."""
    feature_rows = [_features_of_event(signals, event) for event in events]
    if feature_rows:
        return EventFeatures(*(np.array(column) for column in zip(*feature_rows, strict=True)))
    columns = signals.signed.shape[2]
    floats, bools = np.zeros((0, columns)), np.zeros((0, columns), np.bool_)
    none = np.zeros(0)
    return EventFeatures(
        floats, floats, floats, bools, bools, none, floats, floats, none, none.astype(np.intp)
    )


def neighbour_score(signed: Floats, event: EventWindow, neighbour: LaggedSite) -> Floats:
    """Return the mean signed score of a neighbour, shifted by its lag, (n_quantities,); 0 where unknown.

    Of several travel times the one with the largest score counts, as velocities are uncertain.
    """
    best = np.zeros(signed.shape[2])
    for lag in sorted({round(neighbour.lag * share) for share in (FASTER_TRAVEL, 1.0, SLOWER_TRAVEL)}):
        begin, end = max(0, event.begin - lag), min(len(signed), event.end + 1 - lag)
        if 0 <= begin < end:
            mean = signed[begin:end, neighbour.site].mean(axis=0)
            best = np.where(np.abs(mean) > np.abs(best), mean, best)
    return best


def departure_start(signed: Floats, event: EventWindow, min_score: float) -> NDArray[np.intp]:
    """Return the first tick at which each quantity departed in its direction of the event, (n_quantities,).

    That is, with a score of ``min_score`` or more; −1 where it never did.
    """
    first = max(0, event.begin - MAX_TICKS_BEFORE)
    window = signed[first : event.end + 1, event.site]
    off = window * np.sign(signed[event.begin : event.end + 1, event.site].mean(axis=0)) >= min_score
    return np.where(off.any(axis=0), first + off.argmax(axis=0), -1)


def _features_of_event(signals: SiteSignals, event: EventWindow) -> tuple[Any, ...]:
    site, event_ticks = event.site, slice(event.begin, event.end + 1)
    rise, stays = _rise_and_remainder(
        signals.departure[max(0, event.begin - MAX_TICKS_BEFORE) : event.end + 1, site]
    )
    value, expected = signals.value[event_ticks, site], signals.expected[event_ticks, site]
    is_near_zero = np.abs(value) < NEAR_ZERO_SHARE * np.abs(expected)
    columns = signals.signed.shape[2]
    rain = signals.rain_mm[max(0, event.end + 1 - RAIN_TICKS) : event.end + 1, site]
    return (
        signals.signed[event_ticks, site].mean(axis=0),
        rise,
        stays,
        signals.flat[event_ticks, site].any(axis=0),
        is_near_zero.mean(axis=0) > 0.5,
        _last_known(signals.saturation[event_ticks, site]),
        _largest_magnitude_by_column(
            [neighbour_score(signals.signed, event, one) for one in event.above], columns
        ),
        _largest_magnitude_by_column(
            [neighbour_score(signals.signed, event, one) for one in event.below], columns
        ),
        float(np.nansum(rain)),
        event.end + 1 - event.begin,
    )


def _rise_and_remainder(departure: Floats) -> tuple[Floats, Floats]:
    """Return the largest change within `STEP_TICKS` up to the peak and the final departure, over the peak."""
    filled = np.clip(np.nan_to_num(departure), -LARGEST_USABLE_VALUE, LARGEST_USABLE_VALUE)
    peak = np.abs(filled).argmax(axis=0)
    peak_magnitude = np.maximum(np.abs(filled).max(axis=0), 1e-9)
    padded = np.concatenate([np.repeat(filled[:1], STEP_TICKS, axis=0), filled])
    change = np.abs(padded[STEP_TICKS:] - padded[:-STEP_TICKS])
    change = np.where(np.arange(len(filled))[:, None] <= peak, change, 0.0)
    return change.max(axis=0) / peak_magnitude, np.abs(filled[-STEP_TICKS:]).mean(axis=0) / peak_magnitude


def _largest_magnitude_by_column(feature_rows: list[Floats], columns: int) -> Floats:
    """Return the element of largest magnitude in each column, (columns,); zeros without rows."""
    if not feature_rows:
        return np.zeros(columns)
    rows = np.stack(feature_rows)
    farthest: Floats = np.take_along_axis(rows, np.abs(rows).argmax(axis=0)[None], axis=0)[0]
    return farthest


def _last_known(x: Floats) -> float:
    filled = x[~np.isnan(x)]
    return float(filled[-1]) if len(filled) else float("nan")
