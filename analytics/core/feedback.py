"""What operators say of a series' anomalies moves its limits: a little, within bounds, and back again.

The limits of a series are never stored moved. They are worked out anew from their base and from the verdicts
that stand, so that a verdict that is withdrawn leaves no trace in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FALSE_ALARM, CONFIRMED = 0.5, -0.25  # half a decade of false-alarm probability, and a quarter back
LEAST, MOST = -1.0, 3.0
SCORES = ("score_close", "score_weak", "score_strong")


def shift(false_alarms: int, confirmed: int) -> float:
    """How far the score limits of a series move, −log10 of the false-alarm probability.

    Confirmations weigh half: what was missed is never reported, so they would win otherwise.

    Parameters
    ----------
    false_alarms, confirmed : verdicts that stand

    Examples
    --------
    >>> shift(1, 0), shift(1, 2), shift(100, 0), shift(0, 100)
    (0.5, 0.0, 3.0, -1.0)

    """
    return min(max(FALSE_ALARM * false_alarms + CONFIRMED * confirmed, LEAST), MOST)


def moved(limits: Mapping[str, float], by: float) -> dict[str, float]:
    """The limits that a shift moves, where they stand after it.

    The score limits move together, so their order stays; the share of its range by which a record must be
    beaten has no probability, and doubles with each step of one.

    Parameters
    ----------
    limits : base of each limit by name; NaN stays NaN
    by : of `shift`

    Examples
    --------
    >>> moved({"score_close": 2.0, "score_weak": 3.5, "score_strong": 6.0, "novelty_least": 0.25}, 1.0)
    {'score_close': 3.0, 'score_weak': 4.5, 'score_strong': 7.0, 'novelty_least': 0.5}

    """
    scores = {name: limits[name] + by for name in SCORES}
    return scores | {"novelty_least": limits["novelty_least"] * 2.0**by}
