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
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]


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
    gap : number of judged ticks without a score above ``close`` that ends an event; one, or (n_tracks,)
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
    tracks = score.shape[1]
    judged_ticks = np.cumsum(~np.isnan(score), axis=0)
    known_score = np.nan_to_num(score, nan=0.0)
    opens, first = _openings(known_score > weak, known_score > strong)
    gaps = np.broadcast_to(gap, tracks)
    event_rows = [
        [track, *event]
        for track in range(tracks)
        for event in _events_of_track(
            known_score[:, track],
            judged_ticks[:, track],
            (np.flatnonzero(opens[:, track]), first[:, track], np.flatnonzero(known_score[:, track] > close)),
            gap=int(gaps[track]),
            open_since=-1 if open_since is None else int(open_since[track]),
        )
    ]
    track, begin, end, peak, is_open = np.array(event_rows, np.intp).reshape(-1, 5).T
    return ScoreEvents(track, begin, end, peak, is_open > 0)


def _openings(is_weak: NDArray[np.bool_], is_strong: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Ints]:
    """Return whether the last ticks up to each would open an event, and at which tick that would begin."""
    ticks = np.arange(len(is_weak))[:, None]
    weak_ticks, first = is_weak.astype(np.intp), np.where(is_weak, ticks, len(is_weak))
    for age in range(1, min(EVIDENCE_READINGS, len(is_weak))):
        weak_ticks[age:] += is_weak[:-age]
        first[age:] = np.where(is_weak[:-age], ticks[:-age], first[age:])
    return (weak_ticks >= MIN_WEAK_READINGS) | is_strong, np.minimum(first, ticks)


def _events_of_track(
    score: Floats, judged_ticks: Ints, evidence: tuple[Ints, Ints, Ints], *, gap: int, open_since: int
) -> Iterator[tuple[int, int, int, bool]]:
    """Yield begin, end, peak and whether it is open of each event of one track.

    Parameters
    ----------
    score : (n_ticks,) 0 where a tick was not judged
    judged_ticks : (n_ticks,) number of ticks judged up to each
    evidence : ticks that would open an event; the tick at which it would begin, for every tick; ticks that
        keep one open
    gap, open_since : as of `find_score_events`

    """
    opening, first, continuing = evidence
    next_tick, last = 0, -1
    while True:
        if open_since >= 0:
            start = begin = open_since
            open_since = -1
        else:
            position = int(np.searchsorted(opening, next_tick))
            if position == len(opening):
                return
            start = int(opening[position])
            begin = max(int(first[start]), last + 1)
        extended = np.append(start, continuing[np.searchsorted(continuing, start, side="right") :])
        is_break = judged_ticks[extended[1:] - 1] - judged_ticks[extended[:-1]] >= gap
        last = int(extended[int(is_break.argmax()) if is_break.any() else -1])
        ended = int(np.searchsorted(judged_ticks, judged_ticks[last] + gap))
        yield begin, last, start + int(score[start : ended + 1].argmax()), ended == len(score)
        if ended == len(score):
            return
        next_tick = ended + 1
