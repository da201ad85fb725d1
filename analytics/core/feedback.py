"""Shifts the score limits of a series by operators' feedback on its anomalies, within bounds.

Shifted limits are never stored. They are recomputed from the base limits and the verdicts in force, so that a
withdrawn verdict has no lasting effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FALSE_ALARM_STEP, CONFIRMED_STEP = 0.5, -0.25  # decades of false-alarm probability
MIN_SHIFT, MAX_SHIFT = -1.0, 3.0
SCORE_LIMITS = ("score_close", "score_weak", "score_strong")
SHARE_LIMITS = ("novelty_least", "step_deviations")


def shift_of_verdicts(false_alarms: int, confirmed: int) -> float:
    """Return the shift of a series' score limits, −log10 of the false-alarm probability.

    Confirmations weigh half as much: missed events are never reported, so limits would drift downwards.

    Parameters
    ----------
    false_alarms, confirmed : numbers of verdicts in force

    Examples
    --------
    >>> shift_of_verdicts(1, 0), shift_of_verdicts(1, 2), shift_of_verdicts(100, 0), shift_of_verdicts(0, 100)
    (0.5, 0.0, 3.0, -1.0)

    """
    return min(max(FALSE_ALARM_STEP * false_alarms + CONFIRMED_STEP * confirmed, MIN_SHIFT), MAX_SHIFT)


def shifted_limits(limits: Mapping[str, float], by: float) -> dict[str, float]:
    """Return the limits that a shift changes, with their shifted values.

    The score limits move together, so their order is kept; limits that are no probabilities (share by which a
    record must be exceeded, number of usual steps) double with each unit of the shift.

    Parameters
    ----------
    limits : base value of each limit by name; NaN stays NaN
    by : shift, as of `shift_of_verdicts`

    Examples
    --------
    >>> base = {"score_close": 2, "score_weak": 5, "score_strong": 8}
    >>> base |= {"novelty_least": 0.3, "step_deviations": 10}
    >>> [float(limit) for limit in shifted_limits(base, 1.0).values()]
    [3.0, 6.0, 9.0, 0.6, 20.0]

    """
    # Below 0 every reading would be flagged. NaN stays: it is the first argument.
    scores = {name: max(limits[name] + by, 0.0) for name in SCORE_LIMITS}
    return scores | {name: limits[name] * 2.0**by for name in SHARE_LIMITS}
