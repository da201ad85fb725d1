"""The whole judging stack over all series at once: checks, baseline, residual, shift, events.

Streaming state is a struct of arrays; one tick judges every series that has a reading in it, so Python loops
over the readings of the longest series of a block and never over series. Feeding a history tick by tick, in
blocks or whole gives the same answer, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from analytics.core import events, stack
from analytics.core.events import Events
from analytics.core.state import ROW, State
from analytics.core.tick import Tick

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from analytics.core.parameters import Parameters

    Floats = NDArray[np.float64]
    Flags = NDArray[np.uint8]

VERSION = "1"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judge says of a block, aligned with its input of n readings.

    Attributes
    ----------
    quality : (n,) `Flag`
    rules : (n,) `Rule` bits
    expected, spread : (n,) canonical unit; NaN before the baseline can say
    score : (n,) signed residual in spreads; NaN likewise
    revised_series, revised_time_s, revised_quality, revised_rules : (m,) earlier readings whose flag this
        block's evidence changed, in the order of the evidence; the last one of a reading counts
    events : opened, changed or closed

    """

    quality: Flags
    rules: NDArray[np.uint16]
    expected: NDArray[np.float32]
    spread: NDArray[np.float32]
    score: NDArray[np.float32]
    revised_series: NDArray[np.intp]
    revised_time_s: Floats
    revised_quality: Flags
    revised_rules: NDArray[np.uint16]
    events: Events


def judge(
    state: State,
    parameters: Parameters,
    series: NDArray[np.intp],
    time_s: NDArray[np.float64],
    value: NDArray[np.float64],
) -> Judgement:
    """Judge a block and move ``state`` on, in place.

    Parameters
    ----------
    state, parameters : of all series
    series : (n,) index into state; sorted, and within a series by strictly increasing time,
        each later than ``state.last_time_s`` of its series
    time_s : (n,) measured, Unix seconds [s]
    value : (n,) canonical unit; NaN means missing

    Raises
    ------
    ValueError
        If the order does not hold; the state is then untouched.

    """
    _check_order(state, series, time_s)
    block = _Block(len(series))
    for at in _ticks(series):
        here = series[at]
        said = stack.run(Tick.of(state, parameters.taken(here), here, time_s[at], value[at]))
        block.put(at, here, said)
    return block.judgement(state, np.unique(series))


class _Block:
    """What the ticks of a block fill."""

    def __init__(self, n: int) -> None:
        self.quality = np.zeros(n, np.uint8)
        self.rules = np.zeros(n, np.uint16)
        self.expected = np.full(n, np.nan, np.float32)
        self.spread = np.full(n, np.nan, np.float32)
        self.score = np.full(n, np.nan, np.float32)
        self.revised: list[tuple[NDArray[np.intp], Floats, Flags, NDArray[np.uint16]]] = []
        self.closed: list[Events] = []

    def put(self, at: NDArray[np.intp], series: NDArray[np.intp], said: stack.Said) -> None:
        """What a tick said of the readings at some places."""
        self.quality[at], self.rules[at] = said.quality, said.rules
        self.expected[at], self.spread[at], self.score[at] = said.expected, said.spread, said.score
        off = said.revised
        if off.any():
            self.revised.append(
                (series[off], said.revised_time_s[off], said.revised_quality[off], said.revised_rules[off])
            )
        if said.closed is not None:
            self.closed.append(said.closed)

    def judgement(self, state: State, touched: NDArray[np.intp]) -> Judgement:
        """The whole, with the events that are still open in the touched series."""
        still_open = touched[state.scalars[ROW["event"], touched] > 0]
        rows = {name: state.scalars[row, still_open] for name, row in ROW.items()}
        found = Events.joined([*self.closed, events.of_rows(rows, still_open, closed=False)])
        nothing = (np.empty(0, np.intp), np.empty(0), np.empty(0, np.uint8), np.empty(0, np.uint16))
        of, time_s, quality, rules = (np.concatenate(c) for c in zip(nothing, *self.revised, strict=True))
        columns = (self.quality, self.rules, self.expected, self.spread, self.score)
        return Judgement(*columns, of, time_s, quality, rules, found)


def _ticks(series: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """The places of each series' first reading, then of each second one, and so on."""
    begins = np.flatnonzero(np.diff(series, prepend=-1))
    rank = np.arange(len(series)) - np.repeat(begins, np.diff(begins, append=len(series)))
    order = np.argsort(rank, kind="stable")
    bounds = np.searchsorted(rank[order], np.arange(rank.max(initial=-1) + 2))
    for begin, end in pairwise(bounds.tolist()):
        yield order[begin:end]


def _check_order(state: State, series: NDArray[np.intp], time_s: Floats) -> None:
    if not len(series):
        return
    same = series[1:] == series[:-1]
    wrong = (series[1:] < series[:-1]) | (same & ~(time_s[1:] > time_s[:-1]))
    for i in np.flatnonzero(wrong)[:1]:
        raise ValueError(
            f"reading {i + 1} (series {series[i + 1]}) is not later than the one before: sort by series, time"
        )
    first = np.concatenate([[True], ~same])
    for i in np.flatnonzero(first & ~(time_s > state.last_time_s[series]))[:1]:
        raise ValueError(f"reading {i} (series {series[i]}) is not later than its series was judged up to")
