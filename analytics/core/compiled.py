"""The stack of `analytics.core.stack`, reading by reading, compiled by Numba where that is installed.

It is the same arithmetic in the same order and gives the same flags and events; figures agree to a few units
in the last place, for the logarithms of two libraries differ there (tests/analytics/core/test_compiled.py).
NumPy is fast over many series at one reading each; this is as fast over few series with many readings.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from analytics.core import baseline, events, novelty, stack, tail, tick
from analytics.core.flags import Flag, Rule
from analytics.core.parameters import DEFAULTS
from analytics.core.state import BIN_S, BINS, HOURS, ROW, WEEK

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    F = TypeVar("F", bound=Callable[..., Any])

AVAILABLE = find_spec("numba") is not None

# What the compiler freezes: places of scalars and limits, flags, rules, constants. Its cache knows the age of
# this file alone: after a change of a constant elsewhere, touch it (the test of equality tells).
(
    LAST_TIME, FIRST_TIME, COUNT, VALUE_1, VALUE_2, TIME_1, QUALITY_1, RULES_1, FLAT_LOW, FLAT_HIGH,
    FLAT_SINCE, LEVEL, DEVIATION, MEAN_Z, ATTENUATED_MEAN, ATTENUATED_VAR, RESIDUAL_TAIL_N,
    RESIDUAL_TAIL_1, RESIDUAL_TAIL_2, RESIDUAL_PEAK, SHIFT_TAIL_N, SHIFT_TAIL_1, SHIFT_TAIL_2, SHIFT_PEAK,
    SEEN, LOW, HIGH, MEAN, MEAN_LOW, MEAN_HIGH, RESIDUAL_LOW, RESIDUAL_HIGH, MEAN_RESIDUAL,
    MEAN_RESIDUAL_LOW, MEAN_RESIDUAL_HIGH, STEP_2, STEPS_2, ROUGHNESS_LOW, ROUGHNESS_HIGH, TOLD,
    TOLD_NOVELTY, RING, RING_SINCE, EVENT, EVENT_START, EVENT_LAST, EVENT_PEAK, EVENT_OBSERVED,
    EVENT_EXPECTED, EVENT_SPREAD, EVENT_SCORE, EVENT_RULES, EVENT_COUNT,
) = range(len(ROW))  # fmt: skip
(
    FAIL_LOW, FAIL_HIGH, SUSPECT_LOW, SUSPECT_HIGH, RATE_SUSPECT, RATE_FAIL, SPIKE_SUSPECT, SPIKE_FAIL,
    FLAT_SUSPECT, FLAT_FAIL, FLAT_TOLERANCE, SPREAD_FLOOR, SPREAD_SHARE, WARM_UP, LEVEL_MEMORY,
    PROFILE_MEMORY, SCORE_WEAK, SCORE_STRONG, SCORE_CLOSE, SHIFT_MEMORY, SHIFT_LEAST, NOVELTY_LEAST,
    ATTENUATED, ATTENUATED_SUSPECT, ATTENUATED_FAIL, ADOPT, EVENT_GAP, DAY_OFFSET,
) = range(len(DEFAULTS))  # fmt: skip
PASS, NOT_EVALUATED, SUSPECT, FAIL, MISSING = (int(flag) for flag in Flag)
GROSS_RULE, RATE_RULE, SPIKE_RULE, FLAT_RULE = (
    int(rule) for rule in (Rule.GROSS_RANGE, Rule.RATE_OF_CHANGE, Rule.SPIKE, Rule.FLAT_LINE)
)
RESIDUAL_RULE, WARM_RULE, SHIFT_RULE = (int(rule) for rule in (Rule.RESIDUAL, Rule.WARM_UP, Rule.SHIFT))
NOVELTY_RULE, ATTENUATED_RULE = int(Rule.NOVELTY), int(Rule.ATTENUATED)
LARGEST, Z_CLIP = tick.LARGEST, stack.Z_CLIP
BITS, RING_MASK, RING_WANTED = events.BITS, events.RING_MASK, events.RING_WANTED
UNMEASURED_SCORE, LARGEST_SCORE = events.UNMEASURED_SCORE, events.LARGEST_SCORE
TO_SIGMA, CLIP, FIRST_CLIP, LITTLE = baseline.TO_SIGMA, baseline.CLIP, baseline.FIRST_CLIP, baseline.LITTLE
WHILE_FLAGGED, VISIT_READINGS = baseline.WHILE_FLAGGED, baseline.VISIT_READINGS
ADOPTED_MEMORY, DEVIATION_GAIN = baseline.ADOPTED_MEMORY_S, baseline.DEVIATION_GAIN
DAY, WEEK_LASTS, WEEKS = baseline.DAY_S, baseline.WEEK_S, baseline.WEEKS_AT_MOST
PER_DAY, PER_WEEK, PER_HOUR, PER_BIN = (1 / period for period in (DAY, WEEK_LASTS, baseline.HOUR_S, BIN_S))
PRIOR, LARGEST_SHAPE, SMALLEST_SHAPE = tail.PRIOR, tail.LARGEST_SHAPE, tail.SMALLEST_SHAPE
TO_LOG10, FAR = tail.TO_LOG10, tail.FAR
RESIDUAL_TAIL, SHIFT_TAIL, NOVELTY_TAIL = tuple(tail.RESIDUAL), tuple(tail.SHIFT), tuple(tail.NOVELTY)
FORGETS, ABOUT_TWELVE, FEW, MANY = novelty.FORGETS, novelty.ABOUT_TWELVE, novelty.FEW, novelty.MANY
FLOOR, ROUGHNESS_COUNTS = novelty.FLOOR, novelty.ROUGHNESS_COUNTS
NOVEL_MOST, QUIET = novelty.LARGEST, novelty.QUIET


def _compiled(function: F) -> F:
    """The function compiled; the result is kept beside the module's bytecode."""
    if not AVAILABLE:
        return function
    inline = "never" if function.__name__ == "run" else "always"  # twice as fast as calls are
    from numba import njit  # noqa: PLC0415 - an extra; the NumPy path is always there

    return cast("F", njit(cache=True, error_model="numpy", nogil=True, inline=inline)(function))


