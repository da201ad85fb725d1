"""Groups the flagged readings of each series into events, so that one physical event is one anomaly.

An event opens at once on strong evidence, or when weak evidence fills three of the last six readings (a
binomial event discriminator, as in EPA CANARY), then starting at the first of them. Readings with a score
above ``score_close`` extend it (hysteresis), and it closes after ``event_gap_s`` without any, at least
`EVENT_GAP_READINGS` reporting intervals: an event that pauses goes on. A longer one may pause for
`PAUSE_SHARE` times the time that it lasted, up to a day: what disturbs a series for hours shows at some hours
of the day only, and after a day a new level is adopted.

Severity is 3 from a score of 11, 2 from a score of 9.5 or a duration of two hours, else 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.flags import Rule
from analytics.core.state import SCALAR_COLUMN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

EVIDENCE_READINGS = 6  # readings
EVIDENCE_MASK = (1 << EVIDENCE_READINGS) - 1
MIN_WEAK_READINGS = 3
# Rules that name events, by precedence, as integers: enumerations cost more time than the arrays.
GROSS, FLAT, ATTENUATED, SPIKE, SHIFT, NOISE, RATE, GAP, RESIDUAL, NOVELTY = NAMING_RULES = tuple(
    int(rule)
    for rule in (
        Rule.GROSS_RANGE,
        Rule.FLAT_LINE,
        Rule.ATTENUATED,
        Rule.SPIKE,
        Rule.SHIFT,
        Rule.NOISE,
        Rule.RATE_OF_CHANGE,
        Rule.GAP,
        Rule.RESIDUAL,
        Rule.NOVELTY,
    )
)
_ALL_RULES = np.arange(1 << int(max(Rule)).bit_length())
_NAMING_RULES_OF = np.full(len(_ALL_RULES), SHIFT, np.uint16)
for _bit in reversed(NAMING_RULES):
    _NAMING_RULES_OF[(_ALL_RULES & _bit) > 0] = _bit
BIT_COUNTS = np.array([(number).bit_count() for number in range(1 << EVIDENCE_READINGS)])
ALARM_SCORE, WARNING_SCORE, WARNING_S = 11.0, 9.5, 7_200.0
MIN_SHIFT_S = 14_400.0
MIN_NOISE_READINGS = 12.0  # with steps and nothing else, in a long event that then is noise
MAX_SPIKE_READINGS = 3.0
RETURN_SHARE = 0.3  # of the peak's distance from the value before, within which a value has returned to that
# Chosen with one origin of data left out (`benchmarks.detection.event_constants`, decision 0077).
EVENT_GAP_READINGS = 36.0  # reporting intervals without evidence after which an event has ended
PAUSE_SHARE, MAX_PAUSE_S = 4.0, 86_400.0  # pause of an event, by the time that it lasted; at most a day [s]
BEGAN_WITH_STEP = (
    1 << 15
)  # of an event's rules in the state: its first reading was a step; `Rule` has no such bit
FAILED_CHECK_SCORE = 10.0  # of a failed check, whatever its rarity
MAX_SCORE = 99.0
NO_EVENT_ROWS = np.empty((0, 1 + len(SCALAR_COLUMN)))
_EVENT_COLUMNS = [0] + [
    1 + SCALAR_COLUMN[f"event_{name}"]
    for name in ("start", "last", "peak", "observed", "expected", "spread", "score", "rules", "count")
]
_EVENT_COLUMNS.append(1 + SCALAR_COLUMN["first_time"])


@dataclass(frozen=True, slots=True)
class Events:
    """Events that a block opened, changed or closed, ``(n_events,)`` each; unique by (series, start_s).

    Attributes
    ----------
    series : index into the state
    start_s, end_s, peak_s : first, last and largest flagged reading [s]; ``end_s`` is NaN while it is open
    observed, expected, spread : at the peak, canonical unit; NaN where unknown
    score : at the peak, as of `Judgement`
    rules : bits of all rules set in the event
    rule : the one rule that names it
    course : the rule that would name it if its values were possible, 0 for all others and where that is none
    began_with_step : whether its first reading was a step that is rare
    severity : 1 notice, 2 warning, 3 alarm
    n_readings : number of flagged readings in it
    since_s : first reading from which the series was learned [s]

    """

    series: NDArray[np.intp]
    start_s: Floats
    end_s: Floats
    peak_s: Floats
    observed: Floats
    expected: Floats
    spread: Floats
    score: Floats
    rules: NDArray[np.uint16]
    rule: NDArray[np.uint16]
    course: NDArray[np.uint16]
    began_with_step: Bools
    severity: NDArray[np.uint8]
    n_readings: NDArray[np.int64]
    since_s: Floats


class TickEvidence(NamedTuple):
    """Evidence for events from one reading of each series, ``(k,)`` each.

    Attributes
    ----------
    strong : whether it opens an event at once
    weak : whether it counts towards the three of six readings that open one
    continues : whether it keeps an open event open
    rules : `Rule` bits
    score : −log10 of the false-alarm probability
    time_s : measured time [s]
    begin_s : start of the event that it opens: the value before if that was a spike, or a gap [s]
    peak_s, value, expected, spread : of the value that the evidence is about; canonical unit; NaN where
        unknown

    """

    strong: Bools
    weak: Bools
    continues: Bools
    rules: NDArray[np.int64]
    score: Floats
    time_s: Floats
    begin_s: Floats
    peak_s: Floats
    value: Floats
    expected: Floats
    spread: Floats
    before: Floats


def advance_events(
    rows: dict[str, Floats], evidence: TickEvidence, gap_s: Floats, series: NDArray[np.intp]
) -> tuple[Floats, Bools]:
    """Advance the events of some series by one reading each, in place.

    Parameters
    ----------
    rows : scalars of these series by name, (k,) each
    evidence : of this reading
    gap_s : (k,) flagged readings closer than this, than `EVENT_GAP_READINGS` reporting intervals, or than a
        multiple of the event so far belong to one event [s]
    series : (k,) index into the state, for the closed events

    Returns
    -------
    (m, 1 + len(SCALAR_COLUMN)) float64: series of the events that closed, and its scalars at their end
    (k,) bool: whether an event is open that includes this reading

    """
    is_open = rows["event"] > 0
    interval_s = np.where(np.isnan(rows["interval"]), 0.0, rows["interval"])
    with np.errstate(invalid="ignore"):  # without an event its times are unknown
        pause_s = np.fmin(PAUSE_SHARE * (rows["event_last"] - rows["event_start"]), MAX_PAUSE_S)
    gap_s = np.maximum(np.fmax(gap_s, pause_s), EVENT_GAP_READINGS * interval_s)
    has_ended = is_open & (evidence.time_s - rows["event_last"] > gap_s)
    closed = (
        np.column_stack([series[has_ended], *(row[has_ended] for row in rows.values())])
        if has_ended.any()
        else NO_EVENT_ROWS
    )
    # The evidence is cleared too: that of this event must not open the next one.
    rows["event"][has_ended] = rows["evidence_bits"][has_ended] = 0.0
    is_open &= ~has_ended

    evidence_ring = rows["evidence_bits"].astype(np.int64) << 1 & EVIDENCE_MASK
    starts_evidence = evidence.weak & (evidence_ring == 0)
    evidence_ring |= evidence.weak
    rows["evidence_bits"] = evidence_ring.astype(np.float64)
    rows["evidence_since"] = np.where(starts_evidence, evidence.time_s, rows["evidence_since"])

    has_enough_evidence = BIT_COUNTS[evidence_ring] >= MIN_WEAK_READINGS
    opens = ~is_open & (evidence.strong | (has_enough_evidence & evidence.weak))
    _open_events(
        rows, opens, evidence, np.where(has_enough_evidence, rows["evidence_since"], evidence.begin_s)
    )
    is_extended = opens | (is_open & (evidence.strong | evidence.weak | evidence.continues))
    _extend_events(rows, is_extended, evidence)
    return closed, is_extended


def events_from_rows(closed: Floats, still_open: Floats) -> Events:
    """Return events from rows of the state, sorted by series and start.

    Parameters
    ----------
    closed, still_open : (m, 1 + len(SCALAR_COLUMN)) series, and its scalars

    """
    rows = np.concatenate([closed[:, _EVENT_COLUMNS], still_open[:, _EVENT_COLUMNS]])
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    ended = order < len(closed)
    series, start_s, last_s, peak_s, observed, expected, spread, score, rules, count, since_s = rows[
        order
    ].T.copy()
    duration_s = last_s - start_s
    severity = np.where((score >= WARNING_SCORE) | (duration_s >= WARNING_S), 2, 1)
    bits = rules.astype(np.intp)
    began_with_step = (bits & BEGAN_WITH_STEP) > 0
    bits &= BEGAN_WITH_STEP - 1
    is_impossible = (bits & GROSS) > 0
    # An impossible value departs from the expected one, whether or not that is known.
    course_bits = np.where(is_impossible, bits & ~GROSS | RESIDUAL, RESIDUAL)
    lengths = (duration_s, peak_s - start_s, count)
    course = _naming_rule(course_bits, *lengths, began_with_step)
    return Events(
        series=series.astype(np.intp),
        start_s=start_s,
        end_s=np.where(ended, last_s, np.nan),
        peak_s=peak_s,
        observed=observed,
        expected=expected,
        spread=spread,
        score=score,
        rules=bits.astype(np.uint16),
        rule=_naming_rule(bits, *lengths, began_with_step),
        course=np.where(is_impossible & (course != RESIDUAL), course, 0).astype(np.uint16),
        began_with_step=began_with_step,
        severity=np.where(score >= ALARM_SCORE, 3, severity).astype(np.uint8),
        n_readings=count.astype(np.int64),
        since_s=since_s,
    )


def _naming_rule(
    rules: NDArray[np.intp], duration_s: Floats, rise_s: Floats, n_readings: Floats, began_with_step: Bools
) -> NDArray[np.uint16]:
    """Return the rule that names each event: impossible values first, then a stuck sensor, then changes.

    Parameters
    ----------
    rules : bits of all rules set in each event, ``(n_events,)``
    duration_s, rise_s : time from its first flagged reading to its last one, and to its peak [s]
    n_readings : number of flagged readings
    began_with_step : whether its first flagged reading was a step

    """
    is_long = duration_s >= MIN_SHIFT_S
    has_departed = is_long & ((rules & (SHIFT | RESIDUAL)) > 0)
    # Steps that follow each other for hours, and lead nowhere, are noise.
    is_restless = is_long & (n_readings >= MIN_NOISE_READINGS) & (rules == RATE)
    rules = np.where(is_restless, rules | NOISE, rules)
    is_noisy = is_long & ((rules & NOISE) > 0)
    # A long departure or noise with a spike in it is no spike; spikes that follow each other are.
    named = np.where(has_departed | is_noisy, rules & ~SPIKE, rules)
    # The step by which a drifted value returns does not make a step of the drift, nor does the step by which
    # a shifted one returns make a drift of the shift, though that step may be the larger one.
    has_drifted = has_departed & ~is_noisy & (rise_s >= MIN_SHIFT_S) & ~began_with_step
    return _NAMING_RULES_OF[np.where(has_drifted, named | SHIFT, np.where(is_long, named, named & ~SHIFT))]


def _open_events(rows: dict[str, Floats], opens: Bools, evidence: TickEvidence, start_s: Floats) -> None:
    if not opens.any():
        return
    rows["event"][opens] = 1.0
    rows["event_start"][opens] = start_s[opens]
    rows["event_before"][opens] = evidence.before[opens]
    for name in ("event_score", "event_rules", "event_count"):
        rows[name][opens] = 0.0
    rows["event_peak"][opens] = evidence.time_s[opens]


def _extend_events(rows: dict[str, Floats], is_extended: Bools, evidence: TickEvidence) -> None:
    if not is_extended.any():
        return
    rows["event_last"][is_extended] = evidence.peak_s[is_extended]
    rows["event_count"] += is_extended
    rule_bits = rows["event_rules"].astype(np.int64) | evidence.rules
    with np.errstate(invalid="ignore", over="ignore"):  # readings may be infinite
        returned = np.abs(evidence.value - rows["event_before"]) < RETURN_SHARE * np.abs(
            rows["event_observed"] - rows["event_before"]
        )
    is_short = (rows["event_count"] > 1) & (rows["event_count"] <= MAX_SPIKE_READINGS + 1)
    rule_bits |= np.where(is_short & returned, SPIKE, 0)
    begins_with_step = (rows["event_count"] == 1) & ((evidence.rules & RATE) > 0)
    rule_bits |= np.where(begins_with_step, BEGAN_WITH_STEP, 0)
    rows["event_rules"] = np.where(is_extended, rule_bits, rows["event_rules"])
    # Scores are bounded (`MAX_SCORE`) and a failed check has a fixed one: among equal scores the reading
    # farthest from the expected value is the peak.
    with np.errstate(invalid="ignore", over="ignore"):  # readings may be infinite
        peak_distance = np.abs(rows["event_observed"] - rows["event_expected"])
        is_farther = np.abs(evidence.value - evidence.expected) > peak_distance
    is_tied_but_farther = (evidence.score == rows["event_score"]) & is_farther
    is_new_peak = is_extended & ((evidence.score > rows["event_score"]) | is_tied_but_farther)
    peak = {
        "event_peak": evidence.peak_s,
        "event_observed": evidence.value,
        "event_expected": evidence.expected,
        "event_spread": evidence.spread,
        "event_score": evidence.score,
    }
    for name, new_values in peak.items():
        rows[name][is_new_peak] = new_values[is_new_peak]


NO_EVENTS = events_from_rows(NO_EVENT_ROWS, NO_EVENT_ROWS)
