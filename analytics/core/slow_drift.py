"""Detects drifts over days to weeks: the level against a slow reference that an event cannot teach.

The reference is an exponential mean of the baseline's level over four weeks, the scale the mean absolute
distance between them over eight, both updated once an hour with clipped distances. The level itself nearly
stops while an event is open; where a new level is adopted, after its anomaly, or left, the reference follows
it for a week, so that nothing is reported twice.

A crossing of `LEAST` scales is scored by its own rate in the series, with a prior of one in twenty months,
and by a power of the distance. It is reported once, until the distance has fallen below `ENDS`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from analytics.core.rarity import DAY_S, MONTH_S, SCORE_OF_BUDGET

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.core.tick import Tick

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

UPDATE_S = 3_600.0
MEMORY_S, SCALE_MEMORY_S = 28 * DAY_S, 56 * DAY_S
LEARNED_S = 14 * DAY_S  # shorter histories know no usual drift
FOLLOWS_S = 7 * DAY_S
CLIP_SCALES = 2.5
LEAST, ENDS = 5.0, 3.0  # scales
SHARE = 0.1  # of the budget
PRIOR_CROSSINGS, PRIOR_MONTHS = 0.5, 10.0
TAIL_POWER = 4.0  # of the distance; as of Student's t with four degrees
SCORE_OF_RATE = SCORE_OF_BUDGET + math.log10(SHARE)
TO_SPREAD = 1.2533  # mean absolute deviation to standard deviation


def score_of_tick(tick: Tick, is_warmed_up: Bools) -> Floats:
    """Return the scores of drifts (k,), 0 where none begins, and learn the reference in place."""
    rows = tick.rows
    is_known = ~np.isnan(rows["first_time"])
    starts = is_known & np.isnan(rows["slow_time"])
    rows["slow_level"] = np.where(starts, rows["level"], rows["slow_level"])
    since_s = np.where(is_known & ~starts, tick.time_s - rows["slow_time"], 0.0)
    updates = since_s >= UPDATE_S
    since_s = np.where(updates, since_s, 0.0)
    rows["slow_time"] = np.where(starts | updates, tick.time_s, rows["slow_time"])
    follows = updates & (tick.time_s - rows["slow_follows"] < FOLLOWS_S)
    rows["slow_level"] = np.where(follows, rows["level"], rows["slow_level"])
    age_s = np.where(updates, tick.time_s - rows["first_time"], 1.0)
    distance = np.where(updates, rows["level"] - rows["slow_level"], 0.0)
    scale = TO_SPREAD * rows["slow_deviation"] + tick.limits.spread_floor
    has_learned = updates & is_warmed_up & (age_s >= LEARNED_S) & (scale > 0)
    z = np.where(has_learned, np.abs(distance) / np.where(scale > 0, scale, 1.0), 0.0)
    limit = CLIP_SCALES * np.where(has_learned, scale, np.inf)
    clipped = np.minimum(np.maximum(distance, -limit), limit)
    rows["slow_level"] = rows["slow_level"] + since_s / (since_s + np.minimum(MEMORY_S, age_s)) * clipped
    rows["slow_deviation"] = rows["slow_deviation"] + since_s / (
        since_s + np.minimum(SCALE_MEMORY_S, age_s)
    ) * (np.abs(clipped) - rows["slow_deviation"])
    crosses = (z > LEAST) & (rows["drifting"] == 0)
    rate = (rows["drifts"] + PRIOR_CROSSINGS) / (age_s / MONTH_S + PRIOR_MONTHS)
    score = SCORE_OF_RATE - np.log10(rate) + TAIL_POWER * np.log10(np.where(crosses, z, LEAST) / LEAST)
    rows["drifts"] = rows["drifts"] + crosses
    rows["drifting"] = np.where(crosses, 1.0, np.where(updates & (z < ENDS), 0.0, rows["drifting"]))
    return np.where(crosses, score, 0.0)
