"""Numba-compiled detection loop: flags and scores the readings of a block one by one and updates the state.

It is the algorithm of `analytics.core.numpy_judge`, with the same arithmetic in the same order. Flags and
events are the same; floating-point results agree to one part in 100,000, as the logarithms of the two
libraries differ in the last places (tests/analytics/core/test_compiled.py). NumPy is fast over many series
with one reading each; this is also fast over few series with many readings.

The compiled modules use these short names for their parameters:

r   (n_series, len(SCALARS)) float64, scalars of the state (`State.scalars`), changed in place
records  likewise `State.records`, of no columns unless a series needs them
p   (n_series, len(DEFAULTS)) float64, limits (`Parameters.by_series`)
s   index of the series: the row of r, p and every other array of the state
t   measured time of the reading [s]
v   value of the reading, canonical unit
dt  time since the last value of the series [s]; inf before the first

Columns of r and p are named by `analytics.core.compiled.constants`, imported as k.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.core.compiled import check_kernels as checks
from analytics.core.compiled import constants as k
from analytics.core.compiled import detector_kernels as detectors
from analytics.core.compiled import event_kernels as events
from analytics.core.compiled import rarity_kernels as rarities
from analytics.core.compiled.constants import entry_kernel, inlined_kernel
from analytics.core.compiled.prefetch import prefetch_series
from analytics.core.state import BINS_PER_DAY, HOURS_PER_WEEK

if TYPE_CHECKING:
    from numpy.typing import NDArray

INLINED_CODE_DIGEST = "e14fa5bcd850ab0d"
"""Digest of the code and constants inlined from other modules; a test compares it.

