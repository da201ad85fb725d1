"""Computes the evaluation index of a town as a weighted mean of scores, and ranks towns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_INDEX = 100.0


def weighted_index(scores: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Return the weighted mean of the known scores (0 to 1) as an index, 0 to 100; None if none is known.

    The weight of an unknown score (None) is left out as well.

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
    """Return the rank of each known value, from 1; equal values share a rank and skip the next (1, 2, 2, 4).

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
