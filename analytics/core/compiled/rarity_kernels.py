"""Compiled scores of the rarity of a value, as in `analytics.core.rarity`.

The parameters ``r, p, s, t, v, dt`` are explained in `analytics.core.compiled.kernel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.core.compiled import constants as k
from analytics.core.compiled.constants import inlined_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@inlined_kernel
def _tail_score(
    r: NDArray[Any],
    s: int,
    bounds: int,
    sums: int,
    upwards: bool,
    distance: float,
    scale: float,
    score: float,
    interval: float,
    gain: float,
) -> float:
    """Return the score of a distance in scales, and learn it.

    ``bounds`` and ``sums`` are the columns of the first of the tail's `TAIL_BOUNDS` and `TAIL_SUMS`, ``gain``
    that of its bounds. Divisions are a quarter of the time of a reading: the distance is therefore compared
    with the bound times the scale. Columns that depend on the direction are in the rare branch alone: a store
    to an unknown column makes the compiler load everything again.
    """
    bound_up, bound_down = r[s, bounds], r[s, bounds + 1]
    bound = bound_up if upwards else bound_down
    shrunk = 1 - gain * k.BOUND_SHARE
    r[s, bounds] = max(bound_up * shrunk, k.SMALLEST_BOUND)
    r[s, bounds + 1] = max(bound_down * shrunk, k.SMALLEST_BOUND)
    peak = r[s, bounds + 2]
    distance_at_bound = bound * scale
    if distance > distance_at_bound:
        up = 0 if upwards else 1
        n = r[s, sums + up] + k.RARITY_PRIOR_EXCURSIONS
        mean = (r[s, sums + 2 + up] + k.RARITY_PRIOR_EXCURSIONS * k.PRIOR_EXCESS) / n
        rate = n / (r[s, k.TAIL_COUNT] + k.PRIOR_VALUES)
        excess = np.log(distance / distance_at_bound)
        beyond = score - np.log10(rate * _per_month(interval)) + n * np.log10(1 + excess / (n * mean))
        since = min(r[s, bounds + 3], 0.0)
        is_learned = gain > k.BOUND_GAIN or since > -k.RARITY_QUIET_VALUES
        raised = 1 + gain * (1 - k.BOUND_SHARE) if is_learned else 1.0
        r[s, bounds + up] = max(bound * raised, k.SMALLEST_BOUND)
        signed = excess if upwards else -excess
        if peak == 0 or (signed * peak > 0 and abs(signed) > abs(peak)):
            r[s, bounds + 2] = signed
        r[s, bounds + 3] = since - 1.0
        return float(max(beyond, k.SCORE_AT_BOUND))
    since = max(r[s, bounds + 3], 0.0) + 1.0
    r[s, bounds + 3] = since
    if peak != 0 and since >= k.RARITY_QUIET_VALUES:
        side = sums if peak > 0 else sums + 1
        mean = (r[s, side + 2] + k.RARITY_PRIOR_EXCURSIONS * k.PRIOR_EXCESS) / (
            r[s, side] + k.RARITY_PRIOR_EXCURSIONS
        )
        r[s, side] += 1.0
        r[s, side + 2] += min(abs(peak), k.CLIPPED_EXCESSES * mean)
        r[s, bounds + 2] = 0.0
    return float(k.SCORE_AT_BOUND * distance / distance_at_bound)


@inlined_kernel
def _per_month(interval: float) -> float:
    """Return the number of readings in a month, of one a day where the interval is unknown."""
    return float(k.MONTH_S / (k.DAY_S if np.isnan(interval) else interval))


@inlined_kernel
def _update_interval(r: NDArray[Any], s: int, t: float, last_time: float) -> None:
    """Update the usual interval between readings and count this one."""
    if last_time >= -k.LARGEST_FLOAT:
        interval = t - last_time
        if np.isnan(r[s, k.INTERVAL]):
            r[s, k.INTERVAL] = interval
        else:
            usual = r[s, k.INTERVAL]
            gain = k.INTERVAL_GAIN
            if gain * (1 + r[s, k.ROW_COUNT]) < 1:
                gain = 1 / (1 + r[s, k.ROW_COUNT])
            off = min(max(4 * (interval - usual), -usual), usual)
            updated = usual + gain * off * 0.5
            if r[s, k.ROW_COUNT] < k.MIN_VALUES:
                if interval > 2 * usual:
                    updated = 2 * usual
                elif interval < 0.5 * usual:
                    updated = 0.5 * usual
            r[s, k.INTERVAL] = updated
    r[s, k.ROW_COUNT] += 1.0


@inlined_kernel
def _gap_score(r: NDArray[Any], s: int, dt: float, present: bool, last_time: float) -> float:
    """Return the score of a missing value or of the gap before this one, and learn its rate."""
    interval = r[s, k.INTERVAL]
    if not (dt <= k.LARGEST_FLOAT and interval > 0):
        return 0.0
    was_missing = last_time > r[s, k.TIME_1]
    if present and was_missing:
        r[s, k.MISSING_RUNS] += 1.0
        return 0.0
    if present and not dt > k.SHORTEST_GAP * interval:
        return 0.0
    length, per_month = dt / interval, _per_month(interval)
    values = r[s, k.ROW_COUNT] + k.PRIOR_ROWS
    if not present:
        rate = (r[s, k.MISSING_RUNS] + 1) / values
        return float(k.GAP_SCORE - np.log10(rate * per_month) + np.log10(max(length, 1.0)))
    excess = np.log(length / k.SHORTEST_GAP)
    mean = (r[s, k.GAP_SUM] + k.USUAL_GAP) / (r[s, k.GAPS] + 1)
    rate = (r[s, k.GAPS] + 1) / values
    r[s, k.GAPS] += 1.0
    r[s, k.GAP_SUM] += min(excess, k.CLIPPED_GAPS * mean)
    return float(k.GAP_SCORE - np.log10(rate * per_month) + k.TO_LOG10 * excess / mean)


@inlined_kernel
def rarity_scores(  # noqa: C901, PLR0912, PLR0915 - the steps of a reading, in their order
    r: NDArray[Any],
    p: NDArray[Any],
    s: int,
    t: float,
    v: float,
    dt: float,
    present: bool,
    usable: bool,
    last_time: float,
) -> tuple[float, float, float, float, float, float]:
    """Return the scores of jump, spike before, noise, calm, stillness and gap, and learn from the reading."""
    _update_interval(r, s, t, last_time)
    interval = r[s, k.INTERVAL]
    gap = _gap_score(r, s, dt, present, last_time)
    jump_score = spike_score = noise_score = calm_score = still_score = 0.0
    count = r[s, k.USABLE_COUNT]
    before = r[s, k.VALUE_1]
    if not (usable and count > 0 and abs(before) <= k.LARGEST_USABLE_VALUE):
        return jump_score, spike_score, noise_score, calm_score, still_score, gap
    has_two = abs(r[s, k.VALUE_2]) <= k.LARGEST_USABLE_VALUE
    before_that = r[s, k.VALUE_2] if has_two else before
    step = v - before
    size = abs(step)
    if size > k.RELATIVE_PRECISION * abs(v):
        r[s, k.RESOLUTION] = min(r[s, k.RESOLUTION] * k.RESOLUTION_GROWTH, size)
    resolution = r[s, k.RESOLUTION]
    if resolution > k.LARGEST_FLOAT:
        resolution = p[s, k.SPREAD_FLOOR]
    scored = count > k.MIN_VALUES
    tail_count = r[s, k.TAIL_COUNT] + 1.0
    r[s, k.TAIL_COUNT] = tail_count
    gain = k.BOUND_GAIN
    if gain * (1 + tail_count) < 0.5:
        gain = 0.5 / (1 + tail_count)

    usual_step, recent_step = r[s, k.USUAL_STEP], r[s, k.RECENT_STEP]
    usual_noise, recent_noise = r[s, k.USUAL_NOISE], r[s, k.RECENT_NOISE]
    scale = usual_step + recent_step + resolution
    jump = min(size, abs(step - 0.5 * r[s, k.LAST_STEP]))
    run = r[s, k.RUN] + 1 if size <= 0.5 * resolution else 1.0
    learns = not (scored and run > r[s, k.STILL_BOUND_UP])
    early_gain = 1 / (1 + count)
    bend = abs(v - 2 * before + before_that) * 0.5
    if scored:
        bend = min(bend, k.CLIP_NOISE * (usual_noise + resolution))
    if has_two:
        recent_noise += max(k.RECENT_NOISE_GAIN, early_gain) * (bend - recent_noise)
        r[s, k.RECENT_NOISE] = recent_noise

    if scored:
        jump_score = _tail_score(
            r, s, k.JUMP_BOUND_UP, k.JUMP_N_UP, step >= 0, jump, scale, k.JUMP_SCORE, interval, gain
        )
        if has_two and r[s, k.STEP_SCALE] > 0:
            middle = max(min(before_that, before), min(max(before_that, before), v))
            height = before - middle
            spike_score = _tail_score(
                r,
                s,
                k.SPIKE_BOUND_UP,
                k.SPIKE_N_UP,
                height >= 0,
                abs(height),
                r[s, k.STEP_SCALE],
                k.SPIKE_SCORE,
                interval,
                gain,
            )
    if has_two and count > k.MIN_NOISE_VALUES:
        share = k.RESOLUTION_SHARE * resolution
        recent, lasting = recent_noise + share, usual_noise + share
        is_noisy = recent >= lasting
        # Each is as likely as the other: a branch would be mispredicted every second time.
        more, less = max(recent, lasting), min(recent, lasting)
        at_once_a_month = k.NOISE_SCORE if is_noisy else k.CALM_SCORE
        score = _tail_score(
            r, s, k.NOISE_BOUND_UP, k.NOISE_N_UP, is_noisy, more, less, at_once_a_month, interval, gain
        )
        noise_score, calm_score = (score, 0.0) if is_noisy else (0.0, score)
    if not scored or run < k.MAX_RUN_SHARE * count:
        score = _tail_score(
            r, s, k.STILL_BOUND_UP, k.STILL_N_UP, True, run, 1.0, k.STILL_SCORE, interval, gain
        )
        still_score = score if scored else 0.0
    if tail_count >= k.MAX_TAIL_COUNT:
        _forget(r, s)

    if learns:
        learned = min(jump, k.CLIP_STEPS * (usual_step + resolution)) if scored else jump
        usual_interval = 0.0 if np.isnan(interval) else interval
        day = usual_interval + max(k.DAY_S, k.USUAL_STEP_READINGS * usual_interval)
        week = usual_interval + max(k.WEEK_S, k.USUAL_NOISE_READINGS * usual_interval)
        per_both = usual_interval / (day * week)
        r[s, k.USUAL_STEP] = usual_step + max(per_both * week, early_gain) * (learned - usual_step)
        r[s, k.RECENT_STEP] = recent_step + max(k.RECENT_STEP_GAIN, early_gain) * (learned - recent_step)
        if has_two:
            learned_bend = min(bend, k.CLIP_LEARNED_NOISE * (usual_noise + resolution)) if scored else bend
            r[s, k.USUAL_NOISE] = usual_noise + max(per_both * day, early_gain) * (learned_bend - usual_noise)
    r[s, k.STEP_SCALE], r[s, k.LAST_STEP], r[s, k.RUN] = scale, step, run
    return jump_score, spike_score, noise_score, calm_score, still_score, gap


@inlined_kernel
def _forget(r: NDArray[Any], s: int) -> None:
    """Halve the counts of the tails."""
    r[s, k.TAIL_COUNT] *= 0.5
    for column in range(k.JUMP_N_UP, k.STILL_SUM_DOWN + 1):
        r[s, column] *= 0.5
