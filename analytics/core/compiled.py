"""The stack of `analytics.core.stack`, reading by reading, compiled by Numba where that is installed.

It is the same arithmetic in the same order, and gives the same bits (tests/analytics/core/test_compiled.py).
NumPy is fast over many series at one reading each; this is as fast over few series with many readings.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from analytics.core import baseline, events, stack, tick
from analytics.core.flags import Flag, Rule
from analytics.core.parameters import DEFAULTS
from analytics.core.state import BIN_S, BINS, ROW

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    F = TypeVar("F", bound=Callable[..., Any])

AVAILABLE = find_spec("numba") is not None

# What the compiler freezes: places of scalars and limits, flags, rules, constants. Its cache knows the age of
# this file alone: after a change of a constant elsewhere, touch it (the test of equality tells).
(
    LAST_TIME, FIRST_TIME, COUNT, VALUE_1, VALUE_2, TIME_1, QUALITY_1, RULES_1, FLAT_LOW, FLAT_HIGH,
    FLAT_SINCE, LEVEL, DEVIATION, MEAN_Z, RING, RING_SINCE, EVENT, EVENT_START, EVENT_LAST, EVENT_PEAK,
    EVENT_OBSERVED, EVENT_EXPECTED, EVENT_SPREAD, EVENT_SCORE, EVENT_RULES, EVENT_COUNT,
) = range(len(ROW))  # fmt: skip
(
    FAIL_LOW, FAIL_HIGH, SUSPECT_LOW, SUSPECT_HIGH, RATE_SUSPECT, RATE_FAIL, SPIKE_SUSPECT, SPIKE_FAIL,
    FLAT_SUSPECT, FLAT_FAIL, FLAT_TOLERANCE, SPREAD_FLOOR, SPREAD_SHARE, WARM_UP, LEVEL_MEMORY,
    PROFILE_MEMORY, RESIDUAL_WEAK, RESIDUAL_STRONG, RESIDUAL_CLOSE, SHIFT_MEMORY, SHIFT_LIMIT, ADOPT,
    EVENT_GAP, DAY_OFFSET,
) = range(len(DEFAULTS))  # fmt: skip
PASS, NOT_EVALUATED, SUSPECT, FAIL, MISSING = (int(flag) for flag in Flag)
GROSS_RULE, RATE_RULE, SPIKE_RULE, FLAT_RULE = (
    int(rule) for rule in (Rule.GROSS_RANGE, Rule.RATE_OF_CHANGE, Rule.SPIKE, Rule.FLAT_LINE)
)
RESIDUAL_RULE, WARM_RULE, SHIFT_RULE = (int(rule) for rule in (Rule.RESIDUAL, Rule.WARM_UP, Rule.SHIFT))
LARGEST, Z_CLIP = tick.LARGEST, stack.Z_CLIP
BITS, RING_MASK, RING_WANTED = events.BITS, events.RING_MASK, events.RING_WANTED
UNMEASURED_SCORE, LARGEST_SCORE = events.UNMEASURED_SCORE, events.LARGEST_SCORE
TO_SIGMA, CLIP, FIRST_CLIP, LITTLE = baseline.TO_SIGMA, baseline.CLIP, baseline.FIRST_CLIP, baseline.LITTLE
WHILE_FLAGGED, VISIT_READINGS = baseline.WHILE_FLAGGED, baseline.VISIT_READINGS
ADOPTED_MEMORY, DEVIATION_GAIN = baseline.ADOPTED_MEMORY_S, baseline.DEVIATION_GAIN


def _compiled(function: F) -> F:
    """The function compiled; the result is kept beside the module's bytecode."""
    if not AVAILABLE:
        return function
    from numba import njit  # noqa: PLC0415 - an extra; the NumPy path is always there

    return cast("F", njit(cache=True, error_model="numpy", nogil=True)(function))


@_compiled
def _two(x: float, suspect: float, fail: float) -> int:
    if x > fail:
        return FAIL
    return SUSPECT if x > suspect else PASS


