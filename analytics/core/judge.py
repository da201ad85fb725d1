"""Flags and scores a block of readings of many series and updates their events: checks, baseline, detectors.

The streaming state is a struct of arrays. With Numba one compiled loop processes a block; without it, NumPy
processes one tick at a time (at most one reading of each series), so that Python loops over the readings of
the longest series of a block and never over series. On either path the result does not depend on how a
history is split into blocks, to the bit. Between the two paths flags and events are the same, and
floating-point results agree to one part in 100,000 (tests/analytics/core/test_compiled.py).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analytics.core import events, numpy_judge
from analytics.core.compiled import constants
from analytics.core.parameters import Parameters
from analytics.core.state import SCALAR_COLUMN, State, aligned
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

VERSION = "14"
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
    series, time_s, value = (
        aligned(series, np.intp),
        aligned(time_s, np.float64),
        aligned(value, np.float64),
    )
    if parameters.needs_records:
        state.keep_records()
    use_compiled = constants.NUMBA_AVAILABLE if use_compiled is None else use_compiled
    if use_compiled:
        return judge_compiled(_load_kernel(), state, parameters, series, time_s, value)
    if error := _order_error(state, series, time_s):
        raise error
    return _judge_with_numpy(state, parameters, series, time_s, value)


def warm_up() -> None:
    """Load the kernel now rather than with the first readings; if it is not cached, a child compiles it."""
    default_parameters = Parameters.of(1)
    judge(State.empty(1), default_parameters, np.zeros(1, np.intp), np.zeros(1), np.zeros(1))


class _ReadingResults(NamedTuple):
    """Output arrays of a block of n readings; see `Judgement`.

    Attributes
    ----------
    quality, rules : (n,)
    estimates : (4, n) expected, spread, score, novelty

    """

    quality: Flags
    rules: NDArray[np.uint16]
    estimates: NDArray[np.float32]

    @classmethod
    def allocate(cls, n: int) -> _ReadingResults:
        """Allocate uninitialised arrays for n readings."""
        return cls(np.empty(n, np.uint8), np.empty(n, np.uint16), np.empty((4, n), np.float32))


class _KernelBuffers(threading.local):
    """Buffers of one thread for results of which there are few, with room for one row a reading.

    They are kept from block to block. Only rows that were filled once occupy memory.
    """

    def __init__(self) -> None:
        self.n_rows = 0
        self.arrays: tuple[Floats, Floats, Positions] = (
            np.empty((0, 4)),
            np.empty((0, 0)),
            np.empty(0, np.intp),
        )

    def of_rows(self, n: int) -> tuple[Floats, Floats, Positions]:
        """Return buffers ``revised``, ``closed`` and ``still_open`` of at least n rows."""
        if self.n_rows < n:
            self.n_rows = n
            self.arrays = (
                np.empty((n, 4)),
                np.empty((n, 1 + len(SCALAR_COLUMN))),
                np.empty(n, np.intp),
            )
        return self.arrays


_buffers = _KernelBuffers()


def judge_compiled(  # noqa: PLR0917 - the arguments of `judge`, and the kernel
    kernel: MachineCodeKernel | ModuleType,
    state: State,
    parameters: Parameters,
    series: Positions,
    time_s: Floats,
    value: Floats,
) -> Judgement:
    """Judge series by series with a compiled kernel; in parts, as each reading may close an event.

    Parameters
    ----------
    series, time_s, value : (n,) writable, aligned and in C order, which `judge` sees to

    Raises
    ------
    ValueError
        If the readings are not in order.

    """
    n, arrays = len(series), state.aligned_arrays()
    limits = (
        aligned(parameters.by_series, np.float64),
        aligned(parameters.seasonal, np.float64),
        aligned(parameters.seasonal_of, np.intp),
    )
    if n <= COMPILED_BLOCK_READINGS:
        return _assemble_judgement(state, *_judge_part(kernel, state, arrays, limits, series, time_s, value))
    # The kernel checks the order of its part; the state must be unchanged if it is wrong in a later one.
    if not kernel.is_in_order(series, time_s, state.last_time_s):
        raise _order_error(state, series, time_s) or ValueError("the readings are not in order")
    parts = [
        _judge_part(kernel, state, arrays, limits, series[at], time_s[at], value[at])
        for at in (
            slice(begin, begin + COMPILED_BLOCK_READINGS) for begin in range(0, n, COMPILED_BLOCK_READINGS)
        )
    ]
    all_results, revised, closed, _ = zip(*parts, strict=True)
    quality, rules, estimates = zip(*all_results, strict=True)
    return _assemble_judgement(
        state,
        _ReadingResults(np.concatenate(quality), np.concatenate(rules), np.concatenate(estimates, axis=1)),
        np.concatenate(revised),
        np.concatenate(closed),
        # The kernel lists those of its part, in which a series may not end.
        _series_with_open_event(state, series),
    )


def _judge_part(  # noqa: PLR0917 - called for each block: keywords take longer
    kernel: MachineCodeKernel | ModuleType,
    state: State,
    arrays: tuple[NDArray[Any], ...],
    limits: tuple[NDArray[Any], ...],
    series: Positions,
    time_s: Floats,
    value: Floats,
) -> tuple[_ReadingResults, Floats, Floats, Positions]:
    """Judge one part; return its results, revised readings, closed events and series with an open event."""
    results = _ReadingResults.allocate(len(series))
    revised, closed, still_open = _buffers.of_rows(len(series))
    n_revised, n_closed, n_open = kernel.judge_block(
        series, time_s, value, *limits, arrays, results, revised, closed, still_open
    )
    if n_revised < 0:
        raise _order_error(state, series, time_s) or ValueError("the readings are not in order")
    return results, revised[:n_revised].copy(), closed[:n_closed].copy(), still_open[:n_open].copy()


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
        results.estimates[:, at] = (
            tick_result.expected,
            tick_result.spread,
            tick_result.score,
            tick_result.novelty,
        )
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
    expected, spread, score, novelty = results.estimates
    return Judgement(results.quality, results.rules, expected, spread, score, novelty, *changed, block_events)


def _tick_positions(series: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Yield the positions of each series' first reading, then of each second one, and so on."""
    begins = np.flatnonzero(np.diff(series, prepend=-1))
    rank = np.arange(len(series)) - np.repeat(begins, np.diff(begins, append=len(series)))
    order = np.argsort(rank, kind="stable")
    bounds = np.searchsorted(rank[order], np.arange(rank.max(initial=-1) + 2))
    for begin, end in pairwise(bounds.tolist()):
        yield order[begin:end]


def _order_error(state: State, series: NDArray[np.intp], time_s: Floats) -> ValueError | None:
    """Return the error of the first reading that is not in order; None if all are."""
    if not len(series):
        return None
    same = series[1:] == series[:-1]
    is_out_of_order = (series[1:] < series[:-1]) | (same & ~(time_s[1:] > time_s[:-1]))
    for i in np.flatnonzero(is_out_of_order)[:1]:
        return ValueError(
            f"reading {i + 1} (series {series[i + 1]}) is not later than the one before: sort by series, time"
        )
    if series[0] < 0 or series[-1] >= len(state):
        return ValueError(
            f"series {series[0]} to {series[-1]} are not all among the {len(state)} of the state"
        )
    first = np.concatenate([[True], ~same])
    for i in np.flatnonzero(first & ~(time_s > state.last_time_s[series]))[:1]:
        return ValueError(f"reading {i} (series {series[i]}) is not later than its series was judged up to")
    return None
