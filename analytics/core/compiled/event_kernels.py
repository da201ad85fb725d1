"""Compiled changes of the event of a series by one reading, as in `analytics.core.events`.

The parameters ``r, p, s, t, v`` are explained in `analytics.core.compiled.kernel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.core.compiled import constants as k
from analytics.core.compiled.constants import inlined_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@inlined_kernel
def advance_event(
    r: NDArray[Any],
    p: NDArray[Any],
    s: int,
    t: float,
    begin: float,
    strong: bool,
    weak: bool,
    keeps_open: bool,
    closed: NDArray[Any],
    n_closed: int,
) -> tuple[bool, bool]:
    """Advance the event of a series by one reading, up to the decision whether it includes this one.

    Called only with evidence in this reading or one of the last ones, or while an event is open.
    Returns whether an event closed (its scalars then fill the next row of ``closed``), and whether one is
    open that includes this reading.
    """
    is_open = r[s, k.EVENT] > 0
    interval = 0.0 if np.isnan(r[s, k.INTERVAL]) else r[s, k.INTERVAL]
    gap = max(p[s, k.EVENT_GAP], k.EVENT_GAP_READINGS * interval)
    if is_open:
        pause = k.PAUSE_SHARE * (r[s, k.EVENT_LAST] - r[s, k.EVENT_START])
        gap = max(gap, min(pause, k.MAX_PAUSE_S))
    event_ended = is_open and t - r[s, k.EVENT_LAST] > gap
    if event_ended:
        for column in range(r.shape[1]):
            closed[n_closed, 1 + column] = r[s, column]
        r[s, k.EVENT] = r[s, k.EVIDENCE_BITS] = 0.0
        is_open = False
    evidence_ring = (int(r[s, k.EVIDENCE_BITS]) << 1) & k.EVIDENCE_MASK
    if weak and evidence_ring == 0:
        r[s, k.EVIDENCE_SINCE] = t
    if weak:
        evidence_ring |= 1
    r[s, k.EVIDENCE_BITS] = evidence_ring
    has_enough_evidence = k.BIT_COUNTS[evidence_ring] >= k.MIN_WEAK_READINGS
    opens = not is_open and (strong or (has_enough_evidence and weak))
    if opens:
        r[s, k.EVENT], r[s, k.EVENT_START], r[s, k.EVENT_PEAK] = (
            1.0,
            r[s, k.EVIDENCE_SINCE] if has_enough_evidence else begin,
            t,
        )
        r[s, k.EVENT_BEFORE] = r[s, k.VALUE_1]
        r[s, k.EVENT_SCORE] = r[s, k.EVENT_RULES] = r[s, k.EVENT_COUNT] = 0.0
    return event_ended, opens or (is_open and (strong or weak or keeps_open))


@inlined_kernel
def extend_event(
    r: NDArray[Any], s: int, t: float, v: float, expected: float, spread: float, score: float, rules: int
) -> None:
    """Include the value that the evidence is about in the open event."""
    r[s, k.EVENT_LAST] = t
    r[s, k.EVENT_COUNT] += 1.0
    if r[s, k.EVENT_COUNT] == 1 and rules & k.RATE_RULE:
        rules |= k.BEGAN_WITH_STEP
    if 1 < r[s, k.EVENT_COUNT] <= k.MAX_SPIKE_READINGS + 1:
        height = abs(r[s, k.EVENT_OBSERVED] - r[s, k.EVENT_BEFORE])
        if abs(v - r[s, k.EVENT_BEFORE]) < k.EVENT_RETURN_SHARE * height:
            rules |= k.SPIKE_RULE
    r[s, k.EVENT_RULES] = int(r[s, k.EVENT_RULES]) | rules
    distance_at_peak = abs(r[s, k.EVENT_OBSERVED] - r[s, k.EVENT_EXPECTED])
    # Among equal scores the reading farthest from the expected value is the peak.
    is_tied_but_farther = score == r[s, k.EVENT_SCORE] and abs(v - expected) > distance_at_peak
    if score > r[s, k.EVENT_SCORE] or is_tied_but_farther:
        r[s, k.EVENT_PEAK], r[s, k.EVENT_OBSERVED], r[s, k.EVENT_EXPECTED], r[s, k.EVENT_SPREAD] = (
            t,
            v,
            expected,
            spread,
        )
        r[s, k.EVENT_SCORE] = score