Numba's cache is invalidated by changes of this file alone.
"""


@inlined_kernel
def _learn_baseline(
    r: NDArray[Any],
    p: NDArray[Any],
    s: int,
    daily: NDArray[Any],
    week: NDArray[Any],
    profile_bin: tuple[int, int, float, int],
    t: float,
    dt: float,
    expected: float,
    residual: float,
    spread: float,
    weight: float,
    adopted: bool,
) -> None:
    """Update level, profiles and deviation, as `analytics.core.baseline.update_baseline` does."""
    if adopted and np.isnan(r[s, k.KEPT_LEVEL]):
        r[s, k.KEPT_LEVEL] = r[s, k.LEVEL]
    count = r[s, k.COUNT]
    first = count < 1
    clip = k.CLIP_SPREADS * spread
    if count < k.EARLY_READINGS:
        clip = k.EARLY_CLIP * spread
        if abs(r[s, k.VALUE_1]) <= k.LARGEST_USABLE_VALUE:
            clip = max(clip, k.EARLY_CLIP * abs(r[s, k.VALUE_1] - expected))
    clipped = residual if adopted or first else min(max(residual, -clip), clip)
    absolute = min(abs(residual), clip)
    gain = 1.0
    if dt <= k.LARGEST_FLOAT:
        memory = k.ADOPTED_MEMORY_S if adopted else p[s, k.LEVEL_MEMORY]
        gain = dt / (dt + max(memory, k.MEMORY_READINGS * r[s, k.INTERVAL]))
        if gain * (1 + count) < 1:
            gain = 1 / (1 + count)
    gain *= weight
    r[s, k.LEVEL] += gain * clipped
    r[s, k.COUNT] = count + weight
    if adopted:
        return
    if not first:
        # The larger one, by a branch: a series that is long known needs no division.
        deviation_gain = k.DEVIATION_GAIN
        if deviation_gain * (1 + count) < 1:
            deviation_gain = 1 / (1 + count)
        r[s, k.DEVIATION] += deviation_gain * weight * (absolute - r[s, k.DEVIATION])
    bin_memory_readings = k.READINGS_PER_BIN_AND_DAY * p[s, k.PROFILE_MEMORY]
    left, right, w, hour = profile_bin
    memory_left = min(bin_memory_readings, 1 + np.float64(daily[s, left, k.VISITS]))
    memory_right = min(bin_memory_readings, 1 + np.float64(daily[s, right, k.VISITS]))
    daily[s, left, k.VISITS] += (1 - w) * weight
    daily[s, right, k.VISITS] += w * weight
    if not first:
        rate_per_both = weight / (memory_left * memory_right)
        rate_left, rate_right = (1 - w) * memory_right * rate_per_both, w * memory_left * rate_per_both
        daily[s, left, k.PROFILE] += rate_left * (1 - gain) * clipped
        daily[s, right, k.PROFILE] += rate_right * (1 - gain) * clipped
        daily[s, left, k.SPREAD_PROFILE] += rate_left * (absolute - daily[s, left, k.SPREAD_PROFILE])
        daily[s, right, k.SPREAD_PROFILE] += rate_right * (absolute - daily[s, right, k.SPREAD_PROFILE])
        weeks = (t - r[s, k.FIRST_TIME]) * k.PER_WEEK
        week[s, hour] += (
            min(dt * k.PER_HOUR, 0.5)
            * k.WEEK_SHARES[min(int(weeks), k.MAX_REMEMBERED_WEEKS)]
            * weight
            * clipped
        )


@inlined_kernel
def _restore_kept_level(r: NDArray[Any], s: int, v: float, expected: float, spread: float) -> float:
    """Return the expected value, by the level before an adopted one if the value has returned to it."""
    if np.isnan(r[s, k.KEPT_LEVEL]):
        return expected
    difference = r[s, k.LEVEL] - r[s, k.KEPT_LEVEL]
    from_kept = abs(v - expected + difference)
    if not (from_kept < k.RETURN_SHARE * abs(v - expected) and from_kept < k.RETURN_SPREADS * spread):
        return expected
    r[s, k.LEVEL] = r[s, k.KEPT_LEVEL]
    r[s, k.MEAN_Z] = 0.0
    r[s, k.KEPT_LEVEL] = np.nan
    return float(expected - difference)


@inlined_kernel
def _revise_spike(
    r: NDArray[Any],
    p: NDArray[Any],
    s: int,
    v: float,
    is_rare: bool,
    revised: NDArray[Any],
    n_revised: int,
) -> int:
    """Revise the flag of the reading before this one if it is a spike; return the number of revisions."""
    distance = abs(r[s, k.VALUE_1] - (r[s, k.VALUE_2] / 2 + v / 2))
    late_flag = checks.flag_by_two_limits(distance, p[s, k.SPIKE_SUSPECT], p[s, k.SPIKE_FAIL])
    if is_rare:
        late_flag = max(late_flag, k.SUSPECT)
    if late_flag < k.SUSPECT:
        return n_revised
    revised[n_revised, 0], revised[n_revised, 1] = s, r[s, k.TIME_1]
    revised[n_revised, 2] = max(int(r[s, k.QUALITY_1]), late_flag)
    revised[n_revised, 3] = int(r[s, k.RULES_1]) | k.SPIKE_RULE
    return n_revised + 1


@inlined_kernel
def _bins_at(p: NDArray[Any], s: int, t: float) -> tuple[Any, Any, float, Any, int]:
    """Return the profile bins left and right of a time, the right one's share, hour of week, hour of day.

    As the first half of `analytics.core.baseline.expected_values`.
    """
    local = t + p[s, k.DAY_OFFSET]
    seconds_of_day = local - k.DAY_S * np.floor(local * k.PER_DAY)
    bin_position = seconds_of_day * k.PER_BIN - 0.5
    lower_bin = np.floor(bin_position)
    left = int(lower_bin) if lower_bin >= 0 else BINS_PER_DAY - 1
    right = left + 1 if left + 1 < BINS_PER_DAY else 0
    hour = int((local - k.WEEK_S * np.floor(local * k.PER_WEEK)) * k.PER_HOUR)
    hour_of_week = hour if hour < HOURS_PER_WEEK else 0
    share = bin_position - lower_bin
    return np.uintp(left), np.uintp(right), share, np.uintp(hour_of_week), int(seconds_of_day * k.PER_HOUR)


@inlined_kernel
def _expected_at(
    r: NDArray[Any],
    p: NDArray[Any],
    s: int,
    daily: NDArray[Any],
    week: NDArray[Any],
    profile_bin: tuple[int, int, float, int],
) -> tuple[float, float]:
    """Return the expected value and the spread, as `analytics.core.baseline.expected_values` does."""
    left, right, w, hour = profile_bin
    profile = daily[s, left, k.PROFILE] * (1 - w) + daily[s, right, k.PROFILE] * w
    expected = r[s, k.LEVEL] + profile + week[s, hour]
    mean_absolute_residual = (
        daily[s, left, k.SPREAD_PROFILE] * (1 - w) + daily[s, right, k.SPREAD_PROFILE] * w
    )
    readings_in_bin = daily[s, left, k.VISITS] * (1 - w) + daily[s, right, k.VISITS] * w
    share = min(readings_in_bin * k.PER_READINGS_PER_BIN_AND_DAY, 1.0)
    spread = k.MEAN_DEVIATION_TO_SIGMA * (share * mean_absolute_residual + (1 - share) * r[s, k.DEVIATION])
    return expected, max(spread, p[s, k.SPREAD_FLOOR], p[s, k.SPREAD_SHARE] * abs(expected))


@inlined_kernel
def _tail_scores(r: NDArray[Any], s: int, residual_spreads: float, mean_z: float) -> tuple[float, float]:
    """Return the scores of the residual and of the EWMA of residuals, both in spreads."""
    by_residual = k.RESIDUAL_TAIL_START[3] * residual_spreads
    if residual_spreads > k.RESIDUAL_TAIL_START[0]:
        residual_sums = (r[s, k.RESIDUAL_TAIL_N], r[s, k.RESIDUAL_TAIL_1], r[s, k.RESIDUAL_TAIL_2])
        by_residual = detectors.tail_score(
            residual_spreads, residual_sums, r[s, k.COUNT], k.RESIDUAL_TAIL_START
        )
    by_shift = k.SHIFT_TAIL_START[3] * mean_z
    if mean_z > k.SHIFT_TAIL_START[0]:
        shift_sums = (r[s, k.SHIFT_TAIL_N], r[s, k.SHIFT_TAIL_1], r[s, k.SHIFT_TAIL_2])
        by_shift = detectors.tail_score(mean_z, shift_sums, r[s, k.COUNT], k.SHIFT_TAIL_START)
    return by_residual, by_shift


@inlined_kernel
def _common_scale(score: float, share: float, deduction: float) -> float:
    """Return the score of a baseline's detector on the scale of rarities, as `numpy_judge.common_scale`."""
    score *= share
    if score > k.SCORE_OF_BUDGET:
        score = k.SCORE_OF_BUDGET + k.BEYOND_BUDGET_SHARE * (score - k.SCORE_OF_BUDGET)
    return score - deduction