@_compiled
def _check(r: NDArray[Any], p: NDArray[Any], t: float, v: float, dt: float) -> tuple[int, int]:
    """Quality and rules of the checks of one value that is there; the run of equal values moves on."""
    quality, rules = PASS, 0
    if v < p[SUSPECT_LOW] or v > p[SUSPECT_HIGH]:
        quality, rules = SUSPECT, GROSS_RULE
    if v < p[FAIL_LOW] or v > p[FAIL_HIGH] or np.isinf(v):
        quality, rules = FAIL, GROSS_RULE
    rate = _two(abs(v - r[VALUE_1]) / dt, p[RATE_SUSPECT], p[RATE_FAIL])
    if rate >= SUSPECT:
        quality, rules = max(quality, rate), rules | RATE_RULE
    low = min(r[FLAT_LOW], v)
    high = max(r[FLAT_HIGH], v)
    if high - low <= p[FLAT_TOLERANCE] and not np.isnan(r[FLAT_SINCE]):
        r[FLAT_LOW], r[FLAT_HIGH] = low, high
    else:
        r[FLAT_LOW], r[FLAT_HIGH], r[FLAT_SINCE] = v, v, t
    lasts = t - r[FLAT_SINCE]
    if lasts >= p[FLAT_SUSPECT] or lasts >= p[FLAT_FAIL]:
        quality = max(quality, FAIL if lasts >= p[FLAT_FAIL] else SUSPECT)
        rules |= FLAT_RULE
    return quality, rules


@_compiled
def _events(  # noqa: PLR0917 - one of each
    r: NDArray[Any],
    p: NDArray[Any],
    t: float,
    strong: bool,  # noqa: FBT001
    weak: bool,  # noqa: FBT001
    still: bool,  # noqa: FBT001
    closed: NDArray[Any],
) -> tuple[bool, bool]:
    """Whether an event was closed (its scalars are then in ``closed``), and whether one goes on."""
    is_open = r[EVENT] > 0
    over = is_open and t - r[EVENT_LAST] > p[EVENT_GAP]
    if over:
        closed[:] = r
        r[EVENT] = 0.0
        is_open = False
    ring = (int(r[RING]) << 1) & RING_MASK
    if weak and ring == 0:
        r[RING_SINCE] = t
    if weak:
        ring |= 1
    r[RING] = ring
    enough = BITS[ring] >= RING_WANTED
    opens = not is_open and (strong or (enough and weak))
    if opens:
        r[EVENT], r[EVENT_START], r[EVENT_PEAK] = 1.0, r[RING_SINCE] if enough else t, t
        r[EVENT_SCORE] = r[EVENT_RULES] = r[EVENT_COUNT] = 0.0
    return over, opens or (is_open and (strong or weak or still))


@_compiled
def _extend(  # noqa: PLR0917 - one of each
    r: NDArray[Any], t: float, v: float, expected: float, spread: float, score: float, rules: int
) -> None:
    """Take a reading into the open event."""
    r[EVENT_LAST] = t
    r[EVENT_COUNT] += 1.0
    r[EVENT_RULES] = int(r[EVENT_RULES]) | rules
    if score > r[EVENT_SCORE]:
        r[EVENT_PEAK], r[EVENT_OBSERVED], r[EVENT_EXPECTED], r[EVENT_SPREAD] = t, v, expected, spread
        r[EVENT_SCORE] = score


@_compiled
def _learn(  # noqa: PLR0917 - one of each
    r: NDArray[Any],
    p: NDArray[Any],
    profiles: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    s: int,
    place: tuple[int, int, float],
    dt: float,
    residual: float,
    spread: float,
    weight: float,
    adopted: bool,  # noqa: FBT001
) -> None:
    """Move level, profiles and deviation, as `analytics.core.baseline.learn` does."""
    profile, spread_profile, visits = profiles
    count = r[COUNT]
    first = count < 1
    clip = (FIRST_CLIP if count < LITTLE else CLIP) * spread
    clipped = residual if adopted or first else min(max(residual, -clip), clip)
    absolute = min(abs(residual), clip)
    memory = ADOPTED_MEMORY if adopted else p[LEVEL_MEMORY]
    gain = max(1 / (1 + memory / dt), 1 / (1 + count)) * weight
    r[LEVEL] += gain * clipped
    if not first:
        r[DEVIATION] += max(DEVIATION_GAIN, 1 / (1 + count)) * weight * (absolute - r[DEVIATION])
    slowest = 1 / (VISIT_READINGS * p[PROFILE_MEMORY])
    left, right, w = place
    for b, near in ((left, 1 - w), (right, w)):
        seen = visits[b, s]
        if not first:
            pull = near * weight * max(slowest, 1 / (1 + seen))
            profile[b, s] += pull * (1 - gain) * clipped
            spread_profile[b, s] += pull * (absolute - spread_profile[b, s])
        visits[b, s] = seen + near * weight
    r[COUNT] = count + weight


