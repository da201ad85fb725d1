"""Judges one tick (at most one reading of each series) with NumPy: checks, baseline, detectors, events."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core import baseline, checks, events, novelty, rarity, seasonal_limits, tail_probability
from analytics.core.events import TickEvidence
from analytics.core.flags import Flag, Rule
from analytics.core.tail_probability import TailSums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.core.rarity import RarityScores
    from analytics.core.tick import Tick

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Flags = NDArray[np.uint8]
    Rules = NDArray[np.int64]

TAIL_SCALARS = ("tail_n", "tail_1", "tail_2", "peak")  # suffixes of a tail's scalars in the state
Z_CLIP = 6.0  # spreads to which residuals are clipped in the shift detector
# The score of a residual is that of a single reading, and residuals are autocorrelated: this factor brings it
# to the scale of rarities, and beyond the budget it hardly raises the rank of an event.
RESIDUAL_SHARE = 1.3
SCORE_OF_BUDGET, BEYOND_BUDGET_SHARE = 8.0, 0.05
DETECTOR_RULES = (
    Rule.RESIDUAL
    | Rule.SHIFT
    | Rule.NOVELTY
    | Rule.RATE_OF_CHANGE
    | Rule.NOISE
    | Rule.ATTENUATED
    | Rule.FLAT_LINE
)


class TickResult(NamedTuple):
    """Result of a tick, ``(k,)`` each except for the closed events."""

    quality: Flags
    rules: NDArray[np.uint16]
    expected: Floats
    spread: Floats
    score: Floats
    novelty: Floats
    revised: Bools  # whether the flag of the reading before changed
    revised_time_s: Floats
    revised_quality: Flags
    revised_rules: NDArray[np.uint16]
    closed: Floats  # (m, 1 + len(SCALAR_COLUMN)), as of `events.events_from_rows`


def judge_tick(tick: Tick) -> TickResult:
    """Judge a tick and update the state in place."""
    rows = tick.rows
    quality, rules = _run_checks(tick)
    is_warmed_up = rows["count"] >= baseline.EARLY_READINGS
    is_warmed_up &= tick.time_s - rows["first_time"] >= tick.limits.warm_up_s
    rare = rarity.rarity_of_tick(tick)
    deduction = np.where(is_warmed_up, rarity.deduction_of_new_series(tick), 0.0)
    rare = rarity.RarityScores(*(np.where(is_warmed_up, one, 0.0) for one in rare))
    rare = rarity.RarityScores(*(one - deduction for one in rare))._replace(gap=rare.gap)
    revised, revised_quality, revised_rules = _revise_for_spikes(tick, rare.spike)
    revised_time_s = rows["time_1"].copy()

    expected = baseline.restore_kept_level(tick, baseline.expected_values(tick))
    residual = np.where(tick.usable, tick.value, 0.0) - expected.value
    can_be_scored = tick.usable & is_warmed_up
    z = np.where(can_be_scored, residual / expected.spread, 0.0)
    _update_shift_mean(tick, z, can_be_scored)
    exceeds_usual_step = novelty.exceeds_usual_step(tick, can_be_scored)
    exceeds_usual_step = exceeds_usual_step | novelty.exceeds_warm_up_step(tick, is_warmed_up)
    rules = rules | np.where(exceeds_usual_step, int(Rule.RATE_OF_CHANGE), 0)
    quality = np.where(exceeds_usual_step, np.maximum(quality, np.uint8(Flag.SUSPECT)), quality)
    reported_novelty = novelty.novelty_of_tick(tick, np.where(tick.usable, residual, 0.0), is_warmed_up)
    scores = _score_detectors(tick, z, reported_novelty, can_be_scored, deduction)
    evidence, rules = _collect_evidence(
        tick, quality, rules, scores, rare, is_warmed_up, expected, exceeds_usual_step
    )
    closed, is_extended = events.advance_events(rows, evidence, tick.limits.event_gap_s, tick.series)
    weight = _learn_baseline(tick, expected, residual, quality, is_extended)
    _learn_tails(rows, z, can_be_scored, weight)

    quality, rules = _final_flags(tick, quality, rules, can_be_scored)
    _store_last_reading(tick, quality, rules)
    tick.state.scalars[tick.series] = np.array(list(rows.values())).T
    return TickResult(
        quality=quality,
        rules=rules.astype(np.uint16),
        expected=np.where(is_warmed_up, expected.value, np.nan),
        spread=np.where(is_warmed_up, expected.spread, np.nan),
        score=np.where(can_be_scored, evidence.score, np.nan),
        novelty=np.where(tick.usable & is_warmed_up, reported_novelty, np.nan),
        revised=revised,
        revised_time_s=revised_time_s,
        revised_quality=revised_quality,
        revised_rules=revised_rules,
        closed=closed,
    )


def _run_checks(tick: Tick) -> tuple[Flags, Rules]:
    """Return flags and rules of the checks that need no later reading."""
    limits, rows, value = tick.limits, tick.rows, tick.value
    gross = checks.gross_range(
        value,
        fail_low=limits.fail_low,
        fail_high=limits.fail_high,
        suspect_low=limits.suspect_low,
        suspect_high=limits.suspect_high,
    )
    gross = np.maximum(gross, _climatology_flags(tick))
    with np.errstate(invalid="ignore", over="ignore"):
        step = value - rows["value_1"]
    rate = checks.rate_of_change_flags(step, tick.dt_s, limits.rate_suspect_per_s, limits.rate_fail_per_s)
    run_state = checks.FlatRun(rows["flat_low"], rows["flat_high"], rows["flat_since"])
    run_state = checks.extend_flat_run(run_state, value, tick.time_s, limits.flat_tolerance)
    for name, new in zip(("flat_low", "flat_high", "flat_since"), run_state, strict=True):
        rows[name] = np.where(tick.present, new, rows[name])
    flat = checks.flat_line_flags(tick.time_s - rows["flat_since"], limits.flat_suspect_s, limits.flat_fail_s)
    attenuated = _attenuated_signal_flags(tick)
    quality, rules = gross, np.zeros(len(value), np.int64)
    for flags, rule in (
        (gross, Rule.GROSS_RANGE),
        (rate, Rule.RATE_OF_CHANGE),
        (flat, Rule.FLAT_LINE),
        (attenuated, Rule.ATTENUATED),
    ):
        off = tick.present & (flags >= Flag.SUSPECT)
        rules |= np.where(off, int(rule), 0)
        quality = np.where(off, np.maximum(quality, flags), quality)
    return quality, rules


def _climatology_flags(tick: Tick) -> Flags:
    """Return flags of QARTOD test 5: outside of the limits of the month and the hour of the local day."""
    limits, flags = tick.limits, np.full(len(tick.value), Flag.PASS, np.uint8)
    has_season = np.flatnonzero(limits.seasonal_of >= 0)
    if len(has_season):
        month, hour = checks.month_and_hour(tick.time_s[has_season], limits.day_offset_s[has_season])
        cells = limits.seasonal[limits.seasonal_of[has_season], :, month, hour]
        by_name = dict(zip(seasonal_limits.NAMES, cells.T, strict=True))
        flags[has_season] = checks.gross_range(tick.value[has_season], **by_name)
    return flags


def _attenuated_signal_flags(tick: Tick) -> Flags:
    """Return flags of QARTOD test 9: the standard deviation over about ``attenuated_s`` is too small.

    It is computed by exponential means.
    """
    rows, limits = tick.rows, tick.limits
    mean, var = rows["attenuated_mean"], rows["attenuated_var"]
    first = np.isnan(mean)
    use = tick.usable & ((limits.attenuated_suspect >= 0) | (limits.attenuated_fail >= 0))
    value = np.where(use, tick.value, 0.0)
    memory_s = baseline.lengthened_s(tick, limits.attenuated_s)
    gain = np.where(first, 1.0, baseline.exponential_gain(tick.dt_s, memory_s))
    off = value - np.where(first, value, mean)
    rows["attenuated_mean"] = np.where(use, np.where(first, value, mean + gain * off), mean)
    rows["attenuated_var"] = np.where(use, (1 - gain) * (var + gain * off * off), var)
    long_enough = use & (tick.time_s - rows["first_time"] >= memory_s)
    var = rows["attenuated_var"]
    flags = np.full(len(value), Flag.PASS, np.uint8)
    flags[long_enough & (var < limits.attenuated_suspect * limits.attenuated_suspect)] = Flag.SUSPECT
    flags[long_enough & (var < limits.attenuated_fail * limits.attenuated_fail)] = Flag.FAIL
    return flags


def _revise_for_spikes(tick: Tick, spike_score: Floats) -> tuple[Bools, Flags, NDArray[np.uint16]]:
    """Apply the spike check (QARTOD test 6) and detector, which revise the flag of the reading before."""
    rows = tick.rows
    flags = checks.spike_flags(
        rows["value_2"], rows["value_1"], tick.value, tick.limits.spike_suspect, tick.limits.spike_fail
    )
    is_rare = spike_score > tick.limits.score_strong
    flags = np.where(is_rare, np.maximum(flags, np.uint8(Flag.SUSPECT)), flags)
    # A flag that is not evaluated is larger than a pass.
    quality = np.maximum(rows["quality_1"].astype(np.uint8), flags)
    rules = rows["rules_1"].astype(np.uint16) | np.uint16(Rule.SPIKE)
    return tick.present & (flags >= Flag.SUSPECT), quality, rules


def _update_shift_mean(tick: Tick, z: Floats, can_be_scored: Bools) -> None:
    """Update the EWMA control chart (Roberts 1959) of the clipped residual, for lasting shifts and drifts."""
    has_interval = can_be_scored & np.isfinite(tick.dt_s)
    memory_s = baseline.lengthened_s(tick, tick.limits.shift_memory_s)
    gain = np.where(has_interval, baseline.exponential_gain(tick.dt_s, memory_s), 0.0)
    tick.rows["mean_z"] += gain * (np.clip(z, -Z_CLIP, Z_CLIP) - tick.rows["mean_z"])


class _DetectorScores(NamedTuple):
    """Scores by detector on the scale of rarities, and two of their distances, ``(k,)``."""

    residual: Floats
    shift: Floats
    novelty: Floats
    mean_z: Floats
    reported_novelty: Floats


def _score_detectors(
    tick: Tick, z: Floats, reported_novelty: Floats, can_be_scored: Bools, deduction: Floats
) -> _DetectorScores:
    rows, mean_z = tick.rows, np.abs(tick.rows["mean_z"])
    no_sums = TailSums(*np.zeros((4, len(z))))
    by_residual = tail_probability.score(
        np.abs(z), _tail_of(rows, "residual"), rows["count"], tail_probability.RESIDUAL
    )
    by_shift = tail_probability.score(mean_z, _tail_of(rows, "shift"), rows["count"], tail_probability.SHIFT)
    by_novelty = tail_probability.score(reported_novelty, no_sums, no_sums.n, tail_probability.NOVELTY)
    return _DetectorScores(
        common_scale(np.where(can_be_scored, by_residual, 0.0), RESIDUAL_SHARE) - deduction,
        common_scale(np.where(can_be_scored, by_shift, 0.0), 1.0) - deduction,
        common_scale(by_novelty, 1.0),
        mean_z,
        reported_novelty,
    )


def _tail_of(rows: dict[str, Floats], name: str) -> TailSums:
    return TailSums(*(rows[f"{name}_{part}"] for part in TAIL_SCALARS))


def _learn_tails(rows: dict[str, Floats], z: Floats, can_be_scored: Bools, weight: Floats) -> None:
    """Update the tail distributions of residuals and of their means."""
    for name, x, tail_start in (
        ("residual", z, tail_probability.RESIDUAL),
        ("shift", rows["mean_z"], tail_probability.SHIFT),
    ):
        before = _tail_of(rows, name)
        updated = tail_probability.update_tail_sums(np.abs(x), before, weight, tail_start)
        for part, old, new in zip(TAIL_SCALARS, before, updated, strict=True):
            rows[f"{name}_{part}"] = np.where(can_be_scored, new, old)


def common_scale(score: Floats, share: float) -> Floats:
    """Return scores of a baseline's detector on the scale of rarities (`RESIDUAL_SHARE`), (k,)."""
    shared = score * share
    beyond = SCORE_OF_BUDGET + BEYOND_BUDGET_SHARE * (shared - SCORE_OF_BUDGET)
    return np.where(shared > SCORE_OF_BUDGET, beyond, shared)