@inlined_kernel
def _combine_evidence(
    p: NDArray[Any],
    s: int,
    by_residual: float,
    by_shift: float,
    mean_z: float,
    reported_novelty: float,
    exceeds_usual_step: bool,
    rarity: tuple[float, float, float, float],
    quality: int,
    rules: int,
) -> tuple[int, float, bool]:
    """Return rules and score of this value by itself, and whether it failed a check.

    As `analytics.core.numpy_judge` combines checks and detectors, with the maxima in the same order.
    """
    jump, noise, calm, still = rarity
    strong = p[s, k.SCORE_STRONG]
    shifted = by_shift > strong and mean_z > p[s, k.SHIFT_LEAST]
    exceeds_record = reported_novelty > p[s, k.NOVELTY_LEAST] and by_residual > p[s, k.SCORE_CLOSE]
    check_failed = exceeds_usual_step or quality == k.FAIL or (rules & (k.FLAT_RULE | k.ATTENUATED_RULE)) > 0
    score = max(by_residual, by_shift if shifted else 0.0, k.FAILED_CHECK_SCORE if check_failed else 0.0)
    if exceeds_record:
        novelty = detectors.tail_score(reported_novelty, (0.0, 0.0, 0.0), 0.0, k.NOVELTY_TAIL_START)
        score = max(score, _common_scale(novelty, 1.0, 0.0))
        rules |= k.NOVELTY_RULE
    rarest = max(jump, noise, calm, still)
    score = max(score, rarest)
    if by_residual > p[s, k.SCORE_WEAK]:
        rules |= k.RESIDUAL_RULE
    if shifted:
        rules |= k.SHIFT_RULE
    if rarest > strong:
        if jump > strong:
            rules |= k.RATE_RULE
        if noise > strong:
            rules |= k.NOISE_RULE
        if calm > strong:
            rules |= k.ATTENUATED_RULE
        if still > strong:
            rules |= k.FLAT_RULE
    return rules, score, check_failed or exceeds_record


