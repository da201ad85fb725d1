"""Extracts events from score time series on a grid of ticks, by the rules of `analytics.core.events`.

An event opens at once above ``strong``, or where three of the last six ticks are above ``weak``, then
starting at the first of them; scores above ``close`` extend it, and it ends after ``gap`` ticks without any.
The whole time range is given at once, but whether an event is open at a tick depends on that tick and earlier
ones alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.events import EVIDENCE_READINGS, MIN_WEAK_READINGS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class ScoreEvents(NamedTuple):
    """Events, ``(n_events,)`` each, sorted by track and begin.

    Attributes
    ----------
    track : column of the scores
    begin, end : first and last anomalous tick
    peak : tick of the largest score
    is_open : whether it is still open at the last tick

    """

    track: NDArray[np.intp]
    begin: NDArray[np.intp]
    end: NDArray[np.intp]
    peak: NDArray[np.intp]
    is_open: NDArray[np.bool_]


def find_score_events(
    score: Floats,
    *,
    weak: float,
    strong: float,
    close: float,
    gap: int | NDArray[np.intp],
    open_since: NDArray[np.intp] | None = None,
) -> ScoreEvents:
    """Return the events of some tracks.

    Parameters
    ----------
    score : (n_ticks, n_tracks), −log10 of a false-alarm probability; NaN was not judged and ends no event
    weak, strong, close : limits of the score; close ≤ weak ≤ strong
    gap : number of judged ticks without a score above ``close`` that ends an event; of all tracks, or (n_tracks,)
    open_since : (n_tracks,) tick at which an event that began earlier is open, −1 where there is none

    Raises
    ------
    ValueError
        If the limits are not in this order.

    Examples
    --------
    >>> scores = np.array([[0.0], [9], [3], [0], [0]])
    >>> event_rows = find_score_events(scores, weak=5, strong=8, close=2, gap=2)
    >>> event_rows.begin.tolist(), event_rows.end.tolist(), event_rows.is_open.tolist()
    ([1], [2], [False])

    """
    if not close <= weak <= strong:
        raise ValueError(f"limits must rise: close {close:g}, weak {weak:g}, strong {strong:g}")
    ticks, tracks = score.shape
    judged, known_score = ~np.isnan(score), np.nan_to_num(score, nan=0.0)
    is_weak, is_continuing = known_score > weak, known_score > close
    last, peak, quiet_ticks = (np.full(tracks, -1) for _ in range(3))
    begin = np.full(tracks, -1)
    open_since = begin.copy() if open_since is None else open_since
    event_rows: list[NDArray[np.intp]] = []
    for tick in range(ticks):  # over time; all tracks at once
        resumes = open_since == tick
        begin, last, peak, quiet_ticks = (
            np.where(resumes, after, before)
            for before, after in ((begin, tick), (last, tick), (peak, tick), (quiet_ticks, 0))
        )
        recent = is_weak[max(0, tick + 1 - EVIDENCE_READINGS) : tick + 1]
        opens = (begin < 0) & ((recent.sum(axis=0) >= MIN_WEAK_READINGS) | (known_score[tick] > strong))
        first = np.where(recent.any(axis=0), tick + 1 - len(recent) + recent.argmax(axis=0), tick)
        begin = np.where(opens, np.maximum(first, last + 1), begin)
        peak = np.where(opens, tick, peak)
        is_open = begin >= 0
        is_extended = is_open & (is_continuing[tick] | opens)
        last, quiet_ticks = (
            np.where(is_extended, tick, last),
            np.where(is_extended, 0, quiet_ticks + judged[tick]),
        )
        peak = np.where(is_open & (known_score[tick] > known_score[peak, np.arange(tracks)]), tick, peak)
        ended = np.flatnonzero(is_open & (quiet_ticks >= gap))
        event_rows += [np.array([one, begin[one], last[one], peak[one], 0]) for one in ended]
        begin[ended] = -1
    event_rows += [np.array([one, begin[one], last[one], peak[one], 1]) for one in np.flatnonzero(begin >= 0)]
    rows = np.array(event_rows, np.intp).reshape(-1, 5)
    track, begin, end, peak, is_open = rows[np.lexsort((rows[:, 1], rows[:, 0]))].T
    return ScoreEvents(track, begin, end, peak, is_open > 0)
