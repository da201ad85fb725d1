"""Describes how the quantities of a site depart in an event, as input of `analytics.core.causes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analytics.core.causes import NOTHING_SHARE, Seen
from analytics.core.tick import LARGEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

BEFORE = 36  # ticks before an event in which a departure may have begun
STEP = 6  # ticks within which a step is one
RAIN_TICKS = 144  # that a rain is felt in the river
SLOWER, FASTER = 1.4, 0.8  # times a travel time, see `analytics.twin.trace`


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a stretch holds, (n_ticks, n_sites, n_quantities) unless said otherwise.

    Attributes
    ----------
    signed : scores with the sign of the departure, 0 where unknown
    departure : smoothed residuals, canonical unit (spreads differ by the hour), NaN where unknown
    value, expected : canonical unit, NaN where unknown
    flat : whether the reading was found to stand still
    saturation : of oxygen [share], (n_ticks, n_sites), NaN where unknown
    rain_mm : that fell in each tick, (n_ticks, n_sites) [mm]

    """

    signed: Floats
    departure: Floats
    value: Floats
    expected: Floats
    flat: Bools
    saturation: Floats
    rain_mm: Floats


class Neighbour(NamedTuple):
    """A site along the network, and how many ticks earlier it has what is here; negative below."""

    site: int
    lag: int


class Event(NamedTuple):
    """A site from one tick to another, both included, and the neighbours above and below it."""

    site: int
    begin: int
    end: int
    above: tuple[Neighbour, ...] = ()
    below: tuple[Neighbour, ...] = ()


def seen(stretch: Stretch, events: Sequence[Event]) -> Seen:
    """What is seen of some events; each looks at no tick after its end."""
    each = [_one(stretch, event) for event in events]
    if each:
        return Seen(*(np.array(column) for column in zip(*each, strict=True)))
    columns = stretch.signed.shape[2]
    floats, bools = np.zeros((0, columns)), np.zeros((0, columns), np.bool_)
    none = np.zeros(0)
    return Seen(floats, floats, floats, bools, bools, none, floats, floats, none, none.astype(np.intp))


def passed(signed: Floats, event: Event, neighbour: Neighbour) -> Floats:
    """(n_quantities,) mean score of a neighbour when it had what the event's site has; 0 where unknown.

    Of several travel times the one that says most counts, as velocities are not known well.
    """
    best = np.zeros(signed.shape[2])
    for lag in sorted({round(neighbour.lag * share) for share in (FASTER, 1.0, SLOWER)}):
        begin, end = max(0, event.begin - lag), min(len(signed), event.end + 1 - lag)
        if 0 <= begin < end:
            mean = signed[begin:end, neighbour.site].mean(axis=0)
            best = np.where(np.abs(mean) > np.abs(best), mean, best)
    return best


def since(signed: Floats, event: Event, least: float) -> NDArray[np.intp]:
    """(n_quantities,) the first tick from which each was off in its direction; −1 where it never was."""
    first = max(0, event.begin - BEFORE)
    window = signed[first : event.end + 1, event.site]
    off = window * np.sign(signed[event.begin : event.end + 1, event.site].mean(axis=0)) >= least
    return np.where(off.any(axis=0), first + off.argmax(axis=0), -1)


def _one(stretch: Stretch, event: Event) -> tuple[Any, ...]:
    site, inside = event.site, slice(event.begin, event.end + 1)
    rise, stays = _shape(stretch.departure[max(0, event.begin - BEFORE) : event.end + 1, site])
    value, expected = stretch.value[inside, site], stretch.expected[inside, site]
    nothing = np.abs(value) < NOTHING_SHARE * np.abs(expected)
    columns = stretch.signed.shape[2]
    rain = stretch.rain_mm[max(0, event.end + 1 - RAIN_TICKS) : event.end + 1, site]
    return (
        stretch.signed[inside, site].mean(axis=0),
        rise,
        stays,
        stretch.flat[inside, site].any(axis=0),
        nothing.mean(axis=0) > 0.5,
        _last(stretch.saturation[inside, site]),
        _largest([passed(stretch.signed, event, one) for one in event.above], columns),
        _largest([passed(stretch.signed, event, one) for one in event.below], columns),
        float(np.nansum(rain)),
        event.end + 1 - event.begin,
    )


def _shape(departure: Floats) -> tuple[Floats, Floats]:
    """Largest change within `STEP` ticks up to the peak, and what is left at the end; shares of the peak."""
    known = np.clip(np.nan_to_num(departure), -LARGEST, LARGEST)
    peak = np.abs(known).argmax(axis=0)
    height = np.maximum(np.abs(known).max(axis=0), 1e-9)
    padded = np.concatenate([np.repeat(known[:1], STEP, axis=0), known])
    change = np.abs(padded[STEP:] - padded[:-STEP])
    change = np.where(np.arange(len(known))[:, None] <= peak, change, 0.0)
    return change.max(axis=0) / height, np.abs(known[-STEP:]).mean(axis=0) / height


def _largest(each: list[Floats], columns: int) -> Floats:
    """The farthest from nothing of several rows, by column."""
    if not each:
        return np.zeros(columns)
    rows = np.stack(each)
    found: Floats = np.take_along_axis(rows, np.abs(rows).argmax(axis=0)[None], axis=0)[0]
    return found


def _last(x: Floats) -> float:
    known = x[~np.isnan(x)]
    return float(known[-1]) if len(known) else float("nan")