@_compiled
def _two(x: float, suspect: float, fail: float) -> int:
    if x > fail:
        return FAIL
    return SUSPECT if x > suspect else PASS


@_compiled
def _attenuate(r: NDArray[Any], p: NDArray[Any], s: int, t: float, v: float, dt: float) -> int:
    """The flag of too small a standard deviation; its means move on."""
    if np.isnan(r[s, ATTENUATED_MEAN]):
        gain, off = 1.0, 0.0
        r[s, ATTENUATED_MEAN] = v
    else:
        gain = dt / (dt + p[s, ATTENUATED])
        off = v - r[s, ATTENUATED_MEAN]
        r[s, ATTENUATED_MEAN] += gain * off
    r[s, ATTENUATED_VAR] = (1 - gain) * (r[s, ATTENUATED_VAR] + gain * off * off)
    if t - r[s, FIRST_TIME] >= p[s, ATTENUATED]:
        if r[s, ATTENUATED_VAR] < p[s, ATTENUATED_FAIL] * p[s, ATTENUATED_FAIL]:
            return FAIL
        if r[s, ATTENUATED_VAR] < p[s, ATTENUATED_SUSPECT] * p[s, ATTENUATED_SUSPECT]:
            return SUSPECT
    return PASS


@_compiled
def _score(
    x: float, known: tuple[float, float, float], count: float, begin: tuple[float, float, float, float]
) -> float:
    """As `analytics.core.tail.score`."""
    at, share, usual, usually = begin
    n = known[0] + PRIOR
    if not x > at:
        return usually * x
    rate = -np.log10(min(n / (count + PRIOR / share), 1.0))
    mean = (known[1] + PRIOR * usual) / n
    square = (known[2] + PRIOR * 2 * usual * usual) / n
    variance = max(square - mean * mean, 0.25 * mean * mean)
    shape = min(max(0.5 * (1 - mean * mean / variance), 0.0), LARGEST_SHAPE)
    excess = (x - at) / (mean * (1 - shape))
    beyond = np.log1p(shape * excess) / shape if shape > SMALLEST_SHAPE else excess
    return rate + TO_LOG10 * beyond