def _collect_evidence(  # noqa: PLR0917 - one of each
    tick: Tick,
    quality: Flags,
    rules: Rules,
    scores: _DetectorScores,
    rare: RarityScores,
    is_warmed_up: Bools,
    expected: baseline.Expectation,
    exceeds_usual_step: Bools,
) -> tuple[TickEvidence, Rules]:
    """Return the evidence of a tick, which may be about the value before or a gap, and its value's rules."""
    limits, rows, strong = tick.limits, tick.rows, tick.limits.score_strong
    by_residual, by_shift = scores.residual, scores.shift
    shifted = (by_shift > strong) & (scores.mean_z > limits.shift_least)
    exceeds_record = (scores.reported_novelty > limits.novelty_least) & (by_residual > limits.score_close)
    check_failed = (quality == Flag.FAIL) | ((rules & (Rule.FLAT_LINE | Rule.ATTENUATED)) > 0)
    check_failed = check_failed | exceeds_usual_step
    own = np.maximum(by_residual, np.where(shifted, by_shift, 0.0))
    own = np.maximum(own, np.where(check_failed, events.FAILED_CHECK_SCORE, 0.0))
    own = np.maximum(own, np.where(exceeds_record, scores.novelty, 0.0))
    for one in (rare.jump, rare.noise, rare.calm, rare.still):
        own = np.maximum(own, one)
    for is_set, rule in (
        (by_residual > limits.score_weak, Rule.RESIDUAL),
        (shifted, Rule.SHIFT),
        (exceeds_record, Rule.NOVELTY),
        (rare.jump > strong, Rule.RATE_OF_CHANGE),
        (rare.noise > strong, Rule.NOISE),
        (rare.calm > strong, Rule.ATTENUATED),
        (rare.still > strong, Rule.FLAT_LINE),
    ):
        rules = rules | np.where(is_set, int(rule), 0)
    score = np.minimum(np.maximum(np.maximum(own, rare.spike), rare.gap), events.MAX_SCORE)
    is_about_spike = rare.spike > np.maximum(own, rare.gap)
    is_about_gap = tick.present & ~is_about_spike & (rare.gap > own)
    begin_s = np.where(is_about_spike, rows["time_1"], tick.time_s)
    begin_s = np.where(is_about_gap, np.minimum(rows["time_1"] + rows["interval"], tick.time_s), begin_s)
    evidence = TickEvidence(
        strong=check_failed | exceeds_record | (score > strong),
        weak=(by_residual > limits.score_weak) | ((rules & Rule.RATE_OF_CHANGE) > 0),
        continues=score > limits.score_close,
        rules=rules
        | np.where(rare.spike > strong, int(Rule.SPIKE), 0)
        | np.where(rare.gap > strong, int(Rule.GAP), 0),
        score=score,
        time_s=tick.time_s,
        begin_s=begin_s,
        peak_s=np.where(is_about_spike, rows["time_1"], tick.time_s),
        value=np.where(is_about_spike | ~tick.present, rows["value_1"], tick.value),
        expected=np.where(is_warmed_up, expected.value, np.nan),
        spread=np.where(is_warmed_up, expected.spread, np.nan),
        before=rows["value_1"],
    )
    return evidence, rules


