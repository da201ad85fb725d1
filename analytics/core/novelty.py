"""Scores by how much a value exceeds everything that its series has done so far.

Five records are kept of each series: the value at this hour of the day, the mean of about twenty values,
the residual, the mean of about twenty residuals, and the roughness (logarithm of the mean square step).
Novelty is the largest excess over its record, as a share of the range of that record; ranges forget slowly.
It is told when it is the largest of the last `QUIET` values, so that one event is told once.

A record is per-series calibration in its simplest form: it needs no scale, no distribution and no threshold
of its own; docs/detection.md says what it brings on labelled data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analytics.core.baseline import DAY_S, HOUR_S, remainder
from analytics.core.state import HOURS
from analytics.core.tick import LARGEST as LARGEST_VALUE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.core.tick import Tick

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

FORGETS = 1e-4  # of half a range, a value and side
ABOUT_TWENTY = 1 / 10.5  # gain of an exponential mean that is as old as one of twenty
FEW = 0.3  # gain of the mean square step
MANY = 0.006
FLOOR = 1e-3  # of the usual square step, below which a series is as smooth as can be
LARGEST = 1.0
QUIET = 100.0  # values
STEPS_WANTED = 100.0  # values before a usual step is known


def of_tick(tick: Tick, residual: Floats, warm: Bools) -> Floats:
    """Novelty that is told, (k,) shares of a range; the records move on, in place.

    Parameters
    ----------
    residual : (k,) observed less expected; 0 where nothing usable was observed
    warm : (k,) whether the series is judged by its past

    """
    rows, use, value = tick.rows, tick.usable, np.where(tick.usable, tick.value, 0.0)
    floor = tick.p.spread_floor
    found = _hours(tick, value)
    young = 1 / (1 + rows["seen"])
    _mean(rows, "mean", value, use, np.maximum(ABOUT_TWENTY, young))
    _mean(rows, "mean_residual", residual, use, np.maximum(ABOUT_TWENTY, young))
    stepped = use & (rows["seen"] > 0) & (np.abs(rows["value_1"]) <= LARGEST_VALUE)
    with np.errstate(over="ignore", invalid="ignore"):
        square = np.where(stepped, value - rows["value_1"], 0.0) ** 2
    _mean(rows, "step_2", square, stepped, np.maximum(FEW, young))
    _mean(rows, "steps_2", square, stepped, np.maximum(MANY, young))
    roughness = np.log(rows["step_2"] + FLOOR * rows["steps_2"] + floor * floor)
    for name, now, least in (
        ("mean", rows["mean"], floor),
        ("residual", residual, floor),
        ("mean_residual", rows["mean_residual"], floor),
        ("roughness", roughness, 1e-9),
    ):
        found = np.maximum(found, _record(rows, name, now, stepped, least))
    rows["seen"] += use
    return _told(rows, np.where(use & warm, np.minimum(found, LARGEST), 0.0), use)


def jumps(tick: Tick, known: Bools) -> Bools:
    """Whether a value is too many usual steps away from the one before (QARTOD test 7 by deviations), (k,).

    Ask before `of_tick`, which makes the step a usual one.
    """
    rows = tick.rows
    measured = known & (rows["seen"] >= STEPS_WANTED) & (np.abs(rows["value_1"]) <= LARGEST_VALUE)
    step = np.where(measured, tick.value, 0.0) - np.where(measured, rows["value_1"], 0.0)
    usual = np.maximum(rows["steps_2"], tick.p.spread_floor * tick.p.spread_floor)
    too_many: Bools = step * step > tick.p.step_deviations * tick.p.step_deviations * usual
    return too_many


def _hours(tick: Tick, value: Floats) -> Floats:
    """Excess over the range of this hour of the day and those beside it, as a share of the whole range."""
    rows, state, use = tick.rows, tick.state, tick.usable
    of_day_s = remainder(tick.time_s + tick.p.day_offset_s, DAY_S)
    hour = (of_day_s * (1 / HOUR_S)).astype(np.intp) % HOURS
    before, after = (hour - 1) % HOURS, (hour + 1) % HOURS
    series = tick.series
    here_low, here_high = state.hour_low[series, hour], state.hour_high[series, hour]
    low = np.minimum(np.minimum(here_low, state.hour_low[series, before]), state.hour_low[series, after])
    high = np.maximum(np.maximum(here_high, state.hour_high[series, before]), state.hour_high[series, after])
    known = use & (low <= high)
    span = np.maximum(np.where(known, rows["high"] - rows["low"], 1.0), tick.p.spread_floor)
    excess = np.where(known, np.maximum(value - high, low - value), 0.0) / span
    state.hour_low[series, hour] = np.where(use, np.minimum(here_low, value), here_low)
    state.hour_high[series, hour] = np.where(use, np.maximum(here_high, value), here_high)
    rows["low"] = np.where(use, np.minimum(rows["low"], value), rows["low"])
    rows["high"] = np.where(use, np.maximum(rows["high"], value), rows["high"])
    return np.maximum(excess, 0.0)


def _mean(rows: dict[str, Floats], name: str, now: Floats, use: Bools, gain: Floats) -> None:
    rows[name] = np.where(use, rows[name] + gain * (now - rows[name]), rows[name])


def _record(rows: dict[str, Floats], name: str, now: Floats, use: Bools, least: Floats | float) -> Floats:
    """Excess over a record as a share of its range; the record moves on."""
    low, high = rows[f"{name}_low"], rows[f"{name}_high"]
    known = use & (low <= high)
    span = np.where(known, high - low, 0.0)
    excess = np.where(known, np.maximum(now - high, low - now), 0.0) / np.maximum(span, least)
    forgets = 0.5 * FORGETS * span
    rows[f"{name}_low"] = np.where(use, np.minimum(np.where(known, low + forgets, low), now), low)
    rows[f"{name}_high"] = np.where(use, np.maximum(np.where(known, high - forgets, high), now), high)
    return np.maximum(excess, 0.0)


def _told(rows: dict[str, Floats], novelty: Floats, use: Bools) -> Floats:
    """Novelty where it is the largest for a while, else 0."""
    tells = (novelty > 0) & ((rows["told"] > QUIET) | (novelty > rows["told_novelty"]))
    rows["told_novelty"] = np.where(tells, novelty, rows["told_novelty"])
    rows["told"] = np.where(tells, 0.0, rows["told"] + use)
    return np.where(tells, novelty, 0.0)
