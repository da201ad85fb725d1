"""The evaluation index of a town, a weighted mean of shares, and the ranking of towns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_INDEX = 100.0


def weighted_index(scores: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """0 to 100: the weighed mean of the scores (0 to 1) that are known; None where none is.

    What is not known takes its weight with it: it neither helps nor harms.

    Examples
    --------
    >>> scores = {"water": 1.0, "roads": 0.5, "capture": None}
    >>> weighted_index(scores, {"water": 3.0, "roads": 1.0, "capture": 1.0})
    87.5

    """
    known_values = {
        name: score for name, score in scores.items() if score is not None and weights.get(name, 0.0) > 0
    }
    total = sum(weights[name] for name in known_values)
    return (
        MAX_INDEX * sum(weights[name] * score for name, score in known_values.items()) / total
        if known_values
        else None
    )


def ranks(values: Mapping[str, float | None], *, high_first: bool = True) -> dict[str, int]:
    """The rank of each known value, from 1; equals share a rank and the next is left out (1, 2, 2, 4).

    >>> ranks({"a": 90.0, "b": 80.0, "c": 90.0, "d": None})
    {'a': 1, 'b': 3, 'c': 1}
    """
    known_values = {
        name: -value if high_first else value for name, value in values.items() if value is not None
    }
    return {
        name: 1 + sum(other < value for other in known_values.values())
        for name, value in known_values.items()
    }
