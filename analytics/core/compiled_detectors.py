"""Tails and novelty of one reading, compiled: `analytics.core.tail` and `analytics.core.novelty` again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.core import frozen as k
from analytics.core.frozen import compiled
from analytics.core.state import HOURS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Begin = tuple[float, float, float, float]


@compiled
def score(x: float, known: tuple[float, float, float], count: float, begin: Begin) -> float:
    """As `analytics.core.tail.score`."""
    at, share, usual, usually = begin
    n = known[0] + k.PRIOR
    if not x > at:
        return usually * x
    rate = -np.log10(min(n / (count + k.PRIOR / share), 1.0))
    mean = (known[1] + k.PRIOR * usual) / n
    square = (known[2] + k.PRIOR * 2 * usual * usual) / n
    variance = max(square - mean * mean, 0.25 * mean * mean)
    shape = min(max(0.5 * (1 - mean * mean / variance), 0.0), k.LARGEST_SHAPE)
    excess = (x - at) / (mean * (1 - shape))
    beyond = np.log1p(shape * excess) / shape if shape > k.SMALLEST_SHAPE else excess
    return float(rate + k.TO_LOG10 * beyond)


@compiled
def tail(r: NDArray[Any], s: int, first: int, x: float, weight: float, begin: Begin) -> None:
    """As `analytics.core.tail.learn`."""
    at, _, usual, _ = begin
    if x > at:
        r[s, first + 3] = max(r[s, first + 3], x)
    elif r[s, first + 3] > 0:
        mean = (r[s, first + 1] + k.PRIOR * usual) / (r[s, first] + k.PRIOR)
        excess = min(r[s, first + 3] - at, k.FAR * mean)
        r[s, first] += weight
        r[s, first + 1] += weight * excess
        r[s, first + 2] += weight * excess * excess
        r[s, first + 3] = 0.0


@compiled
def _record(r: NDArray[Any], s: int, low: int, now: float, least: float) -> float:
    """As `analytics.core.novelty._record`; ``low`` and the place after it hold the record."""
    excess = 0.0
    if r[s, low] <= r[s, low + 1]:
        span = r[s, low + 1] - r[s, low]
        beyond = max(now - r[s, low + 1], r[s, low] - now)
        if beyond > 0:
            excess = beyond / max(span, least)
        forgets = 0.5 * k.FORGETS * span
        r[s, low] = min(r[s, low] + forgets, now)
        r[s, low + 1] = max(r[s, low + 1] - forgets, now)
    else:
        r[s, low], r[s, low + 1] = min(r[s, low], now), max(r[s, low + 1], now)
    return excess


@compiled
def novelty(
    r: NDArray[Any],
    s: int,
    low: NDArray[Any],
    high: NDArray[Any],
    hour: int,
    v: float,
    residual: float,
    floor: float,
) -> float:
    """As `analytics.core.novelty.of_tick`, before it is told; v is usable."""
    hour = hour if hour < HOURS else 0
    before, after = hour - 1 if hour > 0 else HOURS - 1, hour + 1 if hour + 1 < HOURS else 0
    lowest = min(low[s, hour], low[s, before], low[s, after])
    highest = max(high[s, hour], high[s, before], high[s, after])
    found = 0.0
    if lowest <= highest:
        excess = max(v - highest, lowest - v)
        if excess > 0:
            found = excess / max(r[s, k.HIGH] - r[s, k.LOW], floor)
    low[s, hour], high[s, hour] = min(low[s, hour], v), max(high[s, hour], v)
    r[s, k.LOW], r[s, k.HIGH] = min(r[s, k.LOW], v), max(r[s, k.HIGH], v)
    young = 1 / (1 + r[s, k.SEEN])
    gain = max(k.ABOUT_TWENTY, young)
    r[s, k.MEAN] += gain * (v - r[s, k.MEAN])
    r[s, k.MEAN_RESIDUAL] += gain * (residual - r[s, k.MEAN_RESIDUAL])
    if r[s, k.SEEN] > 0 and abs(r[s, k.VALUE_1]) <= k.LARGEST:
        square = (v - r[s, k.VALUE_1]) ** 2
        r[s, k.STEP_2] += max(k.FEW, young) * (square - r[s, k.STEP_2])
        r[s, k.STEPS_2] += max(k.MANY, young) * (square - r[s, k.STEPS_2])
        roughness = np.log(r[s, k.STEP_2] + k.FLOOR * r[s, k.STEPS_2] + floor * floor)
        found = max(found, _record(r, s, k.MEAN_LOW, r[s, k.MEAN], floor))
        found = max(found, _record(r, s, k.RESIDUAL_LOW, residual, floor))
        found = max(found, _record(r, s, k.MEAN_RESIDUAL_LOW, r[s, k.MEAN_RESIDUAL], floor))
        found = max(found, _record(r, s, k.ROUGHNESS_LOW, roughness, 1e-9))
    r[s, k.SEEN] += 1.0
    return min(found, k.NOVEL_MOST)


@compiled
def jumps(r: NDArray[Any], p: NDArray[Any], s: int, v: float) -> bool:
    """As `analytics.core.novelty.jumps`."""
    if r[s, k.SEEN] < k.STEPS_WANTED or abs(r[s, k.VALUE_1]) > k.LARGEST:
        return False
    step = v - r[s, k.VALUE_1]
    usual = max(r[s, k.STEPS_2], p[s, k.SPREAD_FLOOR] * p[s, k.SPREAD_FLOOR])
    return bool(step * step > p[s, k.STEP_DEVIATIONS] * p[s, k.STEP_DEVIATIONS] * usual)


@compiled
def told(r: NDArray[Any], s: int, found: float) -> float:
    """As `analytics.core.novelty._told`."""
    if found > 0 and (r[s, k.TOLD] > k.QUIET or found > r[s, k.TOLD_NOVELTY]):
        r[s, k.TOLD], r[s, k.TOLD_NOVELTY] = 0.0, found
        return found
    r[s, k.TOLD] += 1.0
    return 0.0