@_compiled
def run(  # noqa: C901, PLR0912, PLR0915, PLR0917 - the stack, once through
    series: NDArray[np.intp],
    time_s: NDArray[np.float64],
    value: NDArray[np.float64],
    limits: NDArray[np.float64],
    scalars: NDArray[np.float64],
    profiles: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    said: tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]],
    revised: NDArray[np.float64],
    closed: NDArray[np.float64],
) -> tuple[int, int]:
    """Judge readings sorted by series and time; how many rows of ``revised`` and ``closed`` it filled."""
    quality_out, rules_out, expected_out, spread_out, score_out = said
    profile, spread_profile, visits = profiles
    r, p = np.empty(scalars.shape[0]), np.empty(limits.shape[0])
    n_revised = n_closed = 0
    for j in range(len(series)):
        s = series[j]
        if j == 0 or s != series[j - 1]:
            r[:] = scalars[:, s]
            p[:] = limits[:, s]
        t, v = time_s[j], value[j]
        present = not np.isnan(v)
        usable = present and abs(v) <= LARGEST
        dt = np.inf if np.isnan(r[TIME_1]) else t - r[TIME_1]
        quality, rules = MISSING, 0
        if present:
            quality, rules = _check(r, p, t, v, dt)
            late = _two(abs(r[VALUE_1] - (r[VALUE_2] / 2 + v / 2)), p[SPIKE_SUSPECT], p[SPIKE_FAIL])
            if late >= SUSPECT:
                revised[n_revised, 0], revised[n_revised, 1] = s, r[TIME_1]
                revised[n_revised, 2] = max(int(r[QUALITY_1]), late)
                revised[n_revised, 3] = int(r[RULES_1]) | SPIKE_RULE
                n_revised += 1

        at = (t + p[DAY_OFFSET]) % 86_400.0 / BIN_S - 0.5
        below = np.floor(at)
        left = int(below) % BINS
        right, w = (left + 1) % BINS, at - below
        expected = r[LEVEL] + (profile[left, s] * (1 - w) + profile[right, s] * w)
        typical = spread_profile[left, s] * (1 - w) + spread_profile[right, s] * w
        share = min((visits[left, s] * (1 - w) + visits[right, s] * w) / VISIT_READINGS, 1.0)
        spread = TO_SIGMA * (share * typical + (1 - share) * r[DEVIATION])
        spread = max(spread, p[SPREAD_FLOOR], p[SPREAD_SHARE] * abs(expected))
        residual = (v if usable else 0.0) - expected
        warm = r[COUNT] > 1 and t - r[FIRST_TIME] >= p[WARM_UP]
        known = usable and warm
        z = residual / spread if known else 0.0
        if known and np.isfinite(dt):
            r[MEAN_Z] += 1 / (1 + p[SHIFT_MEMORY] / dt) * (min(max(z, -Z_CLIP), Z_CLIP) - r[MEAN_Z])

        far, mean_z = abs(z), abs(r[MEAN_Z])
        weak = known and far > p[RESIDUAL_WEAK]
        shifted = known and mean_z > p[SHIFT_LIMIT]
        hard = quality == FAIL or (rules & FLAT_RULE) > 0
        score = min(max(far, UNMEASURED_SCORE if hard else mean_z), LARGEST_SCORE)
        strong = (known and far > p[RESIDUAL_STRONG]) or hard or shifted
        off = weak or (rules & RATE_RULE) > 0
        if weak:
            rules |= RESIDUAL_RULE
        if shifted:
            rules |= SHIFT_RULE
        was_open = r[EVENT] > 0
        over, goes_on = _events(r, p, t, strong, off, known and far > p[RESIDUAL_CLOSE], closed[n_closed, 1:])
        if over:
            closed[n_closed, 0] = s
            n_closed += 1
        if goes_on:
            _extend(r, t, v, expected if known else np.nan, spread if known else np.nan, score, rules)

        is_open = r[EVENT] > 0
        adopted = is_open and t - r[EVENT_START] > p[ADOPT]
        weight = WHILE_FLAGGED if (was_open or is_open) and not adopted else 1.0
        if not usable or quality == FAIL:
            weight = 0.0
        if usable and np.isnan(r[FIRST_TIME]):
            r[FIRST_TIME] = t
        _learn(r, p, profiles, s, (left, right, w), dt, residual, spread, weight, adopted)

        if present:
            if rules & (RESIDUAL_RULE | SHIFT_RULE):
                quality = max(quality, SUSPECT)
            if not known:
                quality = NOT_EVALUATED if quality == PASS else quality
                rules |= WARM_RULE
            r[VALUE_2], r[VALUE_1], r[TIME_1], r[QUALITY_1], r[RULES_1] = r[VALUE_1], v, t, quality, rules
        r[LAST_TIME] = t
        quality_out[j], rules_out[j] = quality, rules
        expected_out[j], spread_out[j] = (expected, spread) if warm else (np.nan, np.nan)
        score_out[j] = min(max(z, -LARGEST_SCORE), LARGEST_SCORE) if known else np.nan
        if j + 1 == len(series) or series[j + 1] != s:
            scalars[:, s] = r
    return n_revised, n_closed
