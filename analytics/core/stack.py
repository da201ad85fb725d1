"""The stack of checks, baseline, detectors and events, over one tick: all its series at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core import baseline, checks, events, novelty, tail
from analytics.core.events import Evidence
from analytics.core.flags import Flag, Rule
from analytics.core.tail import Tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.core.tick import Tick

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Flags = NDArray[np.uint8]
    Rules = NDArray[np.int64]

TAIL = ("tail_n", "tail_1", "tail_2", "peak")  # scalars of a tail
Z_CLIP = 6.0  # spreads: what one reading may say about a shift at most


class Said(NamedTuple):
    """What a tick said, ``(k,)`` each but for the events that closed."""

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
    closed: Floats  # rows of `events.of_rows`


def run(tick: Tick) -> Said:
    """Judge a tick and move the state on, in place."""
    rows = tick.rows
    quality, rules = _check(tick)
    revised, revised_quality, revised_rules = _spikes(tick)
    revised_time_s = rows["time_1"]

    expected = baseline.expect(tick)
    residual = np.where(tick.usable, tick.value, 0.0) - expected.value
    warm = (rows["count"] > 1) & (tick.time_s - rows["first_time"] >= tick.p.warm_up_s)
    known = tick.usable & warm
    z = np.where(known, residual / expected.spread, 0.0)
    _shift(tick, z, known)
    jumps = novelty.jumps(tick, known)
    rules = rules | np.where(jumps, int(Rule.RATE_OF_CHANGE), 0)
    quality = np.where(jumps, np.maximum(quality, np.uint8(Flag.SUSPECT)), quality)
    told = novelty.of_tick(tick, np.where(tick.usable, residual, 0.0), warm)
    scores = _scores(tick, z, told, known)
    evidence = _evidence(tick, quality, rules, scores, known, expected, jumps)
    was_open = rows["event"] > 0
    closed = events.step(rows, evidence, tick.p.event_gap_s, tick.series)
    weight = _teach(tick, expected, residual, quality, was_open)
    _tails(rows, z, known, weight)

    quality, rules = _flags(tick, quality, evidence.rules, known)
    _remember(tick, quality, rules)
    tick.state.scalars[tick.series] = np.array(list(rows.values())).T
    return Said(
        quality=quality,
        rules=rules.astype(np.uint16),
        expected=np.where(warm, expected.value, np.nan),
        spread=np.where(warm, expected.spread, np.nan),
        score=np.where(known, np.minimum(evidence.score, events.LARGEST_SCORE), np.nan),
        novelty=np.where(tick.usable & warm, told, np.nan),
        revised=revised,
        revised_time_s=revised_time_s,
        revised_quality=revised_quality,
        revised_rules=revised_rules,
        closed=closed,
    )


def _check(tick: Tick) -> tuple[Flags, Rules]:
    """The quality checks that a reading can be given as it arrives."""
    p, rows, value = tick.p, tick.rows, tick.value
    gross = checks.gross_range(
        value,
        fail_low=p.fail_low,
        fail_high=p.fail_high,
        suspect_low=p.suspect_low,
        suspect_high=p.suspect_high,
    )
    with np.errstate(invalid="ignore", over="ignore"):
        step = value - rows["value_1"]
    rate = checks.rate_flags(step, tick.dt_s, p.rate_suspect_per_s, p.rate_fail_per_s)
    run = checks.Run(rows["flat_low"], rows["flat_high"], rows["flat_since"])
    run = checks.flat_run(run, value, tick.time_s, p.flat_tolerance)
    for name, new in zip(("flat_low", "flat_high", "flat_since"), run, strict=True):
        rows[name] = np.where(tick.present, new, rows[name])
    flat = checks.flat_flags(tick.time_s - rows["flat_since"], p.flat_suspect_s, p.flat_fail_s)
    attenuated = _attenuated(tick)
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


def _attenuated(tick: Tick) -> Flags:
    """QARTOD test 9 by exponential means: the standard deviation over about ``attenuated_s`` is too small."""
    rows, p = tick.rows, tick.p
    mean, var = rows["attenuated_mean"], rows["attenuated_var"]
    first = np.isnan(mean)
    use = tick.usable & ((p.attenuated_suspect >= 0) | (p.attenuated_fail >= 0))
    value = np.where(use, tick.value, 0.0)
    gain = np.where(first, 1.0, baseline.gain_of(tick.dt_s, p.attenuated_s))
    off = value - np.where(first, value, mean)
    rows["attenuated_mean"] = np.where(use, np.where(first, value, mean + gain * off), mean)
    rows["attenuated_var"] = np.where(use, (1 - gain) * (var + gain * off * off), var)
    long_enough = use & (tick.time_s - rows["first_time"] >= p.attenuated_s)
    var = rows["attenuated_var"]
    flags = np.full(len(value), Flag.PASS, np.uint8)
    flags[long_enough & (var < p.attenuated_suspect * p.attenuated_suspect)] = Flag.SUSPECT
    flags[long_enough & (var < p.attenuated_fail * p.attenuated_fail)] = Flag.FAIL
    return flags


def _spikes(tick: Tick) -> tuple[Bools, Flags, NDArray[np.uint16]]:
    """QARTOD's spike test is one reading late by definition: it changes the flag of the one before."""
    rows = tick.rows
    flags = checks.spike_flags(
        rows["value_2"], rows["value_1"], tick.value, tick.p.spike_suspect, tick.p.spike_fail
    )
    quality = np.maximum(rows["quality_1"].astype(np.uint8), flags)
    rules = rows["rules_1"].astype(np.uint16) | np.uint16(Rule.SPIKE)
    return tick.present & (flags >= Flag.SUSPECT), quality, rules