def _learn_baseline(
    tick: Tick, expected: baseline.Expectation, residual: Floats, quality: Flags, is_extended: Bools
) -> Floats:
    """Update the baseline: not by failed values, little by those of an event, its level by an adopted one.

    A value that stands still for unusually long is a stuck sensor, which is never adopted. Returns the
    learning weight of each reading, (k,).
    """
    rows = tick.rows
    is_open = rows["event"] > 0
    is_good = tick.usable & (quality != Flag.FAIL)
    adopted = (
        is_good
        & is_extended
        & is_open
        & (tick.time_s - rows["event_start"] > baseline.lengthened_s(tick, tick.limits.adopt_s))
        & ~(rows["run"] > rows["still_bound_up"])
    )
    weight = np.where(is_extended & ~adopted, baseline.LEARNING_SHARE_IN_EVENT, 1.0)
    weight = np.where(is_good, weight, 0.0)
    first = tick.usable & np.isnan(rows["first_time"])
    rows["first_time"] = np.where(first, tick.time_s, rows["first_time"])
    # A reading long before the others, such as one at the workbench, does not begin the warm-up.
    is_early = tick.usable & (rows["count"] < baseline.EARLY_READINGS)
    earliest_s = tick.time_s - baseline.LONGEST_START * rows["interval"]
    rows["first_time"] = np.where(is_early, np.fmax(rows["first_time"], earliest_s), rows["first_time"])
    baseline.update_baseline(tick, expected, residual, weight, adopted)
    return weight