@inlined_kernel
def _learning_weight(
    r: NDArray[Any], p: NDArray[Any], s: int, t: float, is_extended: bool, is_good: bool
) -> tuple[float, bool]:
    """Return the weight of a reading for the baseline, and whether its long event is adopted.

    A value that stands still for unusually long is a stuck sensor, which is never adopted.
    """
    is_open = r[s, k.EVENT] > 0
    adopted = (
        is_extended
        and is_open
        and t - r[s, k.EVENT_START] > max(p[s, k.ADOPT], k.MEMORY_READINGS * r[s, k.INTERVAL])
        and not r[s, k.RUN] > r[s, k.STILL_BOUND_UP]
    )
    if not is_good:
        return 0.0, False
    return k.LEARNING_SHARE_IN_EVENT if is_extended and not adopted else 1.0, adopted


@inlined_kernel
def _final_flag(
    p: NDArray[Any], s: int, dt: float, quality: int, rules: int, can_be_scored: bool
) -> tuple[int, int]:
    """Return flag and rules of a present reading, after detectors, gap and warm-up."""
    if rules & k.DETECTOR_RULES:
        quality = max(quality, k.SUSPECT)
    if dt <= k.LARGEST_FLOAT:
        gap_flag = checks.flag_by_two_limits(dt, p[s, k.GAP_SUSPECT], p[s, k.GAP_FAIL])
        if gap_flag >= k.SUSPECT:
            quality, rules = max(quality, gap_flag), rules | k.GAP_RULE
    if not can_be_scored:
        quality = k.NOT_EVALUATED if quality == k.PASS else quality
        rules |= k.WARM_RULE
    return quality, rules


@inlined_kernel
def _remember(r: NDArray[Any], s: int, t: float, v: float, quality: int, rules: int) -> None:
    """Store a present reading as the newest one of its series."""
    r[s, k.VALUE_2], r[s, k.VALUE_1], r[s, k.TIME_1] = r[s, k.VALUE_1], v, t
    r[s, k.QUALITY_1], r[s, k.RULES_1] = quality, rules


@inlined_kernel
def _is_in_order(
    series: NDArray[np.intp], time_s: NDArray[np.float64], last_time_s: NDArray[np.float64]
) -> bool:
    """Whether readings are sorted by series and time, and later than the last judged time of their series.

    It is also whether each series is one of the state: no access to an array below is checked.
    """
    last_series = -1
    last_time = np.nan
    for j in range(len(series)):
        s = series[j]
        if s != last_series:
            if s < last_series or s >= len(last_time_s):
                return False
            last_series, last_time = s, last_time_s[s]
        if not time_s[j] > last_time:
            return False
        last_time = time_s[j]
    return True


@entry_kernel
def is_in_order(
    series: NDArray[np.intp], time_s: NDArray[np.float64], last_time_s: NDArray[np.float64]
) -> bool:
    """Whether `judge_block` takes readings that are passed to it in several parts."""
    return _is_in_order(series, time_s, last_time_s)