def _shift(tick: Tick, z: Floats, known: Bools) -> None:
    """EWMA control chart (Roberts 1959) of the clipped residual: small and lasting shifts, and drifts."""
    timed = known & np.isfinite(tick.dt_s)
    gain = np.where(timed, baseline.gain_of(tick.dt_s, tick.p.shift_memory_s), 0.0)
    tick.rows["mean_z"] += gain * (np.clip(z, -Z_CLIP, Z_CLIP) - tick.rows["mean_z"])


class _Scores(NamedTuple):
    """−log10 of false-alarm probabilities by detector, ``(k,)`` each, and the distances behind them."""

    residual: Floats
    shift: Floats
    novelty: Floats
    mean_z: Floats
    told: Floats


def _scores(tick: Tick, z: Floats, told: Floats, known: Bools) -> _Scores:
    rows, mean_z = tick.rows, np.abs(tick.rows["mean_z"])
    nothing = Tail(*np.zeros((4, len(z))))
    by_residual = tail.score(np.abs(z), _tail(rows, "residual"), rows["count"], tail.RESIDUAL)
    by_shift = tail.score(mean_z, _tail(rows, "shift"), rows["count"], tail.SHIFT)
    by_novelty = tail.score(told, nothing, nothing.n, tail.NOVELTY)
    return _Scores(
        np.where(known, by_residual, 0.0), np.where(known, by_shift, 0.0), by_novelty, mean_z, told
    )


def _tail(rows: dict[str, Floats], name: str) -> Tail:
    return Tail(*(rows[f"{name}_{part}"] for part in TAIL))


def _tails(rows: dict[str, Floats], z: Floats, known: Bools, weight: Floats) -> None:
    """Learn how far residuals and their means go where nothing is wrong."""
    for name, x, begin in (("residual", z, tail.RESIDUAL), ("shift", rows["mean_z"], tail.SHIFT)):
        before = _tail(rows, name)
        learned = tail.learn(np.abs(x), before, weight, begin)
        for part, old, new in zip(TAIL, before, learned, strict=True):
            rows[f"{name}_{part}"] = np.where(known, new, old)


