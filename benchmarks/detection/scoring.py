"""Counts labelled events found at a fixed number of false alarms a series-month; one threshold for a family.

The rules, all of them:

1. A detector gives each series scored alarms (start, end, score). A score for each reading is the special
   case of an alarm a reading long; where there is nothing to report it is NaN.
2. The threshold is swept over all scores of all series of a family at once, from the largest down.
3. Alarms of one series that lie within ``max(1 h, 2.5 intervals)`` of each other are one alarm, which lasts
   from the first to the last of them, whatever lies between.
4. An alarm that overlaps a labelled event, ends included, finds that event. An alarm that overlaps none is
   false, unless it overlaps a neutral stretch (values that a technician removed or changed without a code,
   or a labelled gap). Labels of a whole site are compared with the alarms of all of its series together.
5. Series-months are the time from the first to the last reading of each series without its neutral
   stretches, in months of 30 days.
6. The working point of a budget is the lowest threshold, from above, before the false alarms first exceed it.
   (A search from below ends at a single alarm over all time, which finds everything without a false alarm.)
7. The delay of an event found is the time from its start to the first alarmed reading in it, plus the
   readings by which the detector is late; 0 if an alarm was already open.
8. The area is the mean recall over budgets of 0 to 2 false alarms a series-month.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from benchmarks.detection.labelled import in_spans, overlaps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from benchmarks.detection.labelled import Family, LabelledSeries

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

BUDGETS = (0.25, 0.5, 1.0, 2.0)
"""False alarms a series-month at which recall is reported."""
JOIN_S, JOIN_INTERVALS = 3_600.0, 2.5


class Alarms(NamedTuple):
    """Scored alarms ``(n,)`` of one series: start, end [s] and score; a larger score is more certain."""

    start_s: Floats
    end_s: Floats
    score: Floats


class Curve(NamedTuple):
    """Counts of a family at each distinct threshold ``(n,)``, from the largest down.

    Attributes
    ----------
    threshold : scores at or above it are alarms
    false : false alarms a series-month
    recall : share of the labelled events found

    """

    threshold: Floats
    false: Floats
    recall: Floats

    def position(self, budget: float) -> int:
        """Return the index of the working point of a budget; −1 if even the largest score exceeds it."""
        over = np.flatnonzero(self.false > budget)
        return int(over[0]) - 1 if len(over) else len(self.false) - 1

    def recall_at(self, budget: float) -> float:
        """Return the recall at the working point of a budget."""
        at = self.position(budget)
        return float(self.recall[at]) if at >= 0 else 0.0

    def threshold_at(self, budget: float) -> float:
        """Return the threshold of the working point of a budget; infinite if there is none."""
        at = self.position(budget)
        return float(self.threshold[at]) if at >= 0 else np.inf

    def area(self, largest: float = 2.0, steps: int = 40) -> float:
        """Return the mean recall over budgets from 0 to the largest."""
        return float(np.mean([self.recall_at(largest * (i + 0.5) / steps) for i in range(steps)]))


class WorkingPoint(NamedTuple):
    """What a threshold finds in a family.

    Attributes
    ----------
    recall, false : share of events found; false alarms a series-month
    by_kind : events found and events, by kind
    delay_s : median delay of the events found [s]
    alarms_per_event : alarms that overlap events, per event found

    """

    recall: float
    false: float
    by_kind: dict[str, tuple[int, int]]
    delay_s: float
    alarms_per_event: float


def as_alarms(series: LabelledSeries, scores: Floats | Alarms) -> Alarms:
    """Return alarms of scores by reading; NaN and −inf are no alarm.

    Raises
    ------
    ValueError
        If the number of scores is not that of the series' readings.

    """
    if isinstance(scores, Alarms):
        return scores
    if len(scores) != len(series.time_s):
        raise ValueError(f"{series.name}: {len(scores)} scores for {len(series.time_s)} readings")
    known = np.isfinite(scores)
    return Alarms(series.time_s[known], series.time_s[known], np.asarray(scores, np.float64)[known])


def unit_alarms(family: Family, scores: Sequence[Floats | Alarms]) -> Iterator[tuple[LabelledSeries, Alarms]]:
    """Yield what is scored as one, a series or a whole site, with the alarms of all of its series.

    Raises
    ------
    ValueError
        If there are not as many entries of ``scores`` as series.

    """
    if len(scores) != len(family.series):
        raise ValueError(f"{family.name}: scores of {len(scores)} series, but it has {len(family.series)}")
    for unit, numbers in family.units():
        alarms = [as_alarms(family.series[number], scores[number]) for number in numbers]
        yield unit, Alarms(*(np.concatenate(fields) for fields in zip(*alarms, strict=True)))


def sweep(family: Family, scores: Sequence[Floats | Alarms]) -> Curve:
    """Return the counts at every threshold of a family's alarms, one entry of ``scores`` a series.

    Raises
    ------
    ValueError
        If there are not as many entries as series.

    """
    layout = _Layout.of(family)
    firsts, lasts, levels = [], [], []
    for (one, alarms), offset in zip(unit_alarms(family, scores), layout.offset, strict=False):
        first, last = covered_readings(one.time_s, alarms)
        firsts.append(first + offset)
        lasts.append(last + offset)
        levels.append(alarms.score)
    first, last, level = np.concatenate(firsts), np.concatenate(lasts), np.concatenate(levels)
    order = np.argsort(-level, kind="stable")
    threshold, false, hits = _sweep(
        first[order], last[order], level[order], layout.time_s, layout.offset, layout.series_of,
        layout.join_s, layout.neutral, layout.event_pointer, layout.event_of,
    )  # fmt: skip
    return Curve(threshold, false / family.months, hits / max(layout.n_events, 1))


def working_point(
    family: Family, scores: Sequence[Floats | Alarms], threshold: float, late_readings: int = 0
) -> WorkingPoint:
    """Return what a threshold finds in a family."""
    false = overlapping = hits = events = 0
    by_kind: dict[str, tuple[int, int]] = {}
    delays: list[Floats] = []
    for one, alarms in unit_alarms(family, scores):
        spans = joined_spans(one, alarms, threshold)
        meets_event = overlaps(spans, one.events)
        false += int((~meets_event & ~overlaps(spans, one.neutral)).sum())
        overlapping += int(meets_event.sum())
        found = overlaps(one.events, spans)
        hits, events = hits + int(found.sum()), events + len(found)
        for kind in np.unique(one.kinds):
            is_kind = one.kinds == kind
            known = by_kind.get(str(kind), (0, 0))
            by_kind[str(kind)] = known[0] + int(found[is_kind].sum()), known[1] + int(is_kind.sum())
        if found.any():
            begin = np.append(spans[:, 0], np.inf)[
                np.searchsorted(spans[:, 1], one.events[found, 0], side="left")
            ]
            late_s = late_readings * one.interval_s
            delays.append(np.maximum(begin + late_s - one.events[found, 0], 0.0))
    return WorkingPoint(
        hits / max(events, 1),
        false / family.months,
        by_kind,
        float(np.median(np.concatenate(delays))) if delays else np.nan,
        overlapping / max(hits, 1),
    )


def joined_spans(series: LabelledSeries, alarms: Alarms, threshold: float) -> Floats:
    """Return start and end (n, 2) [s] of the alarms at or above a threshold, those close together joined."""
    chosen = alarms.score >= threshold
    order = np.argsort(alarms.start_s[chosen], kind="stable")
    start, end = alarms.start_s[chosen][order], np.maximum.accumulate(alarms.end_s[chosen][order])
    if not len(start):
        return np.empty((0, 2))
    begins = np.flatnonzero(np.append(True, start[1:] - end[:-1] > join_s(series.interval_s)))
    return np.column_stack([start[begins], end[np.append(begins[1:], len(start)) - 1]])


def join_s(interval_s: float) -> float:
    """Return the time between two alarms up to which they are one [s]."""
    return max(JOIN_S, JOIN_INTERVALS * interval_s)


def covered_readings(time_s: Floats, alarms: Alarms) -> tuple[Ints, Ints]:
    """Return first and last reading of each alarm; the next reading for an alarm that covers none."""
    first = np.minimum(np.searchsorted(time_s, alarms.start_s, side="left"), len(time_s) - 1)
    last = np.searchsorted(time_s, alarms.end_s, side="right") - 1
    return first, np.maximum(first, last)


class _Layout(NamedTuple):
    """The readings of a family one after the other, with the events that each lies in."""

    time_s: Floats
    offset: Ints
    series_of: Ints
    join_s: Floats
    neutral: NDArray[np.bool_]
    event_pointer: Ints
    event_of: Ints
    n_events: int

    @classmethod
    def of(cls, family: Family) -> _Layout:
        series = [one for one, _ in family.units()]
        counts = np.array([len(one.time_s) for one in series])
        offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        readings, events, n_events = [], [], 0
        for one, begin in zip(series, offset, strict=False):
            for number, (start, end) in enumerate(one.events):
                first, after = (
                    np.searchsorted(one.time_s, start),
                    np.searchsorted(one.time_s, end, side="right"),
                )
                readings.append(begin + np.arange(first, max(after, first + 1)))
                events.append(np.full(len(readings[-1]), n_events + number))
            n_events += len(one.events)
        reading = np.concatenate(readings) if readings else np.zeros(0, np.int64)
        event = np.concatenate(events) if events else np.zeros(0, np.int64)
        order = np.argsort(reading, kind="stable")
        pointer = np.searchsorted(reading[order], np.arange(offset[-1] + 1)).astype(np.int64)
        return cls(
            np.concatenate([one.time_s for one in series]),
            offset,
            np.repeat(np.arange(len(counts)), counts).astype(np.int64),
            np.array([join_s(one.interval_s) for one in series]),
            np.concatenate([in_spans(one.time_s, one.neutral) for one in series]),
            pointer,
            event[order].astype(np.int64),
            n_events,
        )


@njit(cache=True)
def _root(parent: Ints, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True)
def _sweep(  # noqa: C901, PLR0912, PLR0917 - one pass of a compiled loop
    first: Ints,
    last: Ints,
    level: Floats,
    time_s: Floats,
    offset: Ints,
    series_of: Ints,
    join: Floats,
    neutral: NDArray[np.bool_],
    event_pointer: Ints,
    event_of: Ints,
) -> tuple[Floats, Floats, Floats]:
    """Add alarms by falling score to a union of readings; return thresholds, false alarms and hits."""
    n = len(time_s)
    parent = np.full(n, -1, np.int64)  # −1: not alarmed
    excused = np.zeros(n, np.bool_)  # of a root: it overlaps an event or a neutral stretch
    hit = np.zeros(event_of.max() + 1 if len(event_of) else 0, np.bool_)
    false = hits = 0
    n_out = 0
    out = np.empty((3, len(level)))
    for number in range(len(level)):
        series = series_of[first[number]]
        gap, begin, end = join[series], offset[series], offset[series + 1]
        low, high = first[number], last[number]
        earlier = low - 1  # joined to an alarm a little earlier, and to one a little later
        while earlier >= begin and time_s[low] - time_s[earlier] <= gap:
            if parent[earlier] >= 0:
                low = earlier
                break
            earlier -= 1
        later = high + 1
        while later < end and time_s[later] - time_s[high] <= gap:
            if parent[later] >= 0:
                high = later
                break
            later += 1
        for i in range(low, high + 1):
            if parent[i] < 0:
                parent[i] = i
                excused[i] = neutral[i]
                for k in range(event_pointer[i], event_pointer[i + 1]):
                    excused[i] = True
                    if not hit[event_of[k]]:
                        hit[event_of[k]] = True
                        hits += 1
                if not excused[i]:
                    false += 1
            if i > low:
                a, b = _root(parent, i - 1), _root(parent, i)
                if a != b:
                    if not (excused[a] and excused[b]):
                        false -= 1  # two false alarms become one, or one becomes part of a true one
                    parent[b] = a
                    excused[a] = excused[a] or excused[b]
        if number + 1 == len(level) or level[number + 1] != level[number]:
            out[0, n_out], out[1, n_out], out[2, n_out] = level[number], false, hits
            n_out += 1
    return out[0, :n_out].copy(), out[1, :n_out].copy(), out[2, :n_out].copy()
