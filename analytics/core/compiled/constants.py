"""Column indices and constants that Numba compiles in, and the decorators that compile functions.

Numba's cache checks the file of a compiled function alone, not the code and constants that it inlines;
therefore `analytics.core.compiled.kernel` contains a digest of them.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from analytics.core import (
    baseline,
    events,
    novelty,
    numpy_judge,
    rarity,
    seasonal_limits,
    state,
    tail_probability,
    tick,
)
from analytics.core.flags import Flag, Rule
from analytics.core.parameters import PARAMETER_COLUMN
from analytics.core.state import (
    BIN_S,
    HOUR_HIGH_COLUMN,
    HOUR_LOW_COLUMN,
    RECORD_COLUMN,
    SCALAR_COLUMN,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

NUMBA_AVAILABLE = find_spec("numba") is not None

# Columns of `State.scalars`. Numba inlines module-level integers; a lookup in a kernel would not compile.
TIME_1 = SCALAR_COLUMN["time_1"]
VALUE_1 = SCALAR_COLUMN["value_1"]
VALUE_2 = SCALAR_COLUMN["value_2"]
FIRST_TIME = SCALAR_COLUMN["first_time"]
COUNT = SCALAR_COLUMN["count"]
USABLE_COUNT = SCALAR_COLUMN["usable_count"]
ROW_COUNT = SCALAR_COLUMN["row_count"]
INTERVAL = SCALAR_COLUMN["interval"]
QUALITY_1 = SCALAR_COLUMN["quality_1"]
RULES_1 = SCALAR_COLUMN["rules_1"]
FLAT_LOW = SCALAR_COLUMN["flat_low"]
FLAT_HIGH = SCALAR_COLUMN["flat_high"]
FLAT_SINCE = SCALAR_COLUMN["flat_since"]
RESOLUTION = SCALAR_COLUMN["resolution"]
USUAL_STEP = SCALAR_COLUMN["usual_step"]
RECENT_STEP = SCALAR_COLUMN["recent_step"]
LAST_STEP = SCALAR_COLUMN["last_step"]
STEP_SCALE = SCALAR_COLUMN["step_scale"]
USUAL_NOISE = SCALAR_COLUMN["usual_noise"]
RECENT_NOISE = SCALAR_COLUMN["recent_noise"]
RUN = SCALAR_COLUMN["run"]
TAIL_COUNT = SCALAR_COLUMN["tail_count"]
JUMP_BOUND_UP = SCALAR_COLUMN["jump_bound_up"]
JUMP_BOUND_DOWN = SCALAR_COLUMN["jump_bound_down"]
JUMP_PEAK = SCALAR_COLUMN["jump_peak"]
JUMP_SINCE = SCALAR_COLUMN["jump_since"]
SPIKE_BOUND_UP = SCALAR_COLUMN["spike_bound_up"]
SPIKE_BOUND_DOWN = SCALAR_COLUMN["spike_bound_down"]
SPIKE_PEAK = SCALAR_COLUMN["spike_peak"]
SPIKE_SINCE = SCALAR_COLUMN["spike_since"]
NOISE_BOUND_UP = SCALAR_COLUMN["noise_bound_up"]
NOISE_BOUND_DOWN = SCALAR_COLUMN["noise_bound_down"]
NOISE_PEAK = SCALAR_COLUMN["noise_peak"]
NOISE_SINCE = SCALAR_COLUMN["noise_since"]
STILL_BOUND_UP = SCALAR_COLUMN["still_bound_up"]
STILL_BOUND_DOWN = SCALAR_COLUMN["still_bound_down"]
STILL_PEAK = SCALAR_COLUMN["still_peak"]
STILL_SINCE = SCALAR_COLUMN["still_since"]
LEVEL = SCALAR_COLUMN["level"]
DEVIATION = SCALAR_COLUMN["deviation"]
MEAN_Z = SCALAR_COLUMN["mean_z"]
KEPT_LEVEL = SCALAR_COLUMN["kept_level"]
EVIDENCE_BITS = SCALAR_COLUMN["evidence_bits"]
EVENT = SCALAR_COLUMN["event"]
RESIDUAL_TAIL_N = SCALAR_COLUMN["residual_tail_n"]
RESIDUAL_TAIL_1 = SCALAR_COLUMN["residual_tail_1"]
RESIDUAL_TAIL_2 = SCALAR_COLUMN["residual_tail_2"]
RESIDUAL_PEAK = SCALAR_COLUMN["residual_peak"]
SHIFT_TAIL_N = SCALAR_COLUMN["shift_tail_n"]
SHIFT_TAIL_1 = SCALAR_COLUMN["shift_tail_1"]
SHIFT_TAIL_2 = SCALAR_COLUMN["shift_tail_2"]
SHIFT_PEAK = SCALAR_COLUMN["shift_peak"]
ATTENUATED_MEAN = SCALAR_COLUMN["attenuated_mean"]
ATTENUATED_VAR = SCALAR_COLUMN["attenuated_var"]
JUMP_N_UP = SCALAR_COLUMN["jump_n_up"]
JUMP_N_DOWN = SCALAR_COLUMN["jump_n_down"]
JUMP_SUM_UP = SCALAR_COLUMN["jump_sum_up"]
JUMP_SUM_DOWN = SCALAR_COLUMN["jump_sum_down"]
SPIKE_N_UP = SCALAR_COLUMN["spike_n_up"]
SPIKE_N_DOWN = SCALAR_COLUMN["spike_n_down"]
SPIKE_SUM_UP = SCALAR_COLUMN["spike_sum_up"]
SPIKE_SUM_DOWN = SCALAR_COLUMN["spike_sum_down"]
NOISE_N_UP = SCALAR_COLUMN["noise_n_up"]
NOISE_N_DOWN = SCALAR_COLUMN["noise_n_down"]
NOISE_SUM_UP = SCALAR_COLUMN["noise_sum_up"]
NOISE_SUM_DOWN = SCALAR_COLUMN["noise_sum_down"]
STILL_N_UP = SCALAR_COLUMN["still_n_up"]
STILL_N_DOWN = SCALAR_COLUMN["still_n_down"]
STILL_SUM_UP = SCALAR_COLUMN["still_sum_up"]
STILL_SUM_DOWN = SCALAR_COLUMN["still_sum_down"]
MISSING_RUNS = SCALAR_COLUMN["missing_runs"]
GAPS = SCALAR_COLUMN["gaps"]
GAP_SUM = SCALAR_COLUMN["gap_sum"]
EVIDENCE_SINCE = SCALAR_COLUMN["evidence_since"]
EVENT_START = SCALAR_COLUMN["event_start"]
EVENT_BEFORE = SCALAR_COLUMN["event_before"]
EVENT_LAST = SCALAR_COLUMN["event_last"]
EVENT_PEAK = SCALAR_COLUMN["event_peak"]
EVENT_OBSERVED = SCALAR_COLUMN["event_observed"]
EVENT_EXPECTED = SCALAR_COLUMN["event_expected"]
EVENT_SPREAD = SCALAR_COLUMN["event_spread"]
EVENT_SCORE = SCALAR_COLUMN["event_score"]
EVENT_RULES = SCALAR_COLUMN["event_rules"]
EVENT_COUNT = SCALAR_COLUMN["event_count"]

# Columns of `State.records`.
LOW = RECORD_COLUMN["low"]
HIGH = RECORD_COLUMN["high"]
MEAN = RECORD_COLUMN["mean"]
MEAN_LOW = RECORD_COLUMN["mean_low"]
MEAN_HIGH = RECORD_COLUMN["mean_high"]
RESIDUAL_LOW = RECORD_COLUMN["residual_low"]
RESIDUAL_HIGH = RECORD_COLUMN["residual_high"]
MEAN_RESIDUAL = RECORD_COLUMN["mean_residual"]
MEAN_RESIDUAL_LOW = RECORD_COLUMN["mean_residual_low"]
MEAN_RESIDUAL_HIGH = RECORD_COLUMN["mean_residual_high"]
STEP_2 = RECORD_COLUMN["step_2"]
STEPS_2 = RECORD_COLUMN["steps_2"]
ROUGHNESS_LOW = RECORD_COLUMN["roughness_low"]
ROUGHNESS_HIGH = RECORD_COLUMN["roughness_high"]
RECORD_COUNT = RECORD_COLUMN["record_count"]
RECORDS_SINCE = RECORD_COLUMN["records_since"]
VALUES_SINCE_NOVELTY = RECORD_COLUMN["values_since_novelty"]
LAST_NOVELTY = RECORD_COLUMN["last_novelty"]
HOUR_LOW, HOUR_HIGH = HOUR_LOW_COLUMN, HOUR_HIGH_COLUMN

# Of a bin of `State.daily`.
PROFILE, SPREAD_PROFILE, VISITS = state.PROFILE, state.SPREAD_PROFILE, state.VISITS

# Columns of `Parameters.by_series`.
FAIL_LOW = PARAMETER_COLUMN["fail_low"]
FAIL_HIGH = PARAMETER_COLUMN["fail_high"]
SUSPECT_LOW = PARAMETER_COLUMN["suspect_low"]
SUSPECT_HIGH = PARAMETER_COLUMN["suspect_high"]
RATE_SUSPECT = PARAMETER_COLUMN["rate_suspect_per_s"]
RATE_FAIL = PARAMETER_COLUMN["rate_fail_per_s"]
SPIKE_SUSPECT = PARAMETER_COLUMN["spike_suspect"]
SPIKE_FAIL = PARAMETER_COLUMN["spike_fail"]
FLAT_SUSPECT = PARAMETER_COLUMN["flat_suspect_s"]
FLAT_FAIL = PARAMETER_COLUMN["flat_fail_s"]
FLAT_TOLERANCE = PARAMETER_COLUMN["flat_tolerance"]
SPREAD_FLOOR = PARAMETER_COLUMN["spread_floor"]
SPREAD_SHARE = PARAMETER_COLUMN["spread_share"]
WARM_UP = PARAMETER_COLUMN["warm_up_s"]
LEVEL_MEMORY = PARAMETER_COLUMN["level_memory_s"]
PROFILE_MEMORY = PARAMETER_COLUMN["profile_memory_days"]
SCORE_WEAK = PARAMETER_COLUMN["score_weak"]
SCORE_STRONG = PARAMETER_COLUMN["score_strong"]
SCORE_CLOSE = PARAMETER_COLUMN["score_close"]
SHIFT_MEMORY = PARAMETER_COLUMN["shift_memory_s"]
SHIFT_LEAST = PARAMETER_COLUMN["shift_least"]
NOVELTY_LEAST = PARAMETER_COLUMN["novelty_least"]
STEP_DEVIATIONS = PARAMETER_COLUMN["step_deviations"]
WARM_UP_STEP = PARAMETER_COLUMN["warm_up_step"]
ATTENUATED = PARAMETER_COLUMN["attenuated_s"]
ATTENUATED_SUSPECT = PARAMETER_COLUMN["attenuated_suspect"]
ATTENUATED_FAIL = PARAMETER_COLUMN["attenuated_fail"]
GAP_SUSPECT = PARAMETER_COLUMN["gap_suspect_s"]
GAP_FAIL = PARAMETER_COLUMN["gap_fail_s"]
STUCK_CLOCK_SUSPECT = PARAMETER_COLUMN["stuck_clock_suspect_s"]
STUCK_CLOCK_FAIL = PARAMETER_COLUMN["stuck_clock_fail_s"]
ADOPT = PARAMETER_COLUMN["adopt_s"]
EVENT_GAP = PARAMETER_COLUMN["event_gap_s"]
DAY_OFFSET = PARAMETER_COLUMN["day_offset_s"]

N_LIMITS = len(PARAMETER_COLUMN)
LINE = 8  # columns of float64 in a cache line
READINGS_AHEAD = 2  # for which memory is asked: loading it from a shared cache takes as long as one reading

SEASONAL_SUSPECT_LOW = seasonal_limits.NAMES.index("suspect_low")
SEASONAL_SUSPECT_HIGH = seasonal_limits.NAMES.index("suspect_high")
SEASONAL_FAIL_LOW = seasonal_limits.NAMES.index("fail_low")
SEASONAL_FAIL_HIGH = seasonal_limits.NAMES.index("fail_high")
DAYS_TO_1970 = 719_468  # from 0000-03-01 of the proleptic Gregorian calendar
DAYS_IN_ERA = 146_097  # 400 years

PASS = int(Flag.PASS)
NOT_EVALUATED = int(Flag.NOT_EVALUATED)
SUSPECT = int(Flag.SUSPECT)
FAIL = int(Flag.FAIL)
MISSING = int(Flag.MISSING)
GROSS_RULE = int(Rule.GROSS_RANGE)
RATE_RULE = int(Rule.RATE_OF_CHANGE)
SPIKE_RULE = int(Rule.SPIKE)
FLAT_RULE = int(Rule.FLAT_LINE)
RESIDUAL_RULE = int(Rule.RESIDUAL)
WARM_RULE = int(Rule.WARM_UP)
SHIFT_RULE = int(Rule.SHIFT)
NOVELTY_RULE = int(Rule.NOVELTY)
ATTENUATED_RULE = int(Rule.ATTENUATED)
GAP_RULE = int(Rule.GAP)
NOISE_RULE = int(Rule.NOISE)
DETECTOR_RULES = int(numpy_judge.DETECTOR_RULES)

# Constants of the NumPy judge under their own names, so that both judges read the same numbers.
LARGEST_FLOAT = sys.float_info.max  # comparing with it takes half of the instructions of `isinf`
LARGEST_USABLE_VALUE = tick.LARGEST_USABLE_VALUE
Z_CLIP = numpy_judge.Z_CLIP
BIT_COUNTS = events.BIT_COUNTS
EVIDENCE_MASK = events.EVIDENCE_MASK
MIN_WEAK_READINGS = events.MIN_WEAK_READINGS
FAILED_CHECK_SCORE = events.FAILED_CHECK_SCORE
EVENT_GAP_READINGS = events.EVENT_GAP_READINGS
PAUSE_SHARE, MAX_PAUSE_S = events.PAUSE_SHARE, events.MAX_PAUSE_S
MAX_SPIKE_READINGS = events.MAX_SPIKE_READINGS
BEGAN_WITH_STEP = events.BEGAN_WITH_STEP
EVENT_RETURN_SHARE = events.RETURN_SHARE
RESIDUAL_SHARE = numpy_judge.RESIDUAL_SHARE
SCORE_OF_BUDGET = numpy_judge.SCORE_OF_BUDGET
BEYOND_BUDGET_SHARE = numpy_judge.BEYOND_BUDGET_SHARE
RETURN_SHARE = baseline.RETURN_SHARE
RETURN_SPREADS = baseline.RETURN_SPREADS
MAX_SCORE = events.MAX_SCORE
MEAN_DEVIATION_TO_SIGMA = baseline.MEAN_DEVIATION_TO_SIGMA
CLIP_SPREADS = baseline.CLIP_SPREADS
EARLY_CLIP = baseline.EARLY_CLIP
EARLY_READINGS = baseline.EARLY_READINGS
LONGEST_START = baseline.LONGEST_START
MEMORY_READINGS = baseline.MEMORY_READINGS
LEARNING_SHARE_IN_EVENT = baseline.LEARNING_SHARE_IN_EVENT
READINGS_PER_BIN_AND_DAY = baseline.READINGS_PER_BIN_AND_DAY
ADOPTED_MEMORY_S = baseline.ADOPTED_MEMORY_S
DEVIATION_GAIN = baseline.DEVIATION_GAIN
PER_READINGS_PER_BIN_AND_DAY = 1 / baseline.READINGS_PER_BIN_AND_DAY
DAY_S = baseline.DAY_S
WEEK_S = baseline.WEEK_S
MAX_REMEMBERED_WEEKS = baseline.MAX_REMEMBERED_WEEKS
WEEK_SHARES = baseline.WEEK_SHARES
PRIOR_EXCURSIONS = tail_probability.PRIOR_EXCURSIONS
SHAPE_PRIOR_EXCURSIONS = tail_probability.SHAPE_PRIOR_EXCURSIONS
LARGEST_SHAPE = tail_probability.LARGEST_SHAPE
SMALLEST_SHAPE = tail_probability.SMALLEST_SHAPE
TO_LOG10 = tail_probability.TO_LOG10
MAX_LEARNED_EXCESSES = tail_probability.MAX_LEARNED_EXCESSES
FORGET_RATE = novelty.FORGET_RATE
MEAN_GAIN = novelty.MEAN_GAIN
STEP_GAIN = novelty.STEP_GAIN
USUAL_STEP_GAIN = novelty.USUAL_STEP_GAIN
ROUGHNESS_FLOOR = novelty.ROUGHNESS_FLOOR
MAX_NOVELTY = novelty.MAX_NOVELTY
QUIET_VALUES = novelty.QUIET_VALUES
MIN_STEPS = novelty.MIN_STEPS
WARM_UP_STEP_WITHIN_S = novelty.WARM_UP_STEP_WITHIN_S
MONTH_S = rarity.MONTH_S
BOUND_SHARE = rarity.BOUND_SHARE
BOUND_GAIN = rarity.BOUND_GAIN
SMALLEST_BOUND = rarity.SMALLEST_BOUND
RARITY_PRIOR_EXCURSIONS = rarity.PRIOR_EXCURSIONS
PRIOR_VALUES = rarity.PRIOR_VALUES
PRIOR_EXCESS = rarity.PRIOR_EXCESS
CLIPPED_EXCESSES = rarity.CLIPPED_EXCESSES
RARITY_QUIET_VALUES = rarity.QUIET_VALUES
MAX_TAIL_COUNT = rarity.MAX_TAIL_COUNT
MIN_VALUES = rarity.MIN_VALUES
MIN_NOISE_VALUES = rarity.MIN_NOISE_VALUES
MAX_RUN_SHARE = rarity.MAX_RUN_SHARE
CLIP_STEPS = rarity.CLIP_STEPS
CLIP_NOISE = rarity.CLIP_NOISE
CLIP_LEARNED_NOISE = rarity.CLIP_LEARNED_NOISE
RECENT_STEP_GAIN = rarity.RECENT_STEP_GAIN
RECENT_NOISE_GAIN = rarity.RECENT_NOISE_GAIN
USUAL_STEP_READINGS = rarity.USUAL_STEP_READINGS
USUAL_NOISE_READINGS = rarity.USUAL_NOISE_READINGS
RESOLUTION_SHARE = rarity.RESOLUTION_SHARE
RESOLUTION_GROWTH = rarity.RESOLUTION_GROWTH
RELATIVE_PRECISION = rarity.RELATIVE_PRECISION
INTERVAL_GAIN = rarity.INTERVAL_GAIN
SCORE_AT_BOUND = rarity.SCORE_AT_BOUND
FIRST_DAY_DEDUCTION = rarity.FIRST_DAY_DEDUCTION
JUMP_SCORE = rarity.JUMP_SCORE
SPIKE_SCORE = rarity.SPIKE_SCORE
NOISE_SCORE = rarity.NOISE_SCORE
CALM_SCORE = rarity.CALM_SCORE
STILL_SCORE = rarity.STILL_SCORE
GAP_SCORE = rarity.GAP_SCORE
PRIOR_ROWS = rarity.PRIOR_ROWS
SHORTEST_GAP = rarity.SHORTEST_GAP
USUAL_GAP = rarity.USUAL_GAP
CLIPPED_GAPS = rarity.CLIPPED_GAPS
PER_DAY = 1 / DAY_S
PER_WEEK = 1 / WEEK_S
PER_HOUR = 1 / baseline.HOUR_S
PER_BIN = 1 / BIN_S
RESIDUAL_TAIL_START = (*tail_probability.RESIDUAL,)
SHIFT_TAIL_START = (*tail_probability.SHIFT,)
NOVELTY_TAIL_START = (*tail_probability.NOVELTY,)


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
