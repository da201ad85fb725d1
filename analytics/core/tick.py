"""Input of one tick of the judge: at most one reading each of some series."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from analytics.core.state import SCALAR_COLUMN, State

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.core.parameters import Parameters

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

LARGEST_USABLE_VALUE = 1e30  # beyond it squares and profiles overflow; such a value fails any gross range


class Tick(NamedTuple):
    """What a tick works on, ``(k,)`` each; ``rows`` are these series' scalars by name, to be changed."""

    state: State
    limits: Parameters
    series: NDArray[np.intp]
    time_s: Floats
    value: Floats
    present: Bools
    usable: Bools
    dt_s: Floats
    rows: dict[str, Floats]

    @classmethod
    def of(
        cls, state: State, limits: Parameters, series: NDArray[np.intp], time_s: Floats, value: Floats
    ) -> Self:
        """A tick with a copy of the scalars of its series."""
        rows = dict(zip(SCALAR_COLUMN, np.ascontiguousarray(state.scalars[series].T), strict=True))
        present = ~np.isnan(value)
        dt_s = np.where(np.isnan(rows["time_1"]), np.inf, time_s - rows["time_1"])
        return cls(
            state,
            limits,
            series,
            time_s,
            value,
            present,
            present & (np.abs(value) <= LARGEST_USABLE_VALUE),
            dt_s,
            rows,
        )
