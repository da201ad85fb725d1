"""Estimates the expected value and the spread of each series online and robustly (level plus profiles).

    expected(t) = level + profile(time of day) + week(hour of the week)
    spread(t) = 1.2533 x the mean absolute residual at that time of day

The factor turns a mean absolute deviation into a standard deviation where residuals are normal. The daily
profiles have half-hour bins, read and updated with linear interpolation; the weekly one is shrunk towards
zero, less with each week learned. The level is an exponential average over ``level_memory_s``, whose gain
over an interval dt is dt / (dt + memory). Updates are clipped as Huber's estimator does (Gelper, Fried and
Croux 2010, robust exponential smoothing), and nearly stop while an event is open, so that a fault is not
learned as normal. A new level that lasts ``adopt_s`` is learned, but only the level: the profiles and the
spread of a fault are never learned. The level before it is kept, and restored when the values return to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.state import BIN_S, BINS_PER_DAY, HOURS_PER_WEEK, PROFILE, SPREAD_PROFILE, VISITS
from analytics.core.tick import LARGEST_USABLE_VALUE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.core.tick import Tick

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

MEAN_DEVIATION_TO_SIGMA = 1.2533  # sqrt(pi / 2)
CLIP_SPREADS = 2.5  # spreads: residuals are clipped to this before they are learned
EARLY_CLIP = 8.0  # times the spread or, if larger, the residual of the value before, in `EARLY_READINGS`
EARLY_READINGS = 20.0  # values before the spread is known and a series is scored
LONGEST_START = 40.0  # reporting intervals that those values take at most, however early the first one
# Reporting intervals that a memory lasts at least: a shorter one would hold the last value alone. The default
# memory of shifts lasts as many at a reading in 15 min, that of the level at a reading in 90 min.
MEMORY_READINGS = 8.0
WARM_UP_READINGS = 100  # of a history that warms the judge up: no detector needs more values to score
LEARNING_SHARE_IN_EVENT = 0.02  # learning weight while an event is open
READINGS_PER_BIN_AND_DAY = 6.0  # readings in a half-hour bin per day, about (one every 5 min)
ADOPTED_MEMORY_S = 7_200.0
RETURN_SHARE = 0.25
"""Of the distance from the adopted level, within which a value has returned to the kept one."""
RETURN_SPREADS = 8.0  # likewise in spreads
DEVIATION_GAIN = 0.005
HOUR_S, DAY_S, WEEK_S = 3_600.0, 86_400.0, 604_800.0
MAX_REMEMBERED_WEEKS = 8  # memory of the weekly profile, about
WEEK_SHARES = 1 / (2.0 + np.arange(MAX_REMEMBERED_WEEKS + 1))  # gain of an hour of data, by weeks learned


class ProfileBin(NamedTuple):
    """Position of times in the profiles: the two neighbouring bins of the day, and the hour of the week.

    Attributes
    ----------
    left, right : (k,) indices of the bins before and after
    weight : (k,) weight of the right bin, 0 to 1; the left one has the rest
    hour : (k,) hour of the week, 0 to 167

    """

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    weight: Floats
    hour: NDArray[np.intp]


class Expectation(NamedTuple):
    """Expected value and spread of each series at its time, ``(k,)`` each, and its profile position."""

    value: Floats
    spread: Floats
    profile_bin: ProfileBin


def expected_values(tick: Tick) -> Expectation:
    """Return the expected value and spread of each series of a tick at its time."""
    limits, rows = tick.limits, tick.rows
    local_s = tick.time_s + limits.day_offset_s
    bin_position = remainder(local_s, DAY_S) * (1 / BIN_S) - 0.5
    lower_bin = np.floor(bin_position)
    left = lower_bin.astype(np.intp) % BINS_PER_DAY
    hour = (remainder(local_s, WEEK_S) * (1 / HOUR_S)).astype(np.intp) % HOURS_PER_WEEK
    profile_bin = ProfileBin(left, (left + 1) % BINS_PER_DAY, bin_position - lower_bin, hour)
    value = (
        rows["level"]
        + _interpolate(tick.state.daily, PROFILE, profile_bin, tick.series)
        + tick.state.week[tick.series, hour]
    )
    mean_absolute_residual = _interpolate(tick.state.daily, SPREAD_PROFILE, profile_bin, tick.series)
    readings_in_bin = _interpolate(tick.state.daily, VISITS, profile_bin, tick.series)
    # A bin with few readings falls back on the mean over all hours.
    share = np.minimum(readings_in_bin * (1 / READINGS_PER_BIN_AND_DAY), 1.0)
    spread = MEAN_DEVIATION_TO_SIGMA * (share * mean_absolute_residual + (1 - share) * rows["deviation"])
    floor = np.maximum(limits.spread_floor, limits.spread_share * np.abs(value))
    return Expectation(value, np.maximum(spread, floor), profile_bin)


def restore_kept_level(tick: Tick, expected: Expectation) -> Expectation:
    """Return the expectation with the level before an adopted one where values returned to it, in place."""
    rows = tick.rows
    difference = np.where(np.isnan(rows["kept_level"]), 0.0, rows["level"] - rows["kept_level"])
    residual = np.where(tick.usable, tick.value, expected.value) - expected.value
    from_kept = np.abs(residual + difference)
    returns = (
        tick.usable
        & ~np.isnan(rows["kept_level"])
        & (from_kept < RETURN_SHARE * np.abs(residual))
        & (from_kept < RETURN_SPREADS * expected.spread)
    )
    rows["level"] = np.where(returns, rows["kept_level"], rows["level"])
    rows["mean_z"] = np.where(returns, 0.0, rows["mean_z"])
    rows["kept_level"] = np.where(returns, np.nan, rows["kept_level"])
    return expected._replace(value=np.where(returns, expected.value - difference, expected.value))


def update_baseline(
    tick: Tick, expected: Expectation, residual: Floats, weight: Floats, adopted: Bools
) -> None:
    """Update level, profiles and deviation with the residuals of a tick, in place.

    Parameters
    ----------
    tick : readings and state of these series
    expected : of this tick, as of `expected_values`
    residual : (k,) observed less expected
    weight : (k,) learning weight, 0 to 1
    adopted : (k,) bool, whether a new level has lasted long enough to be learned without clipping

    """
    limits, rows, state, series = tick.limits, tick.rows, tick.state, tick.series
    rows["kept_level"] = np.where(adopted & np.isnan(rows["kept_level"]), rows["level"], rows["kept_level"])
    count = rows["count"]
    first = count < 1
    # The first spread is a bound alone, which may be smaller than the true one by any factor.
    value_before = np.where(np.abs(rows["value_1"]) <= LARGEST_USABLE_VALUE, rows["value_1"], expected.value)
    early_size = np.maximum(expected.spread, np.abs(value_before - expected.value))
    clip = np.where(count < EARLY_READINGS, EARLY_CLIP * early_size, CLIP_SPREADS * expected.spread)
    clipped = np.where(adopted | first, residual, np.clip(residual, -clip, clip))
    absolute = np.minimum(np.abs(residual), clip)
    memory_s = lengthened_s(tick, np.where(adopted, ADOPTED_MEMORY_S, limits.level_memory_s))
    gain = np.maximum(exponential_gain(tick.dt_s, memory_s), 1 / (1 + count)) * weight
    rows["level"] = rows["level"] + gain * clipped
    rows["count"] = count + weight
    weight = np.where(adopted, 0.0, weight)
    deviation_gain = np.where(first, 0.0, np.maximum(DEVIATION_GAIN, 1 / (1 + count)) * weight)
    rows["deviation"] = rows["deviation"] + deviation_gain * (absolute - rows["deviation"])
    bin_memory_readings = READINGS_PER_BIN_AND_DAY * limits.profile_memory_days
    left, right, share, hour = expected.profile_bin
    for bin_, bin_weight in ((left, 1 - share), (right, share)):
        visits = state.daily[series, bin_, VISITS].astype(np.float64)
        learning_rate = np.where(
            first, 0.0, bin_weight * weight / np.minimum(bin_memory_readings, 1 + visits)
        )
        state.daily[series, bin_, PROFILE] += learning_rate * (1 - gain) * clipped
        off = absolute - state.daily[series, bin_, SPREAD_PROFILE]
        state.daily[series, bin_, SPREAD_PROFILE] += learning_rate * off
        state.daily[series, bin_, VISITS] = visits + bin_weight * weight
    weeks_learned = np.where(first, 0.0, (tick.time_s - rows["first_time"]) * (1 / WEEK_S))
    share = (
        np.minimum(tick.dt_s * (1 / HOUR_S), 0.5)
        * WEEK_SHARES[np.minimum(weeks_learned, MAX_REMEMBERED_WEEKS).astype(np.intp)]
    )
    state.week[series, hour] += np.where(first, 0.0, share * weight * clipped)


def remainder(x: Floats, period: float) -> Floats:
    """Return ``x`` modulo a period; several times as fast as ``%``, and accurate to 1 µs for times."""
    return x - period * np.floor(x * (1 / period))


def exponential_gain(dt_s: Floats, memory_s: Floats) -> Floats:
    """Return the gain of an exponential mean over an interval, dt / (dt + memory); 1 where it is infinite."""
    is_infinite = np.isinf(dt_s)
    dt_s = np.where(is_infinite, 1.0, dt_s)
    return np.where(is_infinite, 1.0, dt_s / (dt_s + memory_s))


def lengthened_s(tick: Tick, given_s: Floats) -> Floats:
    """Return times [s] of a tick's series, (k,), lengthened to `MEMORY_READINGS` intervals if shorter."""
    first_interval_s = np.where(np.isinf(tick.dt_s), 0.0, tick.dt_s)
    interval_s = np.where(np.isnan(tick.rows["interval"]), first_interval_s, tick.rows["interval"])
    lengthened: Floats = np.maximum(given_s, MEMORY_READINGS * interval_s)
    return lengthened


def _interpolate(
    daily: NDArray[np.float32], column: int, profile_bin: ProfileBin, series: NDArray[np.intp]
) -> Floats:
    interpolated: Floats = (
        daily[series, profile_bin.left, column] * (1 - profile_bin.weight)
        + daily[series, profile_bin.right, column] * profile_bin.weight
    )
    return interpolated
