"""Holds the streaming detection state of all series as a struct of arrays, with series as the first axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import DTypeLike, NDArray

BINS_PER_DAY = 48  # of the daily profile (half an hour each)
BIN_S = 86_400.0 / BINS_PER_DAY
HOURS_PER_WEEK = 168  # bins of the weekly profile
HOURS_PER_DAY = 24  # bins of the value range by hour of the day, among the records of novelty

TAILS = ("jump", "spike", "noise", "still")
# Scalars of one rarity tail (`analytics.core.rarity`), upwards and downwards, and their initial values: those
# that every value changes, and those that an excursion changes.
TAIL_BOUNDS: dict[str, float] = {
    "bound_up": math.e,  # ratio that about one value in a hundred exceeds
    "bound_down": math.e,
    "peak": 0.0,  # excess of the current excursion, negative if downwards
    "since": 0.0,  # values in a row within the bound; negative: beyond it
}
TAIL_SUMS: dict[str, float] = {
    "n_up": 0.0,  # excursions beyond it, and the sum of their logarithmic excesses
    "n_down": 0.0,
    "sum_up": 0.0,
    "sum_down": 0.0,
}
# Scalars of a series and their values before the first reading. Those that every reading needs are first:
# with thousands of series, a reading takes a tenth of its time to load its state.
SCALARS: dict[str, float] = {
    "time_1": np.nan,  # measured time of the last value [s]
    "value_1": np.nan,  # the last value, and the one before it
    "value_2": np.nan,
    "first_time": np.nan,  # of the first value [s]
    "count": 0.0,  # values learned from
    "usable_count": 0.0,  # number of usable values
    "row_count": 0.0,  # readings with and without a value
    "interval": np.nan,  # usual reporting interval [s]
    "quality_1": 0.0,  # flag and rule bits of the last value
    "rules_1": 0.0,
    "flat_low": np.inf,  # range of the current run within the tolerance, and its begin [s]
    "flat_high": -np.inf,
    "flat_since": np.nan,
    "resolution": np.inf,  # smallest step lately, other than none
    "usual_step": 0.0,  # mean step of about a day, and of the last few values
    "recent_step": 0.0,
    "last_step": 0.0,  # signed step to the last value
    "step_scale": 0.0,  # scale by which that step was measured
    "usual_noise": 0.0,  # mean second difference of about a week, and of the last few values
    "recent_noise": 0.0,
    "run": 1.0,  # number of equal values up to the last one
    "tail_count": 0.0,  # values whose rarity was learned
    **{f"{tail}_{part}": initial for tail in TAILS for part, initial in TAIL_BOUNDS.items()},
    "level": 0.0,  # expected value without the profiles
    "deviation": 0.0,  # mean absolute residual over all hours
    "mean_z": 0.0,  # EWMA of the clipped residual, in spreads
    "kept_level": np.nan,  # level before one that was adopted
    "evidence_bits": 0.0,  # whether each of the last readings was weak evidence, as bits
    "event": 0.0,  # 1 while an event is open
    "residual_tail_n": 0.0,  # excursions of residuals into the tail: number, sum of excesses and of squares
    "residual_tail_1": 0.0,
    "residual_tail_2": 0.0,
    "residual_peak": 0.0,  # largest distance of the current excursion, 0 without one
    "shift_tail_n": 0.0,  # likewise for the EWMA of residuals
    "shift_tail_1": 0.0,
    "shift_tail_2": 0.0,
    "shift_peak": 0.0,
    "attenuated_mean": np.nan,  # EWMA of the value, and of its squared distance from that
    "attenuated_var": 0.0,
    **{f"{tail}_{part}": initial for tail in TAILS for part, initial in TAIL_SUMS.items()},
    "missing_runs": 0.0,  # runs of readings without a value
    "gaps": 0.0,  # intervals of several reporting intervals, and the sum of the logarithms of their lengths
    "gap_sum": 0.0,
    "evidence_since": np.nan,  # time of the first weak evidence of the last readings [s]
    "event_start": np.nan,
    "event_before": np.nan,  # value before it
    "event_last": np.nan,  # the newest flagged reading in it [s]
    "event_peak": np.nan,
    "event_observed": np.nan,
    "event_expected": np.nan,
    "event_spread": np.nan,
    "event_score": 0.0,
    "event_rules": 0.0,
    "event_count": 0.0,
}
SCALAR_COLUMN = {name: column for column, name in enumerate(SCALARS)}
_INITIAL_SCALARS = np.array(list(SCALARS.values()))
# Records of novelty (`analytics.core.novelty`) and their values before the first one.
RECORDS: dict[str, float] = {
    "low": np.inf,  # the range of all values
    "high": -np.inf,
    "mean": 0.0,  # mean of about twenty values, and its range
    "mean_low": np.inf,
    "mean_high": -np.inf,
    "residual_low": np.inf,  # the range of residuals
    "residual_high": -np.inf,
    "mean_residual": 0.0,  # mean of about twenty residuals, and its range
    "mean_residual_low": np.inf,
    "mean_residual_high": -np.inf,
    "step_2": 0.0,  # mean square step of the last few values, and of many values
    "steps_2": 0.0,
    "roughness_low": np.inf,  # range of the roughness, about the logarithm of `step_2`
    "roughness_high": -np.inf,
    "record_count": 0.0,  # values in those records
    "records_since": np.nan,  # time of the first of them [s]
    "values_since_novelty": np.inf,  # values since novelty was last reported, and its size
    "last_novelty": 0.0,
}
RECORD_COLUMN = {name: column for column, name in enumerate(RECORDS)}
# The range of the values at each hour of the day follows them, first all lows.
HOUR_LOW_COLUMN = len(RECORDS)
HOUR_HIGH_COLUMN = HOUR_LOW_COLUMN + HOURS_PER_DAY
_INITIAL_RECORDS = np.array([*RECORDS.values(), *[np.inf] * HOURS_PER_DAY, *[-np.inf] * HOURS_PER_DAY])
PROFILE, SPREAD_PROFILE, VISITS = range(3)  # of a half-hour bin: a reading needs all three of two bins
SHAPES: dict[str, tuple[int, ...]] = {
    "last_time_s": (),
    "scalars": (len(SCALARS),),
    "daily": (BINS_PER_DAY, 3),
    "week": (HOURS_PER_WEEK,),
    "records": (len(_INITIAL_RECORDS),),
}
"""Shape of each array of the state for one series; the records have no columns unless they are kept."""
FLOAT32_ARRAYS = ("daily", "week")  # averages: half the memory suffices


def aligned(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array in C order, writable and aligned, as the compiled judge needs it: itself or a copy."""
    if array.dtype == dtype and array.flags.carray:  # `require` alone takes ten times as long
        return array
    return np.require(array, dtype, ["C", "W", "A"])


