"""Compiled tail scores and novelty of one reading, as in `analytics.core.tail_probability` and `novelty`.

The parameters ``r, p, s, v`` are explained in `analytics.core.compiled.kernel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.core.compiled import constants as k
from analytics.core.compiled.constants import inlined_kernel
from analytics.core.state import HOURS_PER_DAY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    TailStart = tuple[float, float, float, float]


@inlined_kernel
def tail_score(x: float, tail_sums: tuple[float, float, float], count: float, tail_start: TailStart) -> float:
    """Return the score of a distance, as `analytics.core.tail_probability.score` does."""
    threshold, share, usual_excess, slope_below = tail_start
    n = tail_sums[0] + k.PRIOR_EXCURSIONS
    if not x > threshold:
        return slope_below * x
    rate = -np.log10(min(n / (count + k.PRIOR_EXCURSIONS / share), 1.0))
    mean = (tail_sums[1] + k.PRIOR_EXCURSIONS * usual_excess) / n
    shape_n = tail_sums[0] + k.SHAPE_PRIOR_EXCURSIONS
    square = (tail_sums[2] + k.SHAPE_PRIOR_EXCURSIONS * 2 * mean * mean) / shape_n
    variance = max(square - mean * mean, 0.25 * mean * mean)
    shape = min(max(0.5 * (1 - mean * mean / variance), 0.0), k.LARGEST_SHAPE)
    excess = (x - threshold) / (mean * (1 - shape))
    beyond = np.log1p(shape * excess) / shape if shape > k.SMALLEST_SHAPE else excess
    return float(rate + k.TO_LOG10 * beyond)


@inlined_kernel
def learn_tail(
    r: NDArray[Any], s: int, first_column: int, x: float, weight: float, tail_start: TailStart
) -> None:
    """Update a tail in the state, as `analytics.core.tail_probability.update_tail_sums` does.

    ``first_column`` is that of the tail's first scalar; its other three follow.
    """
    threshold, _, usual_excess, _ = tail_start
    if x > threshold:
        r[s, first_column + 3] = max(r[s, first_column + 3], x)
    elif r[s, first_column + 3] > 0:
        mean = (r[s, first_column + 1] + k.PRIOR_EXCURSIONS * usual_excess) / (
            r[s, first_column] + k.PRIOR_EXCURSIONS
        )
        excess = min(r[s, first_column + 3] - threshold, k.MAX_LEARNED_EXCESSES * mean)
        r[s, first_column] += weight
        r[s, first_column + 1] += weight * excess
        r[s, first_column + 2] += weight * excess * excess
        r[s, first_column + 3] = 0.0


@inlined_kernel
def _record_excess(records: NDArray[Any], s: int, low: int, current: float, min_span: float) -> float:
    """Return the excess over a record and update it; ``low`` and the column after it hold the record."""
    excess = 0.0
    if records[s, low] <= records[s, low + 1]:
        span = records[s, low + 1] - records[s, low]
        beyond = max(current - records[s, low + 1], records[s, low] - current)
        if beyond > 0:
            excess = beyond / max(span, min_span)
        shrinkage = 0.5 * k.FORGET_RATE * span
        records[s, low] = min(records[s, low] + shrinkage, current)
        records[s, low + 1] = max(records[s, low + 1] - shrinkage, current)
    else:
        records[s, low], records[s, low + 1] = (
            min(records[s, low], current),
            max(records[s, low + 1], current),
        )
    return excess


@inlined_kernel
def update_novelty(
    r: NDArray[Any],
    records: NDArray[Any],
    s: int,
    hour: int,
    v: float,
    residual: float,
    floor: float,
) -> float:
    """Return the novelty of a usable value before `report_novelty`, and update the records."""
    hour = hour if hour < HOURS_PER_DAY else 0
    before, after = hour - 1 if hour > 0 else HOURS_PER_DAY - 1, hour + 1 if hour + 1 < HOURS_PER_DAY else 0
    lowest = min(
        records[s, k.HOUR_LOW + hour], records[s, k.HOUR_LOW + before], records[s, k.HOUR_LOW + after]
    )
    highest = max(
        records[s, k.HOUR_HIGH + hour], records[s, k.HOUR_HIGH + before], records[s, k.HOUR_HIGH + after]
    )
    largest_excess = 0.0
    if lowest <= highest:
        excess = max(v - highest, lowest - v)
        if excess > 0:
            largest_excess = excess / max(records[s, k.HIGH] - records[s, k.LOW], floor)
    records[s, k.HOUR_LOW + hour] = min(records[s, k.HOUR_LOW + hour], v)
    records[s, k.HOUR_HIGH + hour] = max(records[s, k.HOUR_HIGH + hour], v)
    records[s, k.LOW], records[s, k.HIGH] = min(records[s, k.LOW], v), max(records[s, k.HIGH], v)
    early_gain = 1 / (1 + records[s, k.RECORD_COUNT])
    gain = max(k.MEAN_GAIN, early_gain)
    records[s, k.MEAN] += gain * (v - records[s, k.MEAN])
    records[s, k.MEAN_RESIDUAL] += gain * (residual - records[s, k.MEAN_RESIDUAL])
    if records[s, k.RECORD_COUNT] > 0 and abs(r[s, k.VALUE_1]) <= k.LARGEST_USABLE_VALUE:
        square = (v - r[s, k.VALUE_1]) ** 2
        records[s, k.STEP_2] += max(k.STEP_GAIN, early_gain) * (square - records[s, k.STEP_2])
        records[s, k.STEPS_2] += max(k.USUAL_STEP_GAIN, early_gain) * (square - records[s, k.STEPS_2])
        roughness = np.log(records[s, k.STEP_2] + k.ROUGHNESS_FLOOR * records[s, k.STEPS_2] + floor * floor)
        largest_excess = max(
            largest_excess, _record_excess(records, s, k.MEAN_LOW, records[s, k.MEAN], floor)
        )
        largest_excess = max(largest_excess, _record_excess(records, s, k.RESIDUAL_LOW, residual, floor))
        largest_excess = max(
            largest_excess,
            _record_excess(records, s, k.MEAN_RESIDUAL_LOW, records[s, k.MEAN_RESIDUAL], floor),
        )
        largest_excess = max(largest_excess, _record_excess(records, s, k.ROUGHNESS_LOW, roughness, 1e-9))
    records[s, k.RECORD_COUNT] += 1.0
    return min(largest_excess, k.MAX_NOVELTY)


@inlined_kernel
def exceeds_usual_step(r: NDArray[Any], records: NDArray[Any], p: NDArray[Any], s: int, v: float) -> bool:
    """Whether a value is too many usual steps away, as `analytics.core.novelty.exceeds_usual_step`."""
    if records[s, k.RECORD_COUNT] < k.MIN_STEPS or abs(r[s, k.VALUE_1]) > k.LARGEST_USABLE_VALUE:
        return False
    step = v - r[s, k.VALUE_1]
    usual_excess = max(records[s, k.STEPS_2], p[s, k.SPREAD_FLOOR] * p[s, k.SPREAD_FLOOR])
    return bool(step * step > p[s, k.STEP_DEVIATIONS] * p[s, k.STEP_DEVIATIONS] * usual_excess)


@inlined_kernel
def exceeds_warm_up_step(r: NDArray[Any], p: NDArray[Any], s: int, v: float, dt: float) -> bool:
    """Whether a value of a new series is too far from the one before, as `novelty.exceeds_warm_up_step`."""
    before = r[s, k.VALUE_1]
    if not (dt <= k.WARM_UP_STEP_WITHIN_S and abs(before) <= k.LARGEST_USABLE_VALUE):
        return False
    return bool(abs(v - before) > p[s, k.WARM_UP_STEP])


@inlined_kernel
def report_novelty(records: NDArray[Any], s: int, largest_excess: float) -> float:
    """Return the novelty if it is the largest for a while, else 0."""
    if largest_excess > 0 and (
        records[s, k.VALUES_SINCE_NOVELTY] > k.QUIET_VALUES or largest_excess > records[s, k.LAST_NOVELTY]
    ):
        records[s, k.VALUES_SINCE_NOVELTY], records[s, k.LAST_NOVELTY] = 0.0, largest_excess
        return largest_excess
    records[s, k.VALUES_SINCE_NOVELTY] += 1.0
    return 0.0
