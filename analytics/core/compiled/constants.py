"""Column indices and constants that Numba compiles in, and the decorators that compile functions.

Numba's cache checks the file of a compiled function alone, not the code and constants that it inlines;
therefore `analytics.core.compiled.kernel` contains a digest of them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from analytics.core import baseline, events, novelty, numpy_judge, tail_probability, tick
from analytics.core.flags import Flag, Rule
from analytics.core.parameters import DEFAULTS
from analytics.core.state import BIN_S, SCALAR_COLUMN

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

NUMBA_AVAILABLE = find_spec("numba") is not None

(
    LAST_TIME, FIRST_TIME, COUNT, VALUE_1, VALUE_2, TIME_1, QUALITY_1, RULES_1, FLAT_LOW, FLAT_HIGH,
    FLAT_SINCE, LEVEL, DEVIATION, MEAN_Z, ATTENUATED_MEAN, ATTENUATED_VAR, RESIDUAL_TAIL_N,
    RESIDUAL_TAIL_1, RESIDUAL_TAIL_2, RESIDUAL_PEAK, SHIFT_TAIL_N, SHIFT_TAIL_1, SHIFT_TAIL_2, SHIFT_PEAK,
    USABLE_COUNT, LOW, HIGH, MEAN, MEAN_LOW, MEAN_HIGH, RESIDUAL_LOW, RESIDUAL_HIGH, MEAN_RESIDUAL,
    MEAN_RESIDUAL_LOW, MEAN_RESIDUAL_HIGH, STEP_2, STEPS_2, ROUGHNESS_LOW, ROUGHNESS_HIGH,
    VALUES_SINCE_NOVELTY, LAST_NOVELTY, EVIDENCE_BITS, EVIDENCE_SINCE, EVENT, EVENT_START, EVENT_LAST,
    EVENT_PEAK, EVENT_OBSERVED, EVENT_EXPECTED, EVENT_SPREAD, EVENT_SCORE, EVENT_RULES, EVENT_COUNT,
) = range(len(SCALAR_COLUMN))  # fmt: skip
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
LARGEST_USABLE_VALUE, Z_CLIP = tick.LARGEST_USABLE_VALUE, numpy_judge.Z_CLIP
BIT_COUNTS, EVIDENCE_MASK, MIN_WEAK_READINGS = (
    events.BIT_COUNTS,
    events.EVIDENCE_MASK,
    events.MIN_WEAK_READINGS,
)
FAILED_CHECK_SCORE, MAX_SCORE = events.FAILED_CHECK_SCORE, events.MAX_SCORE
MEAN_DEVIATION_TO_SIGMA, CLIP_SPREADS, EARLY_CLIP_SPREADS, EARLY_READINGS = (
    baseline.MEAN_DEVIATION_TO_SIGMA,
    baseline.CLIP_SPREADS,
    baseline.EARLY_CLIP_SPREADS,
    baseline.EARLY_READINGS,
)
LEARNING_SHARE_IN_EVENT, READINGS_PER_BIN_AND_DAY = (
    baseline.LEARNING_SHARE_IN_EVENT,
    baseline.READINGS_PER_BIN_AND_DAY,
)
ADOPTED_MEMORY_S, DEVIATION_GAIN = baseline.ADOPTED_MEMORY_S, baseline.DEVIATION_GAIN
DAY_S, WEEK_S, MAX_REMEMBERED_WEEKS = baseline.DAY_S, baseline.WEEK_S, baseline.MAX_REMEMBERED_WEEKS
WEEK_SHARES = baseline.WEEK_SHARES
PER_DAY, PER_WEEK, PER_HOUR, PER_BIN = (1 / period for period in (DAY_S, WEEK_S, baseline.HOUR_S, BIN_S))
PRIOR_EXCURSIONS, LARGEST_SHAPE, SMALLEST_SHAPE = (
    tail_probability.PRIOR_EXCURSIONS,
    tail_probability.LARGEST_SHAPE,
    tail_probability.SMALLEST_SHAPE,
)
TO_LOG10, MAX_LEARNED_EXCESSES = tail_probability.TO_LOG10, tail_probability.MAX_LEARNED_EXCESSES
RESIDUAL_TAIL_START, SHIFT_TAIL_START, NOVELTY_TAIL_START = (
    (*tail_probability.RESIDUAL,),
    (*tail_probability.SHIFT,),
    (*tail_probability.NOVELTY,),
)
FORGET_RATE, MEAN_GAIN, STEP_GAIN, USUAL_STEP_GAIN = (
    novelty.FORGET_RATE,
    novelty.MEAN_GAIN,
    novelty.STEP_GAIN,
    novelty.USUAL_STEP_GAIN,
)
ROUGHNESS_FLOOR = novelty.ROUGHNESS_FLOOR
MAX_NOVELTY, QUIET_VALUES, MIN_STEPS = novelty.MAX_NOVELTY, novelty.QUIET_VALUES, novelty.MIN_STEPS


def inlined_kernel(function: F) -> F:
    """Compile a function that only compiled ones call, inlined: a call would cost as much as its body."""
    return _compile(function, "always")


def entry_kernel(function: F) -> F:
    """Compile a function that Python calls; the result is cached beside the module's bytecode."""
    return _compile(function, "never")


def _compile(function: F, inline: Literal["never", "always"]) -> F:
    if not NUMBA_AVAILABLE:
        return function
    from numba import njit  # noqa: PLC0415 - an extra; the NumPy path is always there

    # `_nrt` off: no compiled function allocates or keeps an array, and counting references took two thirds of
    # the time.
    options: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True, "_nrt": False}
    return cast("F", njit(inline=inline, **options)(function))
