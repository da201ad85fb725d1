"""Shifts the score limits of a series by operators' feedback, within bounds.

The limits of a series are never stored moved. They are worked out anew from their base and from the verdicts
that stand, so that a verdict that is withdrawn leaves no trace in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FALSE_ALARM_STEP, CONFIRMED_STEP = 0.5, -0.25  # half a decade of false-alarm probability, and a quarter back
MIN_SHIFT, MAX_SHIFT = -1.0, 3.0
SCORE_LIMITS = ("score_close", "score_weak", "score_strong")
SHARE_LIMITS = ("novelty_least", "step_deviations")


def shift_of_verdicts(false_alarms: int, confirmed: int) -> float:
    """How far the score limits of a series move, −log10 of the false-alarm probability.

    Confirmations weigh half: what was missed is never reported, so they would win otherwise.

    Parameters
    ----------
    false_alarms, confirmed : verdicts that stand

    Examples
    --------
    >>> shift_of_verdicts(1, 0), shift_of_verdicts(1, 2), shift_of_verdicts(100, 0), shift_of_verdicts(0, 100)
    (0.5, 0.0, 3.0, -1.0)

    """
    return min(max(FALSE_ALARM_STEP * false_alarms + CONFIRMED_STEP * confirmed, MIN_SHIFT), MAX_SHIFT)


def shifted_limits(limits: Mapping[str, float], by: float) -> dict[str, float]:
    """The limits that a shift moves, where they stand after it.

    The score limits move together, so their order stays; what has no probability (by how much a record must
    be beaten, how many usual steps are too many) doubles with each step of one.

    Parameters
    ----------
    limits : base of each limit by name; NaN stays NaN
    by : of `shift`

    Examples
    --------
    >>> base = {"score_close": 2, "score_weak": 5, "score_strong": 8}
    >>> base |= {"novelty_least": 0.3, "step_deviations": 10}
    >>> [float(limit) for limit in shifted_limits(base, 1.0).values()]
    [3.0, 6.0, 9.0, 0.6, 20.0]

    """
    scores = {name: limits[name] + by for name in SCORE_LIMITS}
    return scores | {name: limits[name] * 2.0**by for name in SHARE_LIMITS}
