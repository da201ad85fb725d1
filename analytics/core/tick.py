"""Holds the input of one NumPy detection step: at most one reading each of some series, with their state."""

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
    """Readings and state of one tick, ``(k,)`` each.

    Attributes
    ----------
    state : of all series
    limits : of these k series
    series : index into the state
    time_s : measured time [s]
    value : canonical unit; NaN means missing
    present, usable : bool, whether there is a value, and one of at most `LARGEST_USABLE_VALUE`
    dt_s : time since the last value [s]; inf before the first
    rows : the scalars of these series by name, copies that are changed in place

    """

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
        """Build a tick with a copy of the scalars of its series."""
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
