"""What the judge remembers: a struct of arrays, with series as the last axis of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

BINS = 48  # of the daily profile: half-hours
BIN_S = 86_400.0 / BINS

# Scalars of a series and what they are before the first reading.
SCALARS: dict[str, float] = {
    "last_time": -np.inf,  # measured time up to which the series is judged [s]
    "first_time": np.nan,  # of the first value [s]
    "count": 0.0,  # values learned from
    "value_1": np.nan,  # the last value, and the one before it
    "value_2": np.nan,
    "time_1": np.nan,  # when they were measured [s]
    "quality_1": 0.0,  # the flag and the rules that the last value got
    "rules_1": 0.0,
    "flat_low": np.inf,  # the run of values within the tolerance, and its begin [s]
    "flat_high": -np.inf,
    "flat_since": np.nan,
    "level": 0.0,  # what is expected, less the daily profile
    "deviation": 0.0,  # mean absolute residual over all hours
    "mean_z": 0.0,  # EWMA of the clipped residual, in spreads
    "ring": 0.0,  # weak evidence in the last readings, as bits
    "ring_since": np.nan,  # the first of it [s]
    "event": 0.0,  # 1 while an event is open
    "event_start": np.nan,
    "event_last": np.nan,  # the newest flagged reading in it [s]
    "event_peak": np.nan,
    "event_observed": np.nan,
    "event_expected": np.nan,
    "event_spread": np.nan,
    "event_score": 0.0,
    "event_rules": 0.0,
    "event_count": 0.0,
}
ROW = {name: row for row, name in enumerate(SCALARS)}
_FIRST = np.array(list(SCALARS.values()))[:, None]


@dataclass(slots=True)
class State:
    """Everything that the judge remembers.

    Attributes
    ----------
    scalars : (len(SCALARS), n_series) float64, rows named by `ROW`
    profile : (BINS, n_series) float64, expected deviation from the level by time of day
    spread_profile : (BINS, n_series) float64, mean absolute residual by time of day
    visits : (BINS, n_series) float64, weight of what each bin has seen [readings]

    """

    scalars: NDArray[np.float64]
    profile: NDArray[np.float64]
    spread_profile: NDArray[np.float64]
    visits: NDArray[np.float64]

    @classmethod
    def empty(cls, n_series: int) -> Self:
        """Nothing seen yet."""
        profiles = (np.zeros((BINS, n_series)) for _ in range(3))
        return cls(np.repeat(_FIRST, n_series, axis=1), *profiles)

    def __len__(self) -> int:
        return len(self.last_time_s)

    @property
    def last_time_s(self) -> NDArray[np.float64]:
        """(n_series,) measured time up to which each series is judged [s]; -inf before the first."""
        row: NDArray[np.float64] = self.scalars[ROW["last_time"]]
        return row

    def grown(self, n_series: int) -> Self:
        """The same state with more, untouched, series at the end."""
        more = type(self).empty(n_series - len(self)).arrays()
        return type(self)(
            **{name: np.concatenate([mine, more[name]], axis=1) for name, mine in self.arrays().items()}
        )

    def taken(self, series: NDArray[np.intp]) -> Self:
        """A copy of some series' state."""
        return type(self)(**{name: array[:, series] for name, array in self.arrays().items()})

    def put(self, series: NDArray[np.intp], other: Self) -> None:
        """Write back what `taken` gave."""
        theirs = other.arrays()
        for name, array in self.arrays().items():
            array[:, series] = theirs[name]

    def arrays(self) -> Mapping[str, NDArray[np.float64]]:
        """Every array by name, for a checkpoint."""
        return {
            "scalars": self.scalars,
            "profile": self.profile,
            "spread_profile": self.spread_profile,
            "visits": self.visits,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.float64]]) -> Self:
        """What `arrays` gave.

        Raises
        ------
        ValueError
            Naming what is missing or of the wrong shape.

        """
        wanted = {"scalars": len(SCALARS), "profile": BINS, "spread_profile": BINS, "visits": BINS}
        for name, rows in wanted.items():
            if name not in arrays:
                raise ValueError(f"the state has no array {name!r}")
            shape = arrays[name].shape
            if len(shape) != 2 or shape[0] != rows or shape[1] != arrays["scalars"].shape[1]:
                raise ValueError(f"array {name!r} of the state has shape {shape}, not ({rows}, n_series)")
        return cls(**{name: np.array(arrays[name], np.float64) for name in wanted})