@entry_kernel
def judge_block(  # noqa: C901, PLR0912, PLR0915 - the steps of a reading, in their order
    series: NDArray[np.intp],
    time_s: NDArray[np.float64],
    value: NDArray[np.float64],
    p: NDArray[np.float64],
    seasonal: NDArray[np.float64],
    seasonal_of: NDArray[np.intp],
    state: tuple[NDArray[Any], ...],
    results: tuple[NDArray[Any], ...],
    revised: NDArray[np.float64],
    closed: NDArray[np.float64],
    still_open: NDArray[np.intp],
) -> tuple[int, int, int]:
    """Judge n readings sorted by series and time, and update the state in place; none if they are not sorted.

    Parameters
    ----------
    series : (n,) index into the state
    time_s : (n,) measured time, Unix seconds [s]
    value : (n,) canonical unit; NaN means missing
    p : (n_series, len(DEFAULTS)) limits
    seasonal, seasonal_of : limits by month and hour, and the table of each series (`Parameters`)
    state : arrays of the state, in the order of `analytics.core.state.SHAPES`
    results : filled: quality (n,) uint8, rules (n,) uint16, and (4, n) float32 of expected, spread, score,
        novelty
    revised : (n, 4) buffer: series, time, flag and rules of readings whose flag changed
    closed : (n, 1 + len(SCALARS)) buffer: series, and its scalars at the end of the event
    still_open : (n,) buffer: series whose event is open

    Returns
    -------
    Numbers of rows filled of ``revised``, ``closed`` and ``still_open``; the first is -1 if the readings are
    not in order

    """
    quality_out, rules_out, estimates_out = results
    last_time_s, r, daily, week, records = state
    if not _is_in_order(series, time_s, last_time_s):
        return -1, 0, 0
    n_revised = n_closed = n_open = 0
    # Readings of many series are often of one time: its bins are computed once, as every access to the
    # profiles would wait for them.
    bins_time_s = bins_offset_s = np.nan
    profile_bin: Any = (np.uintp(0), np.uintp(0), 0.0, np.uintp(0))
    hour_of_day = 0
    for j in range(len(series)):
        s: Any = np.uintp(series[j])  # unsigned: the code that wraps negative indices is a tenth of the time
        t, v = time_s[j], value[j]
        present = not np.isnan(v)
        usable = present and abs(v) <= k.LARGEST_USABLE_VALUE
        dt = np.inf if np.isnan(r[s, k.TIME_1]) else t - r[s, k.TIME_1]
        is_warmed_up = r[s, k.COUNT] >= k.EARLY_READINGS and t - r[s, k.FIRST_TIME] >= p[s, k.WARM_UP]
        # The expected value first, though it is needed last: its profiles are what is loaded slowest.
        if t != bins_time_s or p[s, k.DAY_OFFSET] != bins_offset_s:
            bins_time_s, bins_offset_s = t, p[s, k.DAY_OFFSET]
            left, right, w, hour_of_week, hour_of_day = _bins_at(p, s, t)
            profile_bin = (left, right, w, hour_of_week)
        ahead = np.uintp(series[min(j + k.READINGS_AHEAD, len(series) - 1)])
        prefetch_series(ahead, profile_bin, r, p, daily, week)
        expected, spread = _expected_at(r, p, s, daily, week, profile_bin)
        if usable:
            expected = _restore_kept_level(r, s, v, expected, spread)
        residual = (v if usable else 0.0) - expected
        can_be_scored = usable and is_warmed_up
        z = residual / spread if can_be_scored else 0.0

        quality, rules = k.MISSING, 0
        if present:
            quality, rules = checks.run_checks(r, p, seasonal, seasonal_of, s, t, v, dt, usable)
        rarity = rarities.rarity_scores(r, p, s, t, v, dt, present, usable, last_time_s[s])
        deduction = 0.0
        if is_warmed_up:
            deduction = k.FIRST_DAY_DEDUCTION / max((t - r[s, k.FIRST_TIME]) * k.PER_DAY, 1.0)
        else:
            rarity = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        jump, spike, noise, calm, still, gap = rarity
        jump, spike, noise = jump - deduction, spike - deduction, noise - deduction
        calm, still = calm - deduction, still - deduction
        if can_be_scored and dt <= k.LARGEST_FLOAT:
            gain = dt / (dt + max(p[s, k.SHIFT_MEMORY], k.MEMORY_READINGS * r[s, k.INTERVAL]))
            r[s, k.MEAN_Z] += gain * (min(max(z, -k.Z_CLIP), k.Z_CLIP) - r[s, k.MEAN_Z])
        if present:
            is_rare = spike > p[s, k.SCORE_STRONG]
            n_revised = _revise_spike(r, p, s, v, is_rare, revised, n_revised)

        novelty, exceeds_usual_step = 0.0, False
        if usable:
            if not is_warmed_up:
                exceeds_usual_step = detectors.exceeds_warm_up_step(r, p, s, v, dt)
            if p[s, k.NOVELTY_LEAST] >= 0 or p[s, k.STEP_DEVIATIONS] >= 0:
                if is_warmed_up:
                    exceeds_usual_step = detectors.exceeds_usual_step(r, records, p, s, v)
                if records[s, k.RECORD_COUNT] == 0:
                    records[s, k.RECORDS_SINCE] = t
                novelty_now = detectors.update_novelty(
                    r, records, s, hour_of_day, v, residual, p[s, k.SPREAD_FLOOR]
                )
                has_records = is_warmed_up and t - records[s, k.RECORDS_SINCE] >= p[s, k.WARM_UP]
                has_records = has_records and records[s, k.RECORD_COUNT] > k.EARLY_READINGS
                novelty = detectors.report_novelty(records, s, novelty_now if has_records else 0.0)
            r[s, k.USABLE_COUNT] += 1.0
        residual_spreads, mean_z = abs(z), abs(r[s, k.MEAN_Z])
        by_residual = by_shift = 0.0
        if can_be_scored:
            by_residual, by_shift = _tail_scores(r, s, residual_spreads, mean_z)
        if exceeds_usual_step:
            quality, rules = max(quality, k.SUSPECT), rules | k.RATE_RULE
        by_residual = _common_scale(by_residual, k.RESIDUAL_SHARE, deduction)
        by_shift = _common_scale(by_shift, 1.0, deduction)
        rules, own_score, strong = _combine_evidence(
            p,
            s,
            by_residual,
            by_shift,
            mean_z,
            novelty,
            exceeds_usual_step,
            (jump, noise, calm, still),
            quality,
            rules,
        )
        score = min(max(own_score, spike, gap), k.MAX_SCORE)
        strong = strong or score > p[s, k.SCORE_STRONG]
        is_weak = by_residual > p[s, k.SCORE_WEAK] or (rules & k.RATE_RULE) > 0
        shown_expected, shown_spread = (expected, spread) if is_warmed_up else (np.nan, np.nan)
        is_extended = False
        if strong or is_weak or r[s, k.EVENT] > 0 or r[s, k.EVIDENCE_BITS] > 0:
            about_time, about_value, begin, event_rules = t, v, t, rules
            if spike > p[s, k.SCORE_STRONG]:
                event_rules |= k.SPIKE_RULE
            if gap > p[s, k.SCORE_STRONG]:
                event_rules |= k.GAP_RULE
            if spike > max(own_score, gap):
                about_time, about_value, begin = r[s, k.TIME_1], r[s, k.VALUE_1], r[s, k.TIME_1]
            elif not present:
                about_value = r[s, k.VALUE_1]
            elif gap > own_score:
                begin = min(r[s, k.TIME_1] + r[s, k.INTERVAL], t)
            event_ended, is_extended = events.advance_event(
                r, p, s, t, begin, strong, is_weak, score > p[s, k.SCORE_CLOSE], closed, n_closed
            )
            if event_ended:
                closed[n_closed, 0] = s
                n_closed += 1
            if is_extended:
                events.extend_event(
                    r, s, about_time, about_value, shown_expected, shown_spread, score, event_rules
                )

        is_good = usable and quality != k.FAIL
        weight, adopted = _learning_weight(r, p, s, t, is_extended, is_good)
        if usable and np.isnan(r[s, k.FIRST_TIME]):
            r[s, k.FIRST_TIME] = t
        elif usable and r[s, k.COUNT] < k.EARLY_READINGS:
            r[s, k.FIRST_TIME] = max(r[s, k.FIRST_TIME], t - k.LONGEST_START * r[s, k.INTERVAL])
        _learn_baseline(r, p, s, daily, week, profile_bin, t, dt, expected, residual, spread, weight, adopted)
        if can_be_scored:
            detectors.learn_tail(r, s, k.RESIDUAL_TAIL_N, residual_spreads, weight, k.RESIDUAL_TAIL_START)
            detectors.learn_tail(r, s, k.SHIFT_TAIL_N, mean_z, weight, k.SHIFT_TAIL_START)

        if present:
            quality, rules = _final_flag(p, s, dt, quality, rules, can_be_scored)
            _remember(r, s, t, v, quality, rules)
        last_time_s[s] = t
        quality_out[j], rules_out[j] = quality, rules
        estimates_out[0, j], estimates_out[1, j] = shown_expected, shown_spread
        estimates_out[2, j] = score if can_be_scored else np.nan
        estimates_out[3, j] = novelty if usable and is_warmed_up else np.nan
        if r[s, k.EVENT] > 0 and (j + 1 == len(series) or series[j + 1] != s):
            still_open[n_open] = s
            n_open += 1
    return n_revised, n_closed, n_open
