"""Flags and scores a block of readings of many series and updates their events: checks, baseline, detectors.

The streaming state is a struct of arrays. With Numba one compiled loop processes a block; without it, NumPy
processes one tick at a time (at most one reading of each series), so that Python loops over the readings of
the longest series of a block and never over series. On either path the result does not depend on how a
history is split into blocks, to the bit. Between the two paths flags and events are the same, and
floating-point results agree to one part in 100,000 (tests/analytics/core/test_compiled.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core import events, numpy_judge
from analytics.core.compiled import constants
from analytics.core.parameters import Parameters
from analytics.core.state import ALIGNED, SCALAR_COLUMN, State
from analytics.core.tick import Tick

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from numpy.typing import NDArray

    from analytics.core.compiled.machine_code import MachineCodeKernel
    from analytics.core.events import Events

    Floats = NDArray[np.float64]
    Flags = NDArray[np.uint8]
    Positions = NDArray[np.intp]

VERSION = "11"
# Readings per call of the compiled path: bounds its buffers for closed events to 50 MB.
COMPILED_BLOCK_READINGS = 100_000


@dataclass(frozen=True, slots=True)
class Judgement:
    """Result of judging a block, aligned with its input of n readings.

    Attributes
    ----------
    quality : (n,) `Flag`
    rules : (n,) `Rule` bits
    expected, spread : (n,) canonical unit; NaN until the series has warmed up
    score : (n,) 8 − log10 of the number of such readings expected a series-month, over all detectors: 8 is
        once a month, 9 once in ten months; NaN likewise
    novelty : (n,) excess over the range of earlier values, as a share of that range; NaN likewise
    revised_series, revised_time_s, revised_quality, revised_rules : (m,) earlier readings whose flag this
        block changed, sorted by series and time
    events : events opened, changed or closed, sorted by series and start

    """

    quality: Flags
    rules: NDArray[np.uint16]
    expected: NDArray[np.float32]
    spread: NDArray[np.float32]
    score: NDArray[np.float32]
    novelty: NDArray[np.float32]
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
    *,
    use_compiled: bool | None = None,
) -> Judgement:
    """Judge a block of readings and update ``state`` in place.

    Parameters
    ----------
    state, parameters : of all series
    series : (n,) index into state; sorted, and within a series by strictly increasing time,
        each later than ``state.last_time_s`` of its series
    time_s : (n,) measured, Unix seconds [s]
    value : (n,) canonical unit; NaN means missing
    use_compiled : whether to use the compiled path; by default where Numba is installed

    Raises
    ------
    ValueError
        If the readings are not in that order; the state is then unchanged.

    """
    # Machine code takes no others, such as those of a message of Dask or of one row of several columns, and
    # Numba would compile another version, which takes half a minute.
    series = np.require(series, np.intp, ALIGNED)
    time_s, value = (np.require(one, np.float64, ALIGNED) for one in (time_s, value))
    use_compiled = constants.NUMBA_AVAILABLE if use_compiled is None else use_compiled
    if use_compiled:
        state.align()
    if not (use_compiled and _load_kernel().is_in_order(series, time_s, state.last_time_s)):
        _check_order(state, series, time_s)
    if parameters.needs_records:
        state.keep_records()
    if use_compiled:
        return judge_compiled(_load_kernel(), state, parameters, series, time_s, value)
    return _judge_with_numpy(state, parameters, series, time_s, value)


def warm_up() -> None:
    """Load the kernel now rather than with the first readings; if it is not cached, a child compiles it."""
    default_parameters = Parameters.of(1)
    judge(State.empty(1), default_parameters, np.zeros(1, np.intp), np.zeros(1), np.zeros(1))


class _ReadingResults(NamedTuple):
    """Output arrays of a block, ``(n,)`` each; see `Judgement`."""

    quality: Flags
    rules: NDArray[np.uint16]
    expected: NDArray[np.float32]
    spread: NDArray[np.float32]
    score: NDArray[np.float32]
    novelty: NDArray[np.float32]

    @classmethod
    def allocate(cls, n: int) -> _ReadingResults:
        """Allocate uninitialised arrays for n readings."""
        return cls(np.empty(n, np.uint8), np.empty(n, np.uint16), *np.empty((4, n), np.float32))

    def part(self, at: slice) -> _ReadingResults:
        """Return views of a slice of the readings."""
        flags, estimates = (self.quality[at], self.rules[at]), (self.expected[at], self.spread[at])
        return _ReadingResults(*flags, *estimates, self.score[at], self.novelty[at])


def judge_compiled(  # noqa: PLR0917 - the arguments of `judge`, and the kernel
    kernel: MachineCodeKernel | ModuleType,
    state: State,
    parameters: Parameters,
    series: Positions,
    time_s: Floats,
    value: Floats,
) -> Judgement:
    """Judge series by series with a compiled kernel; in parts, as each reading may close an event.

    The readings are in order, and in writable arrays in C order, which `judge` sees to.
    """
    n, arrays = len(series), tuple(state.arrays().values())
    limits = tuple(
        np.require(one, requirements=ALIGNED)
        for one in (parameters.by_series, parameters.seasonal, parameters.seasonal_of)
    )
    results, buffer_rows = _ReadingResults.allocate(n), min(n, COMPILED_BLOCK_READINGS)
    revised, closed, still_open = (
        np.empty((buffer_rows, 4)),
        np.empty((buffer_rows, 1 + len(SCALAR_COLUMN))),
        np.empty(buffer_rows, np.intp),
    )
    all_revised, all_closed, n_open = [revised[:0]], [closed[:0]], 0
    for begin in range(0, n, COMPILED_BLOCK_READINGS):
        at = slice(begin, begin + COMPILED_BLOCK_READINGS)
        part_series, part = series[at], results.part(at)
        buffers = (revised[: len(part_series)], closed[: len(part_series)], still_open[: len(part_series)])
        n_revised, n_closed, n_open = kernel.judge_block(
            part_series,
            time_s[at],
            value[at],
            *limits,
            arrays,
            part,
            *buffers,
        )
        all_revised.append(revised[:n_revised].copy())
        all_closed.append(closed[:n_closed].copy())
    return _assemble_judgement(
        state,
        results,
        np.concatenate(all_revised),
        np.concatenate(all_closed),
        # The kernel lists those of its part, in which a series may not end.
        still_open[:n_open] if n <= COMPILED_BLOCK_READINGS else _series_with_open_event(state, series),
    )


@cache
def _load_kernel() -> MachineCodeKernel | ModuleType:
    """Load the compiled kernel on first use."""
    from analytics.core.compiled import kernel_cache  # noqa: PLC0415 - not where NumPy alone judges

    return kernel_cache.load_kernel()


def _judge_with_numpy(
    state: State, parameters: Parameters, series: Positions, time_s: Floats, value: Floats
) -> Judgement:
    """Judge all series at once with NumPy, tick by tick."""
    results = _ReadingResults.allocate(len(series))
    revised, closed = [np.empty((0, 4))], [events.NO_EVENT_ROWS]
    for at in _tick_positions(series):
        part_series = series[at]
        tick_result = numpy_judge.judge_tick(
            Tick.of(state, parameters.select_series(part_series), part_series, time_s[at], value[at])
        )
        results.quality[at], results.rules[at] = tick_result.quality, tick_result.rules
        results.expected[at], results.spread[at] = tick_result.expected, tick_result.spread
        results.score[at], results.novelty[at] = tick_result.score, tick_result.novelty
        columns = (
            part_series,
            tick_result.revised_time_s,
            tick_result.revised_quality,
            tick_result.revised_rules,
        )
        revised.append(np.stack(columns, axis=1, dtype=np.float64)[tick_result.revised])
        closed.append(tick_result.closed)
    changed = np.concatenate(revised)
    changed = changed[np.lexsort((changed[:, 1], changed[:, 0]))]
    return _assemble_judgement(
        state, results, changed, np.concatenate(closed), _series_with_open_event(state, series)
    )


def _series_with_open_event(state: State, series: Positions) -> Positions:
    """Return the series of a block that have an open event."""
    block_series = series[np.diff(series, prepend=-1) > 0]
    still_open: Positions = block_series[state.scalars[block_series, SCALAR_COLUMN["event"]] > 0]
    return still_open


def _assemble_judgement(
    state: State, results: _ReadingResults, revised: Floats, closed: Floats, still_open: Positions
) -> Judgement:
    """Build the result, including the events still open in the series of the block."""
    block_events = events.NO_EVENTS
    if len(closed) or len(still_open):
        block_events = events.events_from_rows(
            closed, np.column_stack([still_open, state.scalars[still_open]])
        )
    of, time_s, quality, rules = revised.T
    changed = (of.astype(np.intp), time_s.copy(), quality.astype(np.uint8), rules.astype(np.uint16))
    return Judgement(*results, *changed, block_events)


def _tick_positions(series: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Yield the positions of each series' first reading, then of each second one, and so on."""
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
    is_out_of_order = (series[1:] < series[:-1]) | (same & ~(time_s[1:] > time_s[:-1]))
    for i in np.flatnonzero(is_out_of_order)[:1]:
        raise ValueError(
            f"reading {i + 1} (series {series[i + 1]}) is not later than the one before: sort by series, time"
        )
    if series[0] < 0 or series[-1] >= len(state):
        raise ValueError(
            f"series {series[0]} to {series[-1]} are not all among the {len(state)} of the state"
        )
    first = np.concatenate([[True], ~same])
    for i in np.flatnonzero(first & ~(time_s > state.last_time_s[series]))[:1]:
        raise ValueError(f"reading {i} (series {series[i]}) is not later than its series was judged up to")