def _final_flags(tick: Tick, quality: Flags, rules: Rules, can_be_scored: Bools) -> tuple[Flags, Rules]:
    """Return the final flags and rules: of checks, else SUSPECT by a detector, else PASS or NOT_EVALUATED.

    A gap flags the reading that ends it, but opens no event and is no evidence: the value may well be right,
    and the service reports silence while it lasts.
    """
    is_anomalous = tick.present & ((rules & DETECTOR_RULES) > 0)
    quality = np.where(is_anomalous, np.maximum(quality, np.uint8(Flag.SUSPECT)), quality)
    has_interval = tick.present & np.isfinite(tick.dt_s)
    gap_flags_now = checks.gap_flags(
        np.where(has_interval, tick.dt_s, 0.0), tick.limits.gap_suspect_s, tick.limits.gap_fail_s
    )
    gap_flags_now = np.where(has_interval & (gap_flags_now >= Flag.SUSPECT), gap_flags_now, np.uint8(0))
    quality, rules = np.maximum(quality, gap_flags_now), rules | np.where(gap_flags_now > 0, int(Rule.GAP), 0)
    is_unjudged = tick.present & ~can_be_scored
    quality = np.where(is_unjudged & (quality == Flag.PASS), np.uint8(Flag.NOT_EVALUATED), quality)
    rules = np.where(is_unjudged, rules | Rule.WARM_UP, rules)
    return quality, np.where(tick.present, rules, 0)


def _store_last_reading(tick: Tick, quality: Flags, rules: Rules) -> None:
    rows = tick.rows
    tick.state.last_time_s[tick.series] = tick.time_s
    for name, new in (
        ("value_2", rows["value_1"]),
        ("value_1", tick.value),
        ("time_1", tick.time_s),
        ("quality_1", quality),
        ("rules_1", rules),
    ):
        rows[name] = np.where(tick.present, new, rows[name])
