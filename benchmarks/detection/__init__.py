"""Evaluates detectors on families of labelled series, at fixed false alarms a series-month.

`evaluate` takes the scores of one detector for one family and returns what they find; the rules are those of
`benchmarks.detection.scoring`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.detection.scoring import BUDGETS, Alarms, Curve, WorkingPoint, sweep, working_point

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.detection.labelled import Family

__all__ = ["BUDGETS", "Alarms", "Evaluation", "evaluate", "main"]


class Evaluation(NamedTuple):
    """What a detector finds in a family: the curve, its area, and a working point for each budget."""

    family: str
    curve: Curve
    area: float
    at: dict[float, WorkingPoint]

    def __str__(self) -> str:
        """Return recall at the budgets, area, delay, alarms an event and events found by kind."""
        one = self.at[1.0]
        kinds = ", ".join(f"{kind} {hits}/{of}" for kind, (hits, of) in one.by_kind.items())
        return (
            " / ".join(f"{self.at[budget].recall:.3f}" for budget in BUDGETS)
            + f"  area {self.area:.3f}  delay {one.delay_s / 60:.0f} min"
            + f"  {one.alarms_per_event:.2f} alarms an event"
            + f"  ({kinds})"
        )


def evaluate(
    scores_by_series: Mapping[str, NDArray[np.float64] | Alarms], family: Family, late_readings: int = 0
) -> Evaluation:
    """Return what a detector finds in a family.

    Parameters
    ----------
    scores_by_series : by the series' name, a score for each reading ``(n,)`` (NaN: none) or `Alarms`
    family : see `benchmarks.detection.families.load`
    late_readings : readings that the detector waits for after the one that it scores

    Raises
    ------
    KeyError
        If a series of the family has no scores.

    """
    scores = [scores_by_series[one.name] for one in family.series]
    curve = sweep(family, scores)
    points = {
        budget: working_point(family, scores, curve.threshold_at(budget), late_readings) for budget in BUDGETS
    }
    return Evaluation(family.name, curve, curve.area(), points)


def main() -> None:
    """Evaluate all detectors on all families (`report`).

    ``--constants`` chooses constants, ``--clean-alarms [PICTURE]`` counts the alarms in clean stretches,
    ``--long-intervals`` those of simulated series of few readings a day.
    """
    if "--constants" in sys.argv:
        from benchmarks.detection import event_constants  # noqa: PLC0415 - it must not load the judge

        event_constants.main()
        return
    if "--clean-alarms" in sys.argv:
        from benchmarks.detection import clean_alarms  # noqa: PLC0415 - it loads the whole product

        pictures = sys.argv[sys.argv.index("--clean-alarms") + 1 :]
        clean_alarms.main(Path(pictures[0]) if pictures else None)
        return
    if "--long-intervals" in sys.argv:
        from benchmarks.detection import long_intervals  # noqa: PLC0415 - likewise

        long_intervals.main()
        return
    from benchmarks.detection import report  # noqa: PLC0415 - likewise

    report.main()
