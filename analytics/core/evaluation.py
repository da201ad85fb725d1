"""Scores detections against labels, by event and by reading.

Nothing here is adjusted in the detector's favour: one flagged reading of a window does not make the others
found, and a window counts once however many events met it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


class EventMatch(NamedTuple):
    """Events against windows.

    Attributes
    ----------
    hits : windows that some event met
    missed : windows that none did
    false : events that met no window
    delay_s : (n_windows,) from a window's start to the first event in it, 0 where one was open by then;
        NaN where the window was missed [s]

    """

    hits: int
    missed: int
    false: int
    delay_s: Floats


class PointwiseScores(NamedTuple):
    """Readings against the truth, as shares; NaN where nothing divides.

    Attributes
    ----------
    precision, recall, f1 : of the readings that are off
    far : false-alarm rate, the share of good readings that were flagged
    mar : missed-alarm rate, the share of the readings that are off that were not

    """

    precision: float
    recall: float
    f1: float
    far: float
    mar: float


def events_against_windows(
    start_s: ArrayLike, end_s: ArrayLike, window_start_s: ArrayLike, window_end_s: ArrayLike
) -> EventMatch:
    """Which windows were met by an event, and which events met none; both ends belong to each.

    Parameters
    ----------
    start_s, end_s : (n_events,) in any order; an end that is NaN is still open [s]
    window_start_s, window_end_s : (n_windows,) in any order, may overlap [s]

    Raises
    ------
    ValueError
        Where one ends before it starts.

    Examples
    --------
    >>> events_against_windows([10, 50], [12, 60], [9, 30], [20, 40])
    EventMatch(hits=1, missed=1, false=1, delay_s=array([ 1., nan]))

    """
    start, end = _checked_spans(start_s, end_s, "event")
    window_start, window_end = _checked_spans(window_start_s, window_end_s, "window")
    starts, ends = np.sort(start), np.sort(end)
    is_met = _overlaps_any(window_start, window_end, starts, ends)
    is_open_at_start = _overlaps_any(window_start, window_start, starts, ends)
    first = np.append(starts, np.nan)[np.searchsorted(starts, window_start)]
    delay_s = np.where(is_open_at_start, 0.0, np.where(is_met, first - window_start, np.nan))
    meets_window = _overlaps_any(start, end, np.sort(window_start), np.sort(window_end))
    return EventMatch(int(is_met.sum()), int((~is_met).sum()), int((~meets_window).sum()), delay_s)


def in_any_window(time_s: ArrayLike, window_start_s: ArrayLike, window_end_s: ArrayLike) -> NDArray[np.bool_]:
    """Which moments, ``(n,)`` [s], lie in some window; both ends belong to it.

    Raises
    ------
    ValueError
        Where a window ends before it starts.

    """
    start, end = _checked_spans(window_start_s, window_end_s, "window")
    times = np.asarray(time_s, np.float64)
    return _overlaps_any(times, times, np.sort(start), np.sort(end))


def pointwise(truth: ArrayLike, flagged: ArrayLike) -> PointwiseScores:
    """Compare reading by reading, ``(n,)`` bool each: whether it is off, and whether it was flagged.

    Raises
    ------
    ValueError
        Where there are more of one than of the other.

    Examples
    --------
    >>> pointwise([True, True, False, False], [True, False, True, False])
    PointwiseScores(precision=0.5, recall=0.5, f1=0.5, far=0.5, mar=0.5)

    """
    is_off, flagged_mask = np.asarray(truth, np.bool_), np.asarray(flagged, np.bool_)
    if is_off.shape != flagged_mask.shape:
        raise ValueError(
            f"the truth of {is_off.size} readings against flags of {flagged_mask.size}: give one of each"
        )
    true, false = int((is_off & flagged_mask).sum()), int((~is_off & flagged_mask).sum())
    n_off, n_good = int(is_off.sum()), int((~is_off).sum())
    recall, precision = ratio(true, n_off), ratio(true, true + false)
    return PointwiseScores(
        precision, recall, f1(precision, recall), ratio(false, n_good), ratio(n_off - true, n_off)
    )


def f1(precision: float, recall: float) -> float:
    """Harmonic mean of precision and recall; 0 where nothing was right, NaN where nothing could be."""
    if math.isnan(recall):
        return math.nan
    flagged_mask = 0.0 if math.isnan(precision) else precision
    return 2 * flagged_mask * recall / (flagged_mask + recall) if flagged_mask + recall > 0 else 0.0


def ratio(part: int, total: int) -> float:
    """``part / whole``; NaN of nothing."""
    return part / total if total else math.nan


def _overlaps_any(start: Floats, end: Floats, starts: Floats, ends: Floats) -> NDArray[np.bool_]:
    """Which spans meet one of the others: more of those have begun by its end than ended before its start.

    ``starts`` and ``ends`` of the others are each in ascending order.
    """
    begun_by_end = np.searchsorted(starts, end, side="right")
    ended_before_start = np.searchsorted(ends, start, side="left")
    return begun_by_end > ended_before_start


def _checked_spans(start_s: ArrayLike, end_s: ArrayLike, what: str) -> tuple[Floats, Floats]:
    start, end = np.atleast_1d(np.asarray(start_s, np.float64)), np.atleast_1d(np.asarray(end_s, np.float64))
    end = np.where(np.isnan(end), np.inf, end)
    for i in np.flatnonzero(~(start <= end))[:1]:
        raise ValueError(f"{what} {i} ends at {end[i]:.0f} s, before it starts at {start[i]:.0f} s")
    return start, end
