"""The whole judging stack over all series at once: checks, baseline, residual, events.

Streaming state is a struct of arrays indexed by series; one tick judges every series that has a
reading in it. Feeding a history tick by tick, in blocks or whole gives the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

VERSION = "1"


@dataclass(frozen=True, slots=True)
class Parameters:
    """Limits per series, each ``(n_series,) float64`` in the series' canonical unit."""

    # fields: see the core's design; built by `Parameters.of(n, **overrides)` with defaults that judge nothing

    def grown(self, other: Self) -> Self:
        """These series followed by those of another."""
        raise NotImplementedError


@dataclass(slots=True)
class State:
    """Everything that the judge remembers; every array has series as its first axis."""

    @classmethod
    def empty(cls, n_series: int) -> Self:
        """Nothing seen yet."""
        raise NotImplementedError

    @property
    def last_time_s(self) -> NDArray[np.float64]:
        """(n_series,) measured time up to which each series is judged [s]; -inf before the first."""
        raise NotImplementedError

    def grown(self, n_series: int) -> Self:
        """The same state with more, untouched, series at the end."""
        raise NotImplementedError

    def taken(self, series: NDArray[np.intp]) -> Self:
        """A copy of some series' state."""
        raise NotImplementedError

    def put(self, series: NDArray[np.intp], other: Self) -> None:
        """Write back what `taken` gave."""
        raise NotImplementedError

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """Every array by name, for a checkpoint."""
        raise NotImplementedError

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """What `arrays` gave. Raises ValueError naming what is missing or of the wrong shape."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Events:
    """Anomalies opened, changed or closed by a block, ``(n_events,)`` each; unique by (series, start_s)."""

    series: NDArray[np.intp]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]  # NaN while open
    peak_s: NDArray[np.float64]
    observed: NDArray[np.float64]  # at the peak
    expected: NDArray[np.float64]  # at the peak; NaN where unknown
    spread: NDArray[np.float64]  # at the peak; NaN where unknown
    score: NDArray[np.float64]  # at the peak, in robust standard deviations
    rules: NDArray[np.uint16]  # all rules seen in the event
    rule: NDArray[np.uint16]  # the one rule that names the event
    severity: NDArray[np.uint8]  # 1 notice, 2 warning, 3 alarm
    n_readings: NDArray[np.int64]  # flagged readings in it


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judge says of a block, aligned with its input."""

    quality: NDArray[np.uint8]  # (n,) Flag
    rules: NDArray[np.uint16]  # (n,) Rule bits
    expected: NDArray[np.float32]  # (n,) NaN before the baseline can say
    spread: NDArray[np.float32]  # (n,)
    score: NDArray[np.float32]  # (n,) signed residual in spreads; NaN likewise
    revised_series: NDArray[np.intp]  # (m,) earlier readings whose flag this block's evidence changed
    revised_time_s: NDArray[np.float64]  # (m,)
    revised_quality: NDArray[np.uint8]  # (m,)
    revised_rules: NDArray[np.uint16]  # (m,)
    events: Events


def judge(
    state: State,
    parameters: Parameters,
    series: NDArray[np.intp],
    time_s: NDArray[np.float64],
    value: NDArray[np.float64],
) -> Judgement:
    """Judge a block and move ``state`` on, in place.

    series : (n,) index into state; sorted, and within a series by strictly increasing time,
        each later than ``state.last_time_s`` of its series
    time_s : (n,) measured, Unix seconds [s]
    value : (n,) canonical unit; NaN means missing

    Raises ValueError if the order does not hold.
    """
    raise NotImplementedError
