"""Names and constants that the compiler freezes, and how functions are compiled.

Numba's cache knows the content of `analytics.core.compiled` alone, so that carries a digest of what it uses.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from analytics.core import baseline, events, novelty, stack, tail, tick
from analytics.core.flags import Flag, Rule
from analytics.core.parameters import DEFAULTS
from analytics.core.state import BIN_S, ROW

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

AVAILABLE = find_spec("numba") is not None

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
    STEP_DEVIATIONS, ATTENUATED, ATTENUATED_SUSPECT, ATTENUATED_FAIL, GAP_SUSPECT, GAP_FAIL, ADOPT,
    EVENT_GAP, DAY_OFFSET,
) = range(len(DEFAULTS))  # fmt: skip
PASS, NOT_EVALUATED, SUSPECT, FAIL, MISSING = (int(flag) for flag in Flag)
GROSS_RULE, RATE_RULE, SPIKE_RULE, FLAT_RULE = (
    int(rule) for rule in (Rule.GROSS_RANGE, Rule.RATE_OF_CHANGE, Rule.SPIKE, Rule.FLAT_LINE)
)
RESIDUAL_RULE, WARM_RULE, SHIFT_RULE = (int(rule) for rule in (Rule.RESIDUAL, Rule.WARM_UP, Rule.SHIFT))
NOVELTY_RULE, ATTENUATED_RULE, GAP_RULE = int(Rule.NOVELTY), int(Rule.ATTENUATED), int(Rule.GAP)
LARGEST, Z_CLIP = tick.LARGEST, stack.Z_CLIP
BITS, RING_MASK, RING_WANTED = events.BITS, events.RING_MASK, events.RING_WANTED
UNMEASURED_SCORE, LARGEST_SCORE = events.UNMEASURED_SCORE, events.LARGEST_SCORE
TO_SIGMA, CLIP, FIRST_CLIP, LITTLE = baseline.TO_SIGMA, baseline.CLIP, baseline.FIRST_CLIP, baseline.LITTLE
WHILE_FLAGGED, VISIT_READINGS = baseline.WHILE_FLAGGED, baseline.VISIT_READINGS
ADOPTED_MEMORY, DEVIATION_GAIN = baseline.ADOPTED_MEMORY_S, baseline.DEVIATION_GAIN
DAY, WEEK_LASTS, WEEKS = baseline.DAY_S, baseline.WEEK_S, baseline.WEEKS_AT_MOST
WEEK_SHARES = baseline.WEEK_SHARES
PER_DAY, PER_WEEK, PER_HOUR, PER_BIN = (1 / period for period in (DAY, WEEK_LASTS, baseline.HOUR_S, BIN_S))
PRIOR, LARGEST_SHAPE, SMALLEST_SHAPE = tail.PRIOR, tail.LARGEST_SHAPE, tail.SMALLEST_SHAPE
TO_LOG10, FAR = tail.TO_LOG10, tail.FAR
RESIDUAL_TAIL, SHIFT_TAIL, NOVELTY_TAIL = (*tail.RESIDUAL,), (*tail.SHIFT,), (*tail.NOVELTY,)
FORGETS, ABOUT_TWENTY, FEW, MANY = novelty.FORGETS, novelty.ABOUT_TWENTY, novelty.FEW, novelty.MANY
FLOOR = novelty.FLOOR
NOVEL_MOST, QUIET, STEPS_WANTED = novelty.LARGEST, novelty.QUIET, novelty.STEPS_WANTED


def compiled(function: F) -> F:
    """A function called by compiled ones alone, as a part of them: a call costs as much as what it does."""
    return _compiled(function, "always")


def entry(function: F) -> F:
    """The function compiled; the result is kept beside the module's bytecode."""
    return _compiled(function, "never")


def _compiled(function: F, inline: Literal["never", "always"]) -> F:
    if not AVAILABLE:
        return function
    from numba import njit  # noqa: PLC0415 - an extra; the NumPy path is always there

    # Nothing here makes or keeps an array; counting references to them took two thirds of the time.
    options: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True, "_nrt": False}
    return cast("F", njit(inline=inline, **options)(function))
