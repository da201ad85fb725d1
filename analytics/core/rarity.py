"""Scores how rare a value is for its own series: jump, spike, noise, stillness, gap, each by its own tail.

Each statistic is a ratio to what is usual for the series:

jump    step from the value before, less half the step before that where this is smaller, over the scale
spike   distance of the value before from the median of it and its neighbours, over the scale at that time
noise   mean second difference of about sixteen values over that of a week; upwards noisy, downwards calm
still   number of equal values in a row

The scale is the mean step of about a day plus that of the last eight values plus the resolution, the smallest
step seen lately. Steps are clipped before they are learned, and nothing is learned while the value stands
still for unusually long, so that a fault does not change what is usual.

The tail of a ratio beyond a bound, that about one value in a hundred exceeds, is exponential in its
logarithm (Hill 1975), for each direction. Of values beyond the bound that are close together only the
largest is learned (runs declustering, Coles 2001), clipped at twice the mean, so that faults do not become
usual. The mean excess is known from n excursions only, those of a prior among them. A new excess x therefore
has the posterior predictive distribution (Lomax 1954: an exponential tail whose rate has a gamma
distribution), P(excess > x) = (1 + x / (n · mean))^−n, which is heavier while a series is new:

    score = 8 − log10(expected excursions beyond the ratio a month)

so that 8 is once a month and 9 once in ten months, for every series, whatever its reporting interval. Each
detector's share of that budget is a constant. A missing value and a gap are scored by their own rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.tick import LARGEST_USABLE_VALUE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.core.tick import Tick

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

MONTH_S = 2_592_000.0
DAY_S, WEEK_S = 86_400.0, 604_800.0
BOUND_SHARE = 0.01  # share of values beyond the bound in either direction
BOUND_GAIN = 0.005  # gain of the bound's logarithm per value
SMALLEST_BOUND = 1.0
PRIOR_EXCURSIONS = 30.0  # weight of the prior, in excursions
PRIOR_VALUES = 4_500.0  # values in which the prior has that many
PRIOR_EXCESS = 0.4  # prior mean excess, natural logarithm
CLIPPED_EXCESSES = 2.0  # mean excesses to which an excursion is clipped when learned
QUIET_VALUES = 12.0  # values below the bound after which an excursion has ended
MAX_TAIL_COUNT = 20_000.0  # values after which the tail's counts are halved, to forget
MIN_VALUES = 20.0  # values before the scale is used
MIN_NOISE_VALUES = 48.0
MAX_RUN_SHARE = 0.5  # share of all values in the run above which stillness is what the series does
CLIP_STEPS = 20.0  # scales to which a step is clipped when learned
# Times the usual noise to which a second difference is clipped: in the recent noise, so that one spike is no
# noise, and when the usual noise learns from it, so that noise of a few days does not become usual.
CLIP_NOISE, CLIP_LEARNED_NOISE = 10.0, 3.0
RECENT_STEP_GAIN, RECENT_NOISE_GAIN = 1 / 8, 1 / 16
USUAL_STEP_READINGS, USUAL_NOISE_READINGS = 16.0, 32.0  # least memory: twice that of the recent mean
RESOLUTION_SHARE = 0.3  # share of the resolution in the noise
RESOLUTION_GROWTH = 1.001  # per step, so that one unusually small step is forgotten
RELATIVE_PRECISION = 1e-9  # steps below this share of the value are rounding
INTERVAL_GAIN = 0.005
SCORE_AT_BOUND = 5.0  # largest score of a ratio within its bound
# Score of once a month by detector, less its share of the common budget.
JUMP_SCORE, SPIKE_SCORE, NOISE_SCORE, CALM_SCORE, STILL_SCORE, GAP_SCORE = 7.5, 7.6, 8.5, 8.45, 7.35, 8.35
PRIOR_ROWS = 2_000.0  # readings in which the prior has one missing run and one gap
SHORTEST_GAP = 2.5  # reporting intervals
USUAL_GAP = 1.0  # prior mean excess of gaps, natural logarithm
CLIPPED_GAPS = 4.0
TO_LOG10 = 0.4342944819032518
# Standard deviation of the natural logarithm of a day's scale about that of its month, over recorded rivers.
DAILY_SCALE_DEVIATION = 0.6
FIRST_DAY_DEDUCTION = TO_LOG10 * DAILY_SCALE_DEVIATION**2 / (2 * PRIOR_EXCESS**2)


class RarityScores(NamedTuple):
    """Scores of a tick by detector, ``(k,)`` each; 0 where there is none.

    Attributes
    ----------
    jump, noise, calm, still : of this value
    spike : of the value before
    gap : of a missing value or of the interval before this one

    """

    jump: Floats
    spike: Floats
    noise: Floats
    calm: Floats
    still: Floats
    gap: Floats


def deduction_of_new_series(tick: Tick) -> Floats:
    """Return what the scores of a series are lowered by while it is known from few days, (k,).

    The scale of one day differs from that of another, so a bound learned in D days is uncertain by
    `DAILY_SCALE_DEVIATION` / √D in its logarithm. Averaged over that, a tail that is exponential in the
    logarithm is exceeded more often by exp(variance / (2 · mean excess²)), whatever the distance.
    """
    learned_days = (tick.time_s - tick.rows["first_time"]) / DAY_S
    return FIRST_DAY_DEDUCTION / np.fmax(learned_days, 1.0)


def rarity_of_tick(tick: Tick) -> RarityScores:  # noqa: PLR0915 - as the compiled one, step by step
    """Return the scores of a tick, and learn from it in place; call it before `novelty.novelty_of_tick`."""
    rows = tick.rows
    _update_interval(tick)
    per_month = MONTH_S / np.where(np.isnan(rows["interval"]), DAY_S, rows["interval"])
    gap = _gap_score(tick, per_month)
    use = tick.usable & (rows["usable_count"] > 0) & (np.abs(rows["value_1"]) <= LARGEST_USABLE_VALUE)
    value = np.where(use, tick.value, 0.0)
    before = np.where(use, rows["value_1"], 0.0)
    has_two = use & (np.abs(rows["value_2"]) <= LARGEST_USABLE_VALUE)
    before_that = np.where(has_two, rows["value_2"], before)
    step = value - before
    size = np.abs(step)
    is_step = use & (size > RELATIVE_PRECISION * np.abs(value))
    rows["resolution"] = np.where(
        is_step, np.minimum(rows["resolution"] * RESOLUTION_GROWTH, size), rows["resolution"]
    )
    resolution = np.where(np.isinf(rows["resolution"]), tick.limits.spread_floor, rows["resolution"])
    count = rows["usable_count"]
    scored = use & (count > MIN_VALUES)
    rows["tail_count"] = rows["tail_count"] + use

    scale_before = rows["step_scale"]
    scale = rows["usual_step"] + rows["recent_step"] + resolution
    jump = np.minimum(size, np.abs(step - 0.5 * rows["last_step"]))
    middle = np.maximum(np.minimum(before_that, before), np.minimum(np.maximum(before_that, before), value))
    height = before - middle
    has_height = scored & has_two & (scale_before > 0)
    run = np.where(size <= 0.5 * resolution, rows["run"] + 1, 1.0)
    # A run needs no scale, so that its bound is learned from the first value on: values that repeat, as those
    # of few digits do, are known when the first run is scored.
    can_be_still = use & (~scored | (run < MAX_RUN_SHARE * count))
    learns = use & ~(scored & (run > rows["still_bound_up"]))

    bend = np.abs(value - 2 * before + before_that) * 0.5
    bend = np.where(
        count > MIN_VALUES, np.minimum(bend, CLIP_NOISE * (rows["usual_noise"] + resolution)), bend
    )
    early_gain = 1 / (1 + count)
    recent_noise = rows["recent_noise"] + np.maximum(RECENT_NOISE_GAIN, early_gain) * (
        bend - rows["recent_noise"]
    )
    rows["recent_noise"] = np.where(has_two, recent_noise, rows["recent_noise"])
    recent = rows["recent_noise"] + RESOLUTION_SHARE * resolution
    usual = rows["usual_noise"] + RESOLUTION_SHARE * resolution
    has_noise = has_two & (count > MIN_NOISE_VALUES)
    is_noisy = recent >= usual
    more, less = np.maximum(recent, usual), np.minimum(recent, usual)

    jump_score = _tail_score(rows, "jump", step >= 0, jump, scale, scored, JUMP_SCORE, JUMP_SCORE, per_month)
    spike_score = _tail_score(
        rows,
        "spike",
        height >= 0,
        np.abs(height),
        scale_before,
        has_height,
        SPIKE_SCORE,
        SPIKE_SCORE,
        per_month,
    )
    noise_score = _tail_score(
        rows, "noise", is_noisy, more, less, has_noise, NOISE_SCORE, CALM_SCORE, per_month
    )
    always, one = np.ones(len(run), np.bool_), np.ones(len(run))
    still_score = _tail_score(
        rows, "still", always, run, one, can_be_still, STILL_SCORE, STILL_SCORE, per_month
    )
    still_score = np.where(scored, still_score, 0.0)
    _forget(rows)

    learned = np.where(
        count > MIN_VALUES, np.minimum(jump, CLIP_STEPS * (rows["usual_step"] + resolution)), jump
    )
    interval = np.where(np.isnan(rows["interval"]), 0.0, rows["interval"])
    day_s = np.maximum(DAY_S, USUAL_STEP_READINGS * interval)
    week_s = np.maximum(WEEK_S, USUAL_NOISE_READINGS * interval)
    usual_gain = np.where(learns, np.maximum(interval / (interval + day_s), early_gain), 0.0)
    recent_gain = np.where(learns, np.maximum(RECENT_STEP_GAIN, early_gain), 0.0)
    noise_gain = np.where(learns & has_two, np.maximum(interval / (interval + week_s), early_gain), 0.0)
    rows["usual_step"] = rows["usual_step"] + usual_gain * (learned - rows["usual_step"])
    rows["recent_step"] = rows["recent_step"] + recent_gain * (learned - rows["recent_step"])
    learned_bend = np.where(
        count > MIN_VALUES, np.minimum(bend, CLIP_LEARNED_NOISE * (rows["usual_noise"] + resolution)), bend
    )
    rows["usual_noise"] = rows["usual_noise"] + noise_gain * (learned_bend - rows["usual_noise"])
    rows["step_scale"] = np.where(use, scale, rows["step_scale"])
    rows["last_step"] = np.where(use, step, rows["last_step"])
    rows["run"] = np.where(use, run, rows["run"])
    zero = np.zeros(len(run))
    return RarityScores(
        jump_score,
        spike_score,
        np.where(is_noisy, noise_score, zero),
        np.where(is_noisy, zero, noise_score),
        still_score,
        gap,
    )


def _update_interval(tick: Tick) -> None:
    """Update the usual interval: a running median, by small steps, of the intervals between readings.

    In the first `MIN_VALUES` readings it is doubled or halved where it is off by more than that: the first
    interval may be that from a reading at the workbench to the first one in the river.
    """
    rows = tick.rows
    last_time_s = tick.state.last_time_s[tick.series]
    has_interval = np.isfinite(last_time_s)
    interval_s = np.where(has_interval, tick.time_s - np.where(has_interval, last_time_s, 0.0), np.nan)
    usual = rows["interval"]
    gain = np.maximum(INTERVAL_GAIN, 1 / (1 + rows["row_count"]))
    updated = usual + gain * np.clip(4 * (interval_s - usual), -usual, usual) * 0.5
    is_early = rows["row_count"] < MIN_VALUES
    updated = np.where(is_early & (interval_s > 2 * usual), 2 * usual, updated)
    updated = np.where(is_early & (interval_s < 0.5 * usual), 0.5 * usual, updated)
    is_first = has_interval & np.isnan(rows["interval"])
    rows["interval"] = np.where(is_first, interval_s, np.where(has_interval, updated, rows["interval"]))
    rows["row_count"] = rows["row_count"] + 1


def _gap_score(tick: Tick, per_month: Floats) -> Floats:
    """Return the score of a missing value or of the gap before this one, and learn its rate."""
    rows = tick.rows
    known = np.isfinite(tick.dt_s) & (rows["interval"] > 0)
    length = np.where(known, tick.dt_s, 1.0) / np.where(known, rows["interval"], 1.0)
    was_missing = known & (tick.state.last_time_s[tick.series] > rows["time_1"])
    values = rows["row_count"] + PRIOR_ROWS
    missing = known & ~tick.present
    is_gap = known & tick.present & ~was_missing & (tick.dt_s > SHORTEST_GAP * rows["interval"])
    missing_score = (
        GAP_SCORE
        - np.log10((rows["missing_runs"] + 1) / values * per_month)
        + np.log10(np.maximum(length, 1.0))
    )
    excess = np.log(np.maximum(length, SHORTEST_GAP) / SHORTEST_GAP)
    mean = (rows["gap_sum"] + USUAL_GAP) / (rows["gaps"] + 1)
    gap_score = GAP_SCORE - np.log10((rows["gaps"] + 1) / values * per_month) + TO_LOG10 * excess / mean
    rows["missing_runs"] = rows["missing_runs"] + (was_missing & tick.present)
    rows["gaps"] = rows["gaps"] + is_gap
    rows["gap_sum"] = rows["gap_sum"] + np.where(is_gap, np.minimum(excess, CLIPPED_GAPS * mean), 0.0)
    return np.where(missing, missing_score, np.where(is_gap, gap_score, 0.0))


def _tail_score(  # noqa: PLR0917 - one of each
    rows: dict[str, Floats],
    tail: str,
    upwards: Bools,
    distance: Floats,
    scale: Floats,
    use: Bools,
    score_up: float,
    score_down: float,
    per_month: Floats,
) -> Floats:
    """Return the score of a distance (k,) in scales by its tail, 0 where not used, and learn it."""
    bound = np.where(upwards, rows[f"{tail}_bound_up"], rows[f"{tail}_bound_down"])
    n = np.where(upwards, rows[f"{tail}_n_up"], rows[f"{tail}_n_down"])
    excess_sum = np.where(upwards, rows[f"{tail}_sum_up"], rows[f"{tail}_sum_down"])
    total = n + PRIOR_EXCURSIONS
    mean = (excess_sum + PRIOR_EXCURSIONS * PRIOR_EXCESS) / total
    rate = total / (rows["tail_count"] + PRIOR_VALUES)
    distance_at_bound = np.where(use, bound * scale, 1.0)
    is_beyond = use & (distance > distance_at_bound)
    excess = np.log(np.where(is_beyond, distance, 1.0) / np.where(is_beyond, distance_at_bound, 1.0))
    beyond = (
        np.where(upwards, score_up, score_down)
        - np.log10(rate * per_month)
        + total * np.log10(1 + excess / (total * mean))
    )
    score = np.where(
        is_beyond, np.maximum(beyond, SCORE_AT_BOUND), SCORE_AT_BOUND * distance / distance_at_bound
    )
    _learn_tail(rows, tail, upwards, use, is_beyond, excess)
    scored: Floats = np.where(use, score, 0.0)
    return scored


def _learn_tail(  # noqa: PLR0917 - one of each
    rows: dict[str, Floats], tail: str, upwards: Bools, use: Bools, is_beyond: Bools, excess: Floats
) -> None:
    """Update the bounds, and the excursions by the one that ends with this value.

    Once the first values have replaced its initial value, a bound is raised by the first `QUIET_VALUES` of
    values in a row beyond it alone: all values of a fault of days would make it usual for months.
    """
    gain = np.maximum(BOUND_GAIN, 0.5 / (1 + rows["tail_count"]))
    is_learned = (gain > BOUND_GAIN) | (rows[f"{tail}_since"] > -QUIET_VALUES)
    raise_gain = np.where(is_learned, gain * (1 - BOUND_SHARE), 0.0)
    for side, is_side in (("up", upwards), ("down", ~upwards)):
        factor = 1 + np.where(is_side & is_beyond, raise_gain, -gain * BOUND_SHARE)
        bound = rows[f"{tail}_bound_{side}"]
        rows[f"{tail}_bound_{side}"] = np.where(use, np.maximum(bound * factor, SMALLEST_BOUND), bound)
    peak, since = rows[f"{tail}_peak"], rows[f"{tail}_since"]
    signed = np.where(upwards, excess, -excess)
    is_larger = (peak == 0) | ((signed * peak > 0) & (np.abs(signed) > np.abs(peak)))
    quiet = np.maximum(since, 0.0) + 1
    ends = use & ~is_beyond & (peak != 0) & (quiet >= QUIET_VALUES)
    for side, is_side in (("up", peak > 0), ("down", peak < 0)):
        n, excess_sum = rows[f"{tail}_n_{side}"], rows[f"{tail}_sum_{side}"]
        mean = (excess_sum + PRIOR_EXCURSIONS * PRIOR_EXCESS) / (n + PRIOR_EXCURSIONS)
        learned = np.where(ends & is_side, np.minimum(np.abs(peak), CLIPPED_EXCESSES * mean), 0.0)
        rows[f"{tail}_n_{side}"] = n + (ends & is_side)
        rows[f"{tail}_sum_{side}"] = excess_sum + learned
    rows[f"{tail}_since"] = np.where(use, np.where(is_beyond, np.minimum(since, 0.0) - 1, quiet), since)
    rows[f"{tail}_peak"] = np.where(ends, 0.0, np.where(is_beyond & is_larger, signed, peak))


def _forget(rows: dict[str, Floats]) -> None:
    """Halve the counts of the tails that have seen enough values."""
    share = np.where(rows["tail_count"] >= MAX_TAIL_COUNT, 0.5, 1.0)
    rows["tail_count"] = rows["tail_count"] * share
    for tail in ("jump", "spike", "noise", "still"):
        for part in ("n_up", "n_down", "sum_up", "sum_down"):
            rows[f"{tail}_{part}"] = rows[f"{tail}_{part}"] * share