@dataclass(slots=True)
class State:
    """State of detection for n series; each array is (n_series, …).

    Attributes
    ----------
    last_time_s : (…) measured time up to which each series is judged [s]; -inf before the first reading; an
        array of its own, since the order of a block is checked by it before any other state is needed
    scalars : columns named by `SCALAR_COLUMN`
    daily : (…, BINS_PER_DAY, 3) by time of day: `PROFILE`, the expected deviation from the level;
        `SPREAD_PROFILE`, the mean absolute residual; `VISITS`, the weight learned [readings]
    week : (…, HOURS_PER_WEEK) expected deviation from level and profile by hour of the week
    records : records of novelty: columns named by `RECORD_COLUMN`, and the range of the values at each hour
        of the day; no columns before a series of a block has a limit that needs them
        (`Parameters.needs_records`)

    Those of `FLOAT32_ARRAYS` are float32, the others float64.

    """

    last_time_s: NDArray[np.float64]
    scalars: NDArray[np.float64]
    daily: NDArray[np.float32]
    week: NDArray[np.float32]
    records: NDArray[np.float64]

    @classmethod
    def empty(cls, n_series: int) -> Self:
        """Return the initial state of n series."""
        new_arrays: dict[str, Any] = {
            name: np.zeros((n_series, *shape), _dtype_of(name)) for name, shape in SHAPES.items()
        }
        new_arrays["last_time_s"][:] = -np.inf
        new_arrays["scalars"][:] = _INITIAL_SCALARS
        new_arrays["records"] = np.empty((n_series, 0))
        return cls(**new_arrays)

    def __len__(self) -> int:
        return len(self.scalars)

    @property
    def has_records(self) -> bool:
        """Whether records of novelty are kept."""
        return bool(self.records.shape[1])

    def keep_records(self) -> None:
        """Keep records of novelty from now on."""
        if not self.has_records:
            self.records = np.tile(_INITIAL_RECORDS, (len(self), 1))

    def aligned_arrays(self) -> tuple[NDArray[np.floating], ...]:
        """Return all arrays; those that the compiled judge can't read are replaced by copies that it can."""
        for name in SHAPES:
            array = getattr(self, name)
            if not array.flags.carray:
                setattr(self, name, aligned(array, array.dtype))
        return self.last_time_s, self.scalars, self.daily, self.week, self.records

    def extended_to(self, n_series: int) -> Self:
        """Return a copy with initial states of more series appended."""
        added = type(self).empty(n_series - len(self))
        if self.has_records:
            added.keep_records()
        added_arrays = added.arrays()
        joined: dict[str, Any] = {
            name: np.concatenate([own_array, added_arrays[name]]) for name, own_array in self.arrays().items()
        }
        return type(self)(**joined)

    def select_series(self, series: NDArray[np.intp]) -> Self:
        """Return a copy of the state of some series."""
        selected: dict[str, Any] = {name: array[series] for name, array in self.arrays().items()}
        return type(self)(**selected)

    def put(self, series: NDArray[np.intp], other: Self) -> None:
        """Write the state of some series, as of `select_series`, back in place."""
        if other.has_records:
            self.keep_records()
        other_arrays = dict(other.arrays())
        if self.has_records and not other.has_records:
            other_arrays["records"] = _INITIAL_RECORDS
        for name, array in self.arrays().items():
            array[series] = other_arrays[name]

    def arrays(self) -> Mapping[str, NDArray[np.floating]]:
        """Return every array by name, for a checkpoint."""
        return {name: getattr(self, name) for name in SHAPES}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.floating]]) -> Self:
        """Build a state from the result of `arrays`.

        Raises
        ------
        ValueError
            Naming the array that is missing or has the wrong shape.

        """
        for name, shape in SHAPES.items():
            if name not in arrays:
                raise ValueError(f"the state has no array {name!r}")
            found = arrays[name].shape
            is_left_out = name == "records" and found[1:] == (0,)
            if found[:1] != arrays["last_time_s"].shape or not (found[1:] == shape or is_left_out):
                raise ValueError(f"array {name!r} of the state has shape {found}, not (n_series, *{shape})")
        copied: dict[str, Any] = {name: np.array(arrays[name], _dtype_of(name)) for name in SHAPES}
        return cls(**copied)


def _dtype_of(name: str) -> type[np.float32 | np.float64]:
    return np.float32 if name in FLOAT32_ARRAYS else np.float64
