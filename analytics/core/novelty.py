"""Measures novelty: by how much a value exceeds the range of all earlier values of its series.

Five records (running minimum and maximum) are kept of each series: the value at this hour of the day, the
mean of about twenty values, the residual, the mean of about twenty residuals, and the roughness (logarithm of
the mean square step). Novelty is the largest excess over a record, as a share of that record's range; the
records shrink slowly. It is reported when it is the largest of the last `QUIET_VALUES` values, so that one
event is reported once.

Records are kept of series for which ``novelty_least`` or ``step_deviations`` is given, neither of which is by
default; novelty is reported when they are ``warm_up_s`` old.

A record calibrates itself to its series: it needs no scale, no distribution and no threshold of its own. Its
effect on labelled data is in docs/detection.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analytics.core.baseline import DAY_S, EARLY_READINGS, HOUR_S, remainder
from analytics.core.state import HOUR_HIGH_COLUMN, HOUR_LOW_COLUMN, HOURS_PER_DAY, RECORD_COLUMN
from analytics.core.tick import LARGEST_USABLE_VALUE as LARGEST_VALUE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.core.tick import Tick

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

FORGET_RATE = 1e-4  # share of half the range by which a record shrinks on either side, per value
MEAN_GAIN = 1 / 10.5  # gain of an exponential mean with the mean age of a window of twenty values
STEP_GAIN = 0.3  # gain of the mean square step of the last few values
USUAL_STEP_GAIN = 0.006  # gain of the usual mean square step, over many values
ROUGHNESS_FLOOR = 1e-3  # share of the usual square step that is added, to keep the logarithm finite
MAX_NOVELTY = 1.0
QUIET_VALUES = 100.0  # values for which a reported novelty suppresses smaller ones
MIN_STEPS = 100.0  # values before the usual step is used
WARM_UP_STEP_WITHIN_S = 3_600.0  # reporting intervals of a quantity's usual steps, at most


def novelty_of_tick(tick: Tick, residual: Floats, is_warmed_up: Bools) -> Floats:
    """Return the novelty to report, (k,) shares of a range, and update the records in place.

    Parameters
    ----------
    tick : readings and state of these series
    residual : (k,) observed less expected; 0 where nothing usable was observed
    is_warmed_up : (k,) bool, whether the series has enough history

    """
    floor, last_value = tick.limits.spread_floor, tick.rows["value_1"]
    use = tick.usable & ((tick.limits.novelty_least >= 0) | (tick.limits.step_deviations >= 0))
    tick.rows["usable_count"] += tick.usable
    if not use.any():
        return np.zeros(len(use))
    record_rows = np.ascontiguousarray(tick.state.records[tick.series, : len(RECORD_COLUMN)].T)
    rows = dict(zip(RECORD_COLUMN, record_rows, strict=True))
    rows["records_since"] = np.where(use & (rows["record_count"] == 0), tick.time_s, rows["records_since"])
    has_records = is_warmed_up & (tick.time_s - rows["records_since"] >= tick.limits.warm_up_s)
    has_records &= rows["record_count"] >= EARLY_READINGS
    value = np.where(use, tick.value, 0.0)
    largest_excess = _hour_excess(tick, rows, value, use)
    early_gain = 1 / (1 + rows["record_count"])
    _update_mean(rows, "mean", value, use, np.maximum(MEAN_GAIN, early_gain))
    _update_mean(rows, "mean_residual", residual, use, np.maximum(MEAN_GAIN, early_gain))
    has_step = use & (rows["record_count"] > 0) & (np.abs(last_value) <= LARGEST_VALUE)
    with np.errstate(over="ignore", invalid="ignore"):
        squared_step = np.where(has_step, value - last_value, 0.0) ** 2
    _update_mean(rows, "step_2", squared_step, has_step, np.maximum(STEP_GAIN, early_gain))
    _update_mean(rows, "steps_2", squared_step, has_step, np.maximum(USUAL_STEP_GAIN, early_gain))
    roughness = np.log(rows["step_2"] + ROUGHNESS_FLOOR * rows["steps_2"] + floor * floor)
    for name, current, min_span in (
        ("mean", rows["mean"], floor),
        ("residual", residual, floor),
        ("mean_residual", rows["mean_residual"], floor),
        ("roughness", roughness, 1e-9),
    ):
        largest_excess = np.maximum(largest_excess, _record_excess(rows, name, current, has_step, min_span))
    rows["record_count"] += use
    reported = _reported_novelty(
        rows, np.where(use & has_records, np.minimum(largest_excess, MAX_NOVELTY), 0.0), use
    )
    tick.state.records[tick.series, : len(RECORD_COLUMN)] = np.array(list(rows.values())).T
    return reported


def exceeds_usual_step(tick: Tick, has_range: Bools) -> Bools:
    """Whether a value is too many usual steps away from the one before (QARTOD test 7 by deviations), (k,).

    Call it before `novelty_of_tick`, which updates the usual step with this one.
    """
    if not tick.state.has_records:
        return np.zeros(len(has_range), np.bool_)
    last_value = tick.rows["value_1"]
    count, steps_2 = (
        tick.state.records[tick.series, RECORD_COLUMN[name]] for name in ("record_count", "steps_2")
    )
    has_usual_step = has_range & (count >= MIN_STEPS) & (np.abs(last_value) <= LARGEST_VALUE)
    step = np.where(has_usual_step, tick.value, 0.0) - np.where(has_usual_step, last_value, 0.0)
    usual_squared_step = np.maximum(steps_2, tick.limits.spread_floor * tick.limits.spread_floor)
    is_exceeded: Bools = (
        step * step > tick.limits.step_deviations * tick.limits.step_deviations * usual_squared_step
    )
    return is_exceeded


def exceeds_warm_up_step(tick: Tick, is_warmed_up: Bools) -> Bools:
    """Whether a value of a new series is farther from the one before than its quantity's values are, (k,).

    Call it before `novelty_of_tick`. Values farther apart than `WARM_UP_STEP_WITHIN_S` are not compared.
    """
    before = tick.rows["value_1"]
    use = (
        tick.usable & ~is_warmed_up & (np.abs(before) <= LARGEST_VALUE) & (tick.dt_s <= WARM_UP_STEP_WITHIN_S)
    )
    step = np.abs(np.where(use, tick.value, 0.0) - np.where(use, before, 0.0))
    is_exceeded: Bools = use & (step > tick.limits.warm_up_step)
    return is_exceeded


def _hour_excess(tick: Tick, rows: dict[str, Floats], value: Floats, use: Bools) -> Floats:
    """Return the excess over the range of the hours of the day around now, as a share of the full range."""
    seconds_of_day = remainder(tick.time_s + tick.limits.day_offset_s, DAY_S)
    hour = (seconds_of_day * (1 / HOUR_S)).astype(np.intp) % HOURS_PER_DAY
    before, after = (hour - 1) % HOURS_PER_DAY, (hour + 1) % HOURS_PER_DAY
    series, records = tick.series, tick.state.records
    lows, highs = records[:, HOUR_LOW_COLUMN:HOUR_HIGH_COLUMN], records[:, HOUR_HIGH_COLUMN:]
    low_now, high_now = lows[series, hour], highs[series, hour]
    low = np.minimum(np.minimum(low_now, lows[series, before]), lows[series, after])
    high = np.maximum(np.maximum(high_now, highs[series, before]), highs[series, after])
    has_range = use & (low <= high)
    span = np.maximum(np.where(has_range, rows["high"] - rows["low"], 1.0), tick.limits.spread_floor)
    excess = np.where(has_range, np.maximum(value - high, low - value), 0.0) / span
    lows[series, hour] = np.where(use, np.minimum(low_now, value), low_now)
    highs[series, hour] = np.where(use, np.maximum(high_now, value), high_now)
    rows["low"] = np.where(use, np.minimum(rows["low"], value), rows["low"])
    rows["high"] = np.where(use, np.maximum(rows["high"], value), rows["high"])
    return np.maximum(excess, 0.0)


def _update_mean(rows: dict[str, Floats], name: str, current: Floats, use: Bools, gain: Floats) -> None:
    rows[name] = np.where(use, rows[name] + gain * (current - rows[name]), rows[name])


def _record_excess(
    rows: dict[str, Floats], name: str, current: Floats, use: Bools, min_span: Floats | float
) -> Floats:
    """Return the excess over a record as a share of its range, and update the record."""
    low, high = rows[f"{name}_low"], rows[f"{name}_high"]
    has_range = use & (low <= high)
    span = np.where(has_range, high - low, 0.0)
    excess = np.where(has_range, np.maximum(current - high, low - current), 0.0) / np.maximum(span, min_span)
    shrinkage = 0.5 * FORGET_RATE * span
    rows[f"{name}_low"] = np.where(use, np.minimum(np.where(has_range, low + shrinkage, low), current), low)
    rows[f"{name}_high"] = np.where(
        use, np.maximum(np.where(has_range, high - shrinkage, high), current), high
    )
    return np.maximum(excess, 0.0)


def _reported_novelty(rows: dict[str, Floats], novelty: Floats, use: Bools) -> Floats:
    """Return the novelty where it is the largest of the last `QUIET_VALUES` values, else 0."""
    is_reported = (novelty > 0) & (
        (rows["values_since_novelty"] > QUIET_VALUES) | (novelty > rows["last_novelty"])
    )
    rows["last_novelty"] = np.where(is_reported, novelty, rows["last_novelty"])
    rows["values_since_novelty"] = np.where(is_reported, 0.0, rows["values_since_novelty"] + use)
    return np.where(is_reported, novelty, 0.0)
