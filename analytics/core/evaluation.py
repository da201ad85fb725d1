"""Scores detections against labelled time windows: hits, misses and delays by event, F1 by reading.

There is no point adjustment in the detector's favour: one flagged reading of a window does not count the
others as detected, and a window counts once however many events overlap it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


class EventMatch(NamedTuple):
    """Agreement of events with labelled windows.

    Attributes
    ----------
    hits : windows that overlap an event
    missed : windows that overlap none
    false : events that overlap no window
    delay_s : (n_windows,) from a window's start to the first event in it [s]; 0 where one was already open,
        NaN where the window was missed

    """

    hits: int
    missed: int
    false: int
    delay_s: Floats


class PointwiseScores(NamedTuple):
    """Agreement of flags with the truth by reading, as shares; NaN where the denominator is 0.

    Attributes
    ----------
    precision, recall, f1 : of the anomalous readings
    far : false-alarm rate, the share of good readings that were flagged
    mar : missed-alarm rate, the share of anomalous readings that were not flagged

    """

    precision: float
    recall: float
    f1: float
    far: float
    mar: float


def match_events_to_windows(
    start_s: ArrayLike, end_s: ArrayLike, window_start_s: ArrayLike, window_end_s: ArrayLike
) -> EventMatch:
    """Count the windows that overlap an event and the events that overlap none; ends are inclusive.

    Parameters
    ----------
    start_s, end_s : (n_events,) in any order; an event whose end is NaN is still open [s]
    window_start_s, window_end_s : (n_windows,) in any order, may overlap [s]

    Raises
    ------
    ValueError
        If an event or a window ends before it starts.

    Examples
    --------
    >>> match_events_to_windows([10, 50], [12, 60], [9, 30], [20, 40])
    EventMatch(hits=1, missed=1, false=1, delay_s=array([ 1., nan]))

    """
    start, end = _checked_spans(start_s, end_s, "event")
    window_start, window_end = _checked_spans(window_start_s, window_end_s, "window")
    starts, ends = np.sort(start), np.sort(end)
    is_hit = _overlaps_any(window_start, window_end, starts, ends)
    is_open_at_start = _overlaps_any(window_start, window_start, starts, ends)
    first = np.append(starts, np.nan)[np.searchsorted(starts, window_start)]
    delay_s = np.where(is_open_at_start, 0.0, np.where(is_hit, first - window_start, np.nan))
    overlaps_window = _overlaps_any(start, end, np.sort(window_start), np.sort(window_end))
    return EventMatch(int(is_hit.sum()), int((~is_hit).sum()), int((~overlaps_window).sum()), delay_s)


def in_any_window(time_s: ArrayLike, window_start_s: ArrayLike, window_end_s: ArrayLike) -> NDArray[np.bool_]:
    """Return for each time, ``(n,)`` [s], whether it lies in any window; ends are inclusive.

    Raises
    ------
    ValueError
        If a window ends before it starts.

    """
    start, end = _checked_spans(window_start_s, window_end_s, "window")
    times = np.asarray(time_s, np.float64)
    return _overlaps_any(times, times, np.sort(start), np.sort(end))


def pointwise_scores(truth: ArrayLike, flagged: ArrayLike) -> PointwiseScores:
    """Return precision, recall, F1, false- and missed-alarm rates by reading.

    Parameters
    ----------
    truth : (n,) bool, whether a reading is anomalous
    flagged : (n,) bool, whether it was flagged

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> pointwise_scores([True, True, False, False], [True, False, True, False])
    PointwiseScores(precision=0.5, recall=0.5, f1=0.5, far=0.5, mar=0.5)

    """
    is_anomalous, flagged_mask = np.asarray(truth, np.bool_), np.asarray(flagged, np.bool_)
    if is_anomalous.shape != flagged_mask.shape:
        raise ValueError(
            f"the truth of {is_anomalous.size} readings against flags of {flagged_mask.size}: give one of "
            "each"
        )
    n_true, false = int((is_anomalous & flagged_mask).sum()), int((~is_anomalous & flagged_mask).sum())
    n_anomalous, n_good = int(is_anomalous.sum()), int((~is_anomalous).sum())
    recall, precision = ratio(n_true, n_anomalous), ratio(n_true, n_true + false)
    return PointwiseScores(
        precision,
        recall,
        f1(precision, recall),
        ratio(false, n_good),
        ratio(n_anomalous - n_true, n_anomalous),
    )


def f1(precision: float, recall: float) -> float:
    """Return the harmonic mean of precision and recall; 0 without any true positive, NaN if recall is NaN."""
    if math.isnan(recall):
        return math.nan
    precision = 0.0 if math.isnan(precision) else precision
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def ratio(part: int, total: int) -> float:
    """Return ``part / total``; NaN if the total is 0."""
    return part / total if total else math.nan


def _overlaps_any(start: Floats, end: Floats, starts: Floats, ends: Floats) -> NDArray[np.bool_]:
    """Return for each interval whether it overlaps any of the other intervals, (n,) bool.

    It does if more of the others have begun by its end than ended before its start. ``starts`` and ``ends``
    of the others are each in ascending order.
    """
    begun_by_end = np.searchsorted(starts, end, side="right")
    ended_before_start = np.searchsorted(ends, start, side="left")
    return begun_by_end > ended_before_start


def _checked_spans(start_s: ArrayLike, end_s: ArrayLike, kind: str) -> tuple[Floats, Floats]:
    start, end = np.atleast_1d(np.asarray(start_s, np.float64)), np.atleast_1d(np.asarray(end_s, np.float64))
    end = np.where(np.isnan(end), np.inf, end)
    for i in np.flatnonzero(~(start <= end))[:1]:
        raise ValueError(f"{kind} {i} ends at {end[i]:.0f} s, before it starts at {start[i]:.0f} s")
    return start, end
