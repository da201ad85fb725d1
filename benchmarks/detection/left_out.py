"""Chooses a detector's constants on all families but one and reports on the one left out.

A detector that has constants is a `Tunable`: a function of a series and its constants, and the few settings
to choose from. Families of one origin are left out together. The goal is the mean area over the families.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.detection import baselines
from benchmarks.detection.score_cache import family_scores
from benchmarks.detection.scoring import BUDGETS, Curve, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from benchmarks.detection.labelled import Family
    from benchmarks.detection.scoring import Alarms

    Floats = NDArray[np.float64]

HOUR_S, DAY_S = 3_600.0, 86_400.0


class Tunable(NamedTuple):
    """A detector with named constants and the settings to choose from."""

    name: str
    detector: Callable[..., Floats | Alarms]
    grid: Sequence[Mapping[str, float]]


class LeftOut(NamedTuple):
    """Recall at the budgets with constants chosen on the family itself, and on the other families alone.

    Attributes
    ----------
    in_family, left_out : recall at each of `BUDGETS`
    constants : those chosen without the family

    """

    in_family: tuple[float, ...]
    left_out: tuple[float, ...]
    constants: Mapping[str, float]


class StatedRate(NamedTuple):
    """False alarms a series-month where the other families' threshold states a budget."""

    budget: float
    measured: float
    recall: float


def leave_one_out(tunable: Tunable, families: Sequence[Family]) -> dict[str, LeftOut]:
    """Return for each family what the constants chosen on it and on the others find in it."""
    curves = [[_curve(tunable, constants, family) for family in families] for constants in tunable.grid]
    areas = np.array([[curve.area() for curve in row] for row in curves])
    found = {}
    for number, family in enumerate(families):
        others = [i for i, other in enumerate(families) if origin(other) != origin(family)]
        best_in, best_out = int(areas[:, number].argmax()), int(areas[:, others].mean(axis=1).argmax())
        found[family.name] = LeftOut(
            tuple(curves[best_in][number].recall_at(budget) for budget in BUDGETS),
            tuple(curves[best_out][number].recall_at(budget) for budget in BUDGETS),
            tunable.grid[best_out],
        )
    return found


def stated_rates(curves: Mapping[str, Curve], families: Sequence[Family]) -> dict[str, list[StatedRate]]:
    """Return for each family the rate measured in it with thresholds that state a budget on the others.

    The threshold of a budget is the median of the other families' thresholds. A detector whose scores mean
    the same everywhere measures what it states.

    Parameters
    ----------
    curves : a detector's curve, by the family's name

    """
    found = {}
    for family in families:
        others = [curves[other.name] for other in families if origin(other) != origin(family)]
        found[family.name] = [
            StatedRate(budget, *measured_at(curves[family.name], _median_threshold(others, budget)))
            for budget in BUDGETS
        ]
    return found


def measured_at(curve: Curve, threshold: float) -> tuple[float, float]:
    """Return false alarms a series-month and recall at a threshold."""
    at = int(np.searchsorted(-curve.threshold, -threshold, side="right")) - 1
    return (float(curve.false[at]), float(curve.recall[at])) if at >= 0 else (0.0, 0.0)


def origin(family: Family) -> str:
    """Return the origin of a family, its name if none is given."""
    return family.origin or family.name


def _median_threshold(curves: Sequence[Curve], budget: float) -> float:
    return float(np.median([curve.threshold_at(budget) for curve in curves]))


def _curve(tunable: Tunable, constants: Mapping[str, float], family: Family) -> Curve:
    detector = partial(tunable.detector, **constants)
    detector.__module__ = tunable.detector.__module__
    name = f"{tunable.name} {sorted(constants.items())}"
    return sweep(family, family_scores(name, detector, family))


TUNABLE = (
    Tunable("step", baselines.step, [{"memory_s": days * DAY_S} for days in (0.25, 0.5, 1, 3, 7)]),
    Tunable("Hampel 5", baselines.hampel, [{"memory_s": days * DAY_S} for days in (1, 3, 7, 14)]),
    Tunable(
        "Huber EWMA",
        baselines.huber_ewma,
        [
            {"memory_s": hours * HOUR_S, "scale_memory_s": days * DAY_S}
            for hours in (1, 3, 8)
            for days in (0.5, 2, 7)
        ],
    ),
)
"""The baselines whose setting was chosen on the rivers, with settings around it."""