def _evidence(  # noqa: PLR0917 - one of each
    tick: Tick,
    quality: Flags,
    rules: Rules,
    scores: _Scores,
    known: Bools,
    expected: baseline.Expected,
    jumps: Bools,
) -> Evidence:
    p = tick.p
    weak = scores.residual > p.score_weak
    shifted = (scores.shift > p.score_strong) & (scores.mean_z > p.shift_least)
    new = (scores.told > p.novelty_least) & (scores.residual > p.score_close)
    hard = (quality == Flag.FAIL) | ((rules & (Rule.FLAT_LINE | Rule.ATTENUATED)) > 0)
    score = np.maximum(scores.residual, np.where(shifted, scores.shift, 0.0))
    score = np.maximum(score, np.where(new, scores.novelty, 0.0))
    score = np.maximum(score, np.where(hard | jumps, events.UNMEASURED_SCORE, 0.0))
    rules = rules | np.where(weak, int(Rule.RESIDUAL), 0) | np.where(shifted, int(Rule.SHIFT), 0)
    return Evidence(
        strong=(scores.residual > p.score_strong) | hard | jumps | shifted | new,
        weak=weak | ((rules & Rule.RATE_OF_CHANGE) > 0),
        still=scores.residual > p.score_close,
        rules=rules | np.where(new, int(Rule.NOVELTY), 0),
        score=np.minimum(score, events.LARGEST_SCORE),
        time_s=tick.time_s,
        value=tick.value,
        expected=np.where(known, expected.value, np.nan),
        spread=np.where(known, expected.spread, np.nan),
    )


def _teach(
    tick: Tick, expected: baseline.Expected, residual: Floats, quality: Flags, was_open: Bools
) -> Floats:
    """Learn from what may be learned from: nothing of failed values, little of events, all of a new level.

    Returns the share that each reading taught, (k,).
    """
    rows = tick.rows
    is_open = rows["event"] > 0
    adopted = is_open & (tick.time_s - rows["event_start"] > tick.p.adopt_s)
    weight = np.where((was_open | is_open) & ~adopted, baseline.WHILE_FLAGGED, 1.0)
    weight = np.where(tick.usable & (quality != Flag.FAIL), weight, 0.0)
    first = tick.usable & np.isnan(rows["first_time"])
    rows["first_time"] = np.where(first, tick.time_s, rows["first_time"])
    baseline.learn(tick, expected, residual, weight, adopted)
    return weight


def _flags(tick: Tick, quality: Flags, rules: Rules, known: Bools) -> tuple[Flags, Rules]:
    """The flag of each reading: a check's, else SUSPECT by residual or shift, else PASS or not evaluated.

    A gap flags the reading that ends it and no more: the value may well be right, and the service tells of
    silence while it lasts.
    """
    odd = tick.present & ((rules & (Rule.RESIDUAL | Rule.SHIFT | Rule.NOVELTY)) > 0)
    quality = np.where(odd, np.maximum(quality, np.uint8(Flag.SUSPECT)), quality)
    timed = tick.present & np.isfinite(tick.dt_s)
    late = checks.gap_flags(np.where(timed, tick.dt_s, 0.0), tick.p.gap_suspect_s, tick.p.gap_fail_s)
    late = np.where(timed & (late >= Flag.SUSPECT), late, np.uint8(0))
    quality, rules = np.maximum(quality, late), rules | np.where(late > 0, int(Rule.GAP), 0)
    unknown = tick.present & ~known
    quality = np.where(unknown & (quality == Flag.PASS), np.uint8(Flag.NOT_EVALUATED), quality)
    rules = np.where(unknown, rules | Rule.WARM_UP, rules)
    return quality, np.where(tick.present, rules, 0)


def _remember(tick: Tick, quality: Flags, rules: Rules) -> None:
    rows = tick.rows
    rows["last_time"] = tick.time_s
    for name, new in (
        ("value_2", rows["value_1"]),
        ("value_1", tick.value),
        ("time_1", tick.time_s),
        ("quality_1", quality),
        ("rules_1", rules),
    ):
        rows[name] = np.where(tick.present, new, rows[name])
