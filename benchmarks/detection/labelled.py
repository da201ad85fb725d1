"""Defines labelled series and families of them, and how labels become events."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DATA = Path(os.environ.get("TOWNTWIN_DATA", Path(__file__).parents[3] / "shared/data"))
MONTH_S, DAY_S = 30 * 86_400.0, 86_400.0
EVENT_GAP_S = 6 * 3_600.0  # labels of one kind closer than this are one event
SMALLEST_STEP, RESOLUTION_QUANTILE = 1e-12, 0.01
NONE = np.empty((0, 2))


class LabelledSeries(NamedTuple):
    """One series and what is known of it.

    Attributes
    ----------
    name, site, quantity : ``quantity`` is the name in towntwin's registry, or the recording's own
    time_s, value : (n,) ascending and distinct times [s], values (NaN where missing)
    interval_s : usual time between readings [s]
    resolution : the 1 % quantile of its steps that are not 0, in units of the value
    events : (n_events, 2) start and end of each labelled event, ends included [s]
    kinds : (n_events,) kind of each event
    neutral : (n_stretches, 2) where an alarm is neither right nor false [s]

    """

    name: str
    site: str
    quantity: str
    time_s: Floats
    value: Floats
    interval_s: float
    resolution: float
    events: Floats
    kinds: NDArray[np.str_]
    neutral: Floats


class Family(NamedTuple):
    """Series of one origin.

    Attributes
    ----------
    name, series : the series of one site are next to each other
    is_water : whether it counts in the mean over the water families
    origin : families of one origin are left out together; by default the name
    labels_of_sites : the labels belong to whole sites: the alarms of all series of a site are scored as one

    """

    name: str
    series: list[LabelledSeries]
    is_water: bool
    origin: str = ""
    labels_of_sites: bool = False

    @property
    def months(self) -> float:
        """Return the series-months from the first to the last reading of each series, neutral ones apart."""
        lasted_s = (
            float(one.time_s[-1] - one.time_s[0] - np.diff(one.neutral, axis=1).sum()) for one in self.series
        )
        return sum(lasted_s) / MONTH_S

    @property
    def n_events(self) -> int:
        """Return the number of labelled events, of sites if the labels are theirs."""
        return sum(len(one.events) for one, _ in self.units())

    def units(self) -> list[tuple[LabelledSeries, list[int]]]:
        """Return what is scored as one: each series, or each site; with the numbers of the series in it."""
        if not self.labels_of_sites:
            return [(one, [number]) for number, one in enumerate(self.series)]
        numbers: dict[str, list[int]] = {}
        for number, one in enumerate(self.series):
            numbers.setdefault(one.site, []).append(number)
        return [(self.series[group[0]], group) for group in numbers.values()]

    def context(self, series: LabelledSeries) -> list[LabelledSeries]:
        """Return the other series of the same site."""
        return [one for one in self.series if one.site == series.site and one is not series]


def resolution_of(value: Floats) -> float:
    """Return the 1 % quantile of the steps that are not 0; 1e-9 for a constant series."""
    size = np.abs(np.diff(value[np.isfinite(value)]))
    size = size[size > SMALLEST_STEP]
    return float(np.quantile(size, RESOLUTION_QUANTILE)) if len(size) else 1e-9


def spans(time_s: Floats, flagged: NDArray[np.bool_], gap_s: float) -> Floats:
    """Return first and last time (n, 2) of the runs of flagged readings, those up to ``gap_s`` apart joined.

    Adjacent readings are one run whatever their distance.
    """
    at = np.flatnonzero(flagged)
    if not len(at):
        return np.empty((0, 2))
    begins = np.flatnonzero(np.append(True, (np.diff(time_s[at]) > gap_s) & (np.diff(at) > 1)))
    ends = np.append(begins[1:], len(at)) - 1
    return np.column_stack([time_s[at[begins]], time_s[at[ends]]])


def in_spans(time_s: Floats, spans_s: Floats) -> NDArray[np.bool_]:
    """Return whether each time lies in one of the time spans (n, 2), ends included."""
    return overlaps(np.column_stack([time_s, time_s]), spans_s)


def overlaps(spans_s: Floats, others: Floats) -> NDArray[np.bool_]:
    """Return whether each time span (n, 2) overlaps any of the others, ends included."""
    begun = np.searchsorted(np.sort(others[:, 0]), spans_s[:, 1], side="right")
    ended = np.searchsorted(np.sort(others[:, 1]), spans_s[:, 0], side="left")
    return np.asarray(begun > ended)