@_compiled
def _tail(
    r: NDArray[Any], s: int, first: int, x: float, weight: float, begin: tuple[float, float, float, float]
) -> None:
    """As `analytics.core.tail.learn`."""
    at, _, usual, _ = begin
    if x > at:
        r[s, first + 3] = max(r[s, first + 3], x)
    elif r[s, first + 3] > 0:
        mean = (r[s, first + 1] + PRIOR * usual) / (r[s, first] + PRIOR)
        excess = min(r[s, first + 3] - at, FAR * mean)
        r[s, first] += weight
        r[s, first + 1] += weight * excess
        r[s, first + 2] += weight * excess * excess
        r[s, first + 3] = 0.0


@_compiled
def _record(r: NDArray[Any], s: int, low: int, now: float, counts: float, least: float) -> float:
    """As `analytics.core.novelty._record`; ``low`` and the place after it hold the record."""
    excess = 0.0
    if r[s, low] <= r[s, low + 1]:
        span = r[s, low + 1] - r[s, low]
        beyond = max(now - r[s, low + 1], r[s, low] - now)
        if beyond > 0:
            excess = beyond / max(span, least)
        forgets = 0.5 * FORGETS * span
        r[s, low] = min(r[s, low] + forgets, now)
        r[s, low + 1] = max(r[s, low + 1] - forgets, now)
    else:
        r[s, low], r[s, low + 1] = min(r[s, low], now), max(r[s, low + 1], now)
    return counts * excess


