"""Slow reference implementations of the site score, one tick, site and quantity at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def smooth_over_ticks(z: Sequence[float], gain: float) -> list[float]:
    """Return the exponential mean of one series."""
    mean, made = 0.0, []
    for value in z:
        if not math.isnan(value):
            mean += gain * (value - mean)
        made.append(math.nan if math.isnan(value) else mean)
    return made


def gamma_survival(shape: int, x: float) -> float:
    """Return P(X > x) of a gamma distribution of integer shape, as a sum of Poisson terms."""
    return math.exp(-x) * sum(x**k / math.factorial(k) for k in range(shape))


def find_score_events(
    score: Sequence[float], *, weak: float, strong: float, close: float, gap: int
) -> list[tuple[int, int, int, bool]]:
    """Return the events of one score series: start, end and peak tick, and whether it is open."""
    found: list[tuple[int, int, int, bool]] = []
    begin = last = peak = ended = -1
    quiet = 0
    filled = [0.0 if math.isnan(one) else one for one in score]
    for tick, value in enumerate(filled):
        recent = [at for at in range(max(0, tick - 5), tick + 1) if filled[at] > weak]
        opened = False
        if begin < 0 and (len(recent) >= 3 or value > strong):
            begin = max(recent[0] if recent else tick, ended + 1)
            peak, opened = tick, True
        if begin < 0:
            continue
        if value > close or opened:
            last, quiet = tick, 0
        elif not math.isnan(score[tick]):
            quiet += 1
        if value > filled[peak]:
            peak = tick
        if quiet >= gap:
            found.append((begin, last, peak, False))
            begin, ended = -1, last
    if begin >= 0:
        found.append((begin, last, peak, True))
    return found


def oxygen_saturation(water_c: float) -> float:
    """Return the oxygen saturation by APHA 4500-O, term by term [mg/L]."""
    kelvin = water_c + 273.15
    terms = (
        -139.34411,
        1.575701e5 / kelvin,
        -6.642308e7 / kelvin**2,
        1.243800e10 / kelvin**3,
        -8.621949e11 / kelvin**4,
    )
    return math.exp(sum(terms))


def rise_and_stay(departure: Sequence[float], step: int) -> tuple[float, float]:
    """Return the largest change within ``step`` ticks up to the peak, and the final level, over the peak."""
    filled = [0.0 if math.isnan(one) else one for one in departure]
    largest = max(abs(one) for one in filled)
    height = max(largest, 1e-9)
    peak = next(at for at, one in enumerate(filled) if abs(one) == largest)
    change = max(abs(filled[at] - filled[max(0, at - step)]) for at in range(peak + 1))
    tail = filled[-step:]
    return change / height, sum(abs(one) for one in tail) / len(tail) / height