@_compiled
def _novelty(  # noqa: PLR0917 - one of each
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
    before, after = (hour - 1) % HOURS, (hour + 1) % HOURS
    lowest = min(min(low[s, hour], low[s, before]), low[s, after])
    highest = max(max(high[s, hour], high[s, before]), high[s, after])
    found = 0.0
    if lowest <= highest:
        excess = max(v - highest, lowest - v)
        if excess > 0:
            found = excess / max(r[s, HIGH] - r[s, LOW], floor)
    low[s, hour], high[s, hour] = min(low[s, hour], v), max(high[s, hour], v)
    r[s, LOW], r[s, HIGH] = min(r[s, LOW], v), max(r[s, HIGH], v)
    young = 1 / (1 + r[s, SEEN])
    gain = max(ABOUT_TWELVE, young)
    r[s, MEAN] += gain * (v - r[s, MEAN])
    r[s, MEAN_RESIDUAL] += gain * (residual - r[s, MEAN_RESIDUAL])
    if r[s, SEEN] > 0 and abs(r[s, VALUE_1]) <= LARGEST:
        square = (v - r[s, VALUE_1]) ** 2
        r[s, STEP_2] += max(FEW, young) * (square - r[s, STEP_2])
        r[s, STEPS_2] += max(MANY, young) * (square - r[s, STEPS_2])
        roughness = np.log(r[s, STEP_2] + FLOOR * r[s, STEPS_2] + floor * floor)
        found = max(found, _record(r, s, MEAN_LOW, r[s, MEAN], 1.0, floor))
        found = max(found, _record(r, s, RESIDUAL_LOW, residual, 1.0, floor))
        found = max(found, _record(r, s, MEAN_RESIDUAL_LOW, r[s, MEAN_RESIDUAL], 1.0, floor))
        found = max(found, _record(r, s, ROUGHNESS_LOW, roughness, ROUGHNESS_COUNTS, 1e-9))
    r[s, SEEN] += 1.0
    return min(found, NOVEL_MOST)


@_compiled
def _told(r: NDArray[Any], s: int, found: float) -> float:
    """As `analytics.core.novelty._told`."""
    if found > 0 and (r[s, TOLD] > QUIET or found > r[s, TOLD_NOVELTY]):
        r[s, TOLD], r[s, TOLD_NOVELTY] = 0.0, found
        return found
    r[s, TOLD] += 1.0
    return 0.0


@_compiled
def _check(r: NDArray[Any], p: NDArray[Any], s: int, t: float, v: float, dt: float) -> tuple[int, int]:
    """Quality and rules of the checks of one value that is there; the run of equal values moves on."""
    quality, rules = PASS, 0
    if v < p[s, SUSPECT_LOW] or v > p[s, SUSPECT_HIGH]:
        quality, rules = SUSPECT, GROSS_RULE
    if v < p[s, FAIL_LOW] or v > p[s, FAIL_HIGH] or np.isinf(v):
        quality, rules = FAIL, GROSS_RULE
    if p[s, RATE_SUSPECT] >= 0 or p[s, RATE_FAIL] >= 0:
        rate = _two(abs(v - r[s, VALUE_1]) / dt, p[s, RATE_SUSPECT], p[s, RATE_FAIL])
        if rate >= SUSPECT:
            quality, rules = max(quality, rate), rules | RATE_RULE
    low = min(r[s, FLAT_LOW], v)
    high = max(r[s, FLAT_HIGH], v)
    if high - low <= p[s, FLAT_TOLERANCE] and not np.isnan(r[s, FLAT_SINCE]):
        r[s, FLAT_LOW], r[s, FLAT_HIGH] = low, high
    else:
        r[s, FLAT_LOW], r[s, FLAT_HIGH], r[s, FLAT_SINCE] = v, v, t
    if (p[s, ATTENUATED_SUSPECT] >= 0 or p[s, ATTENUATED_FAIL] >= 0) and abs(v) <= LARGEST:
        attenuated = _attenuate(r, p, s, t, v, dt)
        if attenuated >= SUSPECT:
            quality, rules = max(quality, attenuated), rules | ATTENUATED_RULE
    lasts = t - r[s, FLAT_SINCE]
    if lasts >= p[s, FLAT_SUSPECT] or lasts >= p[s, FLAT_FAIL]:
        quality = max(quality, FAIL if lasts >= p[s, FLAT_FAIL] else SUSPECT)
        rules |= FLAT_RULE
    return quality, rules


@_compiled
def _events(  # noqa: PLR0917 - one of each
    r: NDArray[Any],
    p: NDArray[Any],
    s: int,
    t: float,
    strong: bool,  # noqa: FBT001
    weak: bool,  # noqa: FBT001
    still: bool,  # noqa: FBT001
    closed: NDArray[Any],
    n_closed: int,
) -> tuple[bool, bool]:
    """Whether an event was closed (its scalars are then in the next row of ``closed``), and whether one goes on."""
    is_open = r[s, EVENT] > 0
    over = is_open and t - r[s, EVENT_LAST] > p[s, EVENT_GAP]
    if over:
        for column in range(r.shape[1]):
            closed[n_closed, 1 + column] = r[s, column]
        r[s, EVENT] = 0.0
        is_open = False
    ring = (int(r[s, RING]) << 1) & RING_MASK
    if weak and ring == 0:
        r[s, RING_SINCE] = t
    if weak:
        ring |= 1
    r[s, RING] = ring
    enough = BITS[ring] >= RING_WANTED
    opens = not is_open and (strong or (enough and weak))
    if opens:
        r[s, EVENT], r[s, EVENT_START], r[s, EVENT_PEAK] = 1.0, r[s, RING_SINCE] if enough else t, t
        r[s, EVENT_SCORE] = r[s, EVENT_RULES] = r[s, EVENT_COUNT] = 0.0
    return over, opens or (is_open and (strong or weak or still))


@_compiled
def _extend(  # noqa: PLR0917 - one of each
    r: NDArray[Any], s: int, t: float, v: float, expected: float, spread: float, score: float, rules: int
) -> None:
    """Take a reading into the open event."""
    r[s, EVENT_LAST] = t
    r[s, EVENT_COUNT] += 1.0
    r[s, EVENT_RULES] = int(r[s, EVENT_RULES]) | rules
    if score > r[s, EVENT_SCORE]:
        r[s, EVENT_PEAK], r[s, EVENT_OBSERVED], r[s, EVENT_EXPECTED], r[s, EVENT_SPREAD] = (
            t,
            v,
            expected,
            spread,
        )
        r[s, EVENT_SCORE] = score


@_compiled
def _learn(  # noqa: PLR0917 - one of each
    r: NDArray[Any],
    p: NDArray[Any],
    s: int,
    profiles: tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]],
    place: tuple[int, int, float, int],
    t: float,
    dt: float,
    residual: float,
    spread: float,
    weight: float,
    adopted: bool,  # noqa: FBT001
) -> None:
    """Move level, profiles and deviation, as `analytics.core.baseline.learn` does."""
    profile, spread_profile, visits, week = profiles
    count = r[s, COUNT]
    first = count < 1
    clip = (FIRST_CLIP if count < LITTLE else CLIP) * spread
    clipped = residual if adopted or first else min(max(residual, -clip), clip)
    absolute = min(abs(residual), clip)
    memory = ADOPTED_MEMORY if adopted else p[s, LEVEL_MEMORY]
    young = 1 / (1 + count)
    gain = max(dt / (dt + memory), young) * weight if not first else weight
    r[s, LEVEL] += gain * clipped
    if not first:
        r[s, DEVIATION] += max(DEVIATION_GAIN, young) * weight * (absolute - r[s, DEVIATION])
    many = VISIT_READINGS * p[s, PROFILE_MEMORY]
    left, right, w, hour = place
    for b, near in ((left, 1 - w), (right, w)):
        seen = visits[s, b]
        if not first:
            pull = near * weight / min(many, 1 + seen)
            profile[s, b] += pull * (1 - gain) * clipped
            spread_profile[s, b] += pull * (absolute - spread_profile[s, b])
        visits[s, b] = seen + near * weight
    if not first:
        weeks = (t - r[s, FIRST_TIME]) * PER_WEEK
        week[s, hour] += min(dt * PER_HOUR, 0.5) / (2 + min(weeks, WEEKS)) * weight * clipped
    r[s, COUNT] = count + weight


@_compiled
def run(  # noqa: C901, PLR0912, PLR0915, PLR0917 - the stack, once through
    series: NDArray[np.intp],
    time_s: NDArray[np.float64],
    value: NDArray[np.float64],
    p: NDArray[np.float64],
    state: tuple[NDArray[Any], ...],
    said: tuple[NDArray[Any], ...],
    revised: NDArray[np.float64],
    closed: NDArray[np.float64],
) -> tuple[int, int]:
    """Judge readings sorted by series and time; how many rows of ``revised`` and ``closed`` it filled."""
    quality_out, rules_out, expected_out, spread_out, score_out, novelty_out = said
    r, profile, spread_profile, visits, week, lows, highs = state
    n_revised = n_closed = 0
    for j in range(len(series)):
        s = series[j]
        t, v = time_s[j], value[j]
        present = not np.isnan(v)
        usable = present and abs(v) <= LARGEST
        dt = np.inf if np.isnan(r[s, TIME_1]) else t - r[s, TIME_1]
        quality, rules = MISSING, 0
        if present:
            quality, rules = _check(r, p, s, t, v, dt)
            late = _two(
                abs(r[s, VALUE_1] - (r[s, VALUE_2] / 2 + v / 2)), p[s, SPIKE_SUSPECT], p[s, SPIKE_FAIL]
            )
            if late >= SUSPECT:
                revised[n_revised, 0], revised[n_revised, 1] = s, r[s, TIME_1]
                revised[n_revised, 2] = max(int(r[s, QUALITY_1]), late)
                revised[n_revised, 3] = int(r[s, RULES_1]) | SPIKE_RULE
                n_revised += 1

        local = t + p[s, DAY_OFFSET]
        of_day = local - DAY * np.floor(local * PER_DAY)
        at = of_day * PER_BIN - 0.5
        below = np.floor(at)
        left = int(below) % BINS
        right, w = (left + 1) % BINS, at - below
        hour = int((local - WEEK_LASTS * np.floor(local * PER_WEEK)) * PER_HOUR) % WEEK
        expected = r[s, LEVEL] + (profile[s, left] * (1 - w) + profile[s, right] * w) + week[s, hour]
        typical = spread_profile[s, left] * (1 - w) + spread_profile[s, right] * w
        share = min((visits[s, left] * (1 - w) + visits[s, right] * w) / VISIT_READINGS, 1.0)
        spread = TO_SIGMA * (share * typical + (1 - share) * r[s, DEVIATION])
        spread = max(spread, p[s, SPREAD_FLOOR], p[s, SPREAD_SHARE] * abs(expected))
        residual = (v if usable else 0.0) - expected
        warm = r[s, COUNT] > 1 and t - r[s, FIRST_TIME] >= p[s, WARM_UP]
        known = usable and warm
        z = residual / spread if known else 0.0
        if known and np.isfinite(dt):
            r[s, MEAN_Z] += 1 / (1 + p[s, SHIFT_MEMORY] / dt) * (min(max(z, -Z_CLIP), Z_CLIP) - r[s, MEAN_Z])

        told = 0.0
        if usable:
            found = _novelty(
                r, s, lows, highs, int(of_day * PER_HOUR) % HOURS, v, residual, p[s, SPREAD_FLOOR]
            )
            told = _told(r, s, found if warm else 0.0)
        far, mean_z = abs(z), abs(r[s, MEAN_Z])
        by_residual = by_shift = 0.0
        if known:
            known_tail = (r[s, RESIDUAL_TAIL_N], r[s, RESIDUAL_TAIL_1], r[s, RESIDUAL_TAIL_2])
            by_residual = _score(far, known_tail, r[s, COUNT], RESIDUAL_TAIL)
            known_tail = (r[s, SHIFT_TAIL_N], r[s, SHIFT_TAIL_1], r[s, SHIFT_TAIL_2])
            by_shift = _score(mean_z, known_tail, r[s, COUNT], SHIFT_TAIL)
        weak = by_residual > p[s, SCORE_WEAK]
        shifted = by_shift > p[s, SCORE_STRONG] and mean_z > p[s, SHIFT_LEAST]
        new = told > p[s, NOVELTY_LEAST]
        hard = quality == FAIL or (rules & (FLAT_RULE | ATTENUATED_RULE)) > 0
        score = max(by_residual, by_shift if shifted else 0.0, UNMEASURED_SCORE if hard else 0.0)
        if new:
            score = max(score, _score(told, (0.0, 0.0, 0.0), 0.0, NOVELTY_TAIL))
        score = min(score, LARGEST_SCORE)
        strong = by_residual > p[s, SCORE_STRONG] or hard or shifted or new
        off = weak or (rules & RATE_RULE) > 0
        if weak:
            rules |= RESIDUAL_RULE
        if shifted:
            rules |= SHIFT_RULE
        if new:
            rules |= NOVELTY_RULE
        was_open = r[s, EVENT] > 0
        over, goes_on = _events(r, p, s, t, strong, off, by_residual > p[s, SCORE_CLOSE], closed, n_closed)
        if over:
            closed[n_closed, 0] = s
            n_closed += 1
        if goes_on:
            _extend(r, s, t, v, expected if known else np.nan, spread if known else np.nan, score, rules)

        is_open = r[s, EVENT] > 0
        adopted = is_open and t - r[s, EVENT_START] > p[s, ADOPT]
        weight = WHILE_FLAGGED if (was_open or is_open) and not adopted else 1.0
        if not usable or quality == FAIL:
            weight = 0.0
        if usable and np.isnan(r[s, FIRST_TIME]):
            r[s, FIRST_TIME] = t
        shapes = (profile, spread_profile, visits, week)
        _learn(r, p, s, shapes, (left, right, w, hour), t, dt, residual, spread, weight, adopted)
        if known:
            _tail(r, s, RESIDUAL_TAIL_N, far, weight, RESIDUAL_TAIL)
            _tail(r, s, SHIFT_TAIL_N, mean_z, weight, SHIFT_TAIL)

        if present:
            if rules & (RESIDUAL_RULE | SHIFT_RULE | NOVELTY_RULE):
                quality = max(quality, SUSPECT)
            if not known:
                quality = NOT_EVALUATED if quality == PASS else quality
                rules |= WARM_RULE
            r[s, VALUE_2], r[s, VALUE_1], r[s, TIME_1], r[s, QUALITY_1], r[s, RULES_1] = (
                r[s, VALUE_1],
                v,
                t,
                quality,
                rules,
            )
        r[s, LAST_TIME] = t
        quality_out[j], rules_out[j] = quality, rules
        expected_out[j], spread_out[j] = (expected, spread) if warm else (np.nan, np.nan)
        score_out[j] = score if known else np.nan
        novelty_out[j] = told if usable and warm else np.nan
    return n_revised, n_closed
