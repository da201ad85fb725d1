"""Estimates the drift of a probe from its calibrations, and when the next one is due.

The error of a probe is what it reads in a standard less the value of the standard. Between two calibrations
it grows from the error left after the first to the error found before the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEEK_S = 7 * 86_400.0
INTERVALS = 5  # the newest ones, whose median is the drift: an electrode ages
LONGEST_INTERVAL_S = 4 * WEEK_S
# Drift at which a probe is due, in the unit of the quantity. Common practice of operators, to be replaced by
# what the authority wants: each calibration may have a tolerance of its own.
TOLERANCES = {
    "ph": 0.15,
    "dissolved_oxygen": 0.3,
    "water_temperature": 0.5,
    "conductivity": 30.0,
    "turbidity": 3.0,
    "ammonia_nitrogen": 0.1,
    "permanganate_index": 0.5,
    "total_phosphorus": 0.02,
    "total_nitrogen": 0.2,
}


class ProbeDrift(NamedTuple):
    """Drift of a probe.

    Attributes
    ----------
    per_week : in the quantity's unit; None before the second calibration
    due_s : when the next calibration is due, Unix seconds [s]

    """

    per_week: float | None
    due_s: float


def probe_drift(
    times_s: NDArray[np.float64],
    error_before: NDArray[np.float64],
    error_after: NDArray[np.float64],
    tolerance: float,
) -> ProbeDrift:
    """Estimate the drift, and when it will have reached the tolerance.

    Parameters
    ----------
    times_s : (n,) times of the calibrations, strictly increasing, n ≥ 1, Unix seconds [s]
    error_before, error_after : (n,) reading less standard, before and after each
    tolerance : error at which a calibration is due, > 0

    Examples
    --------
    >>> weeks = WEEK_S * np.array([0.0, 1.0, 3.0])
    >>> found = probe_drift(weeks, np.array([0.0, 0.03, 0.06]), np.array([0.0, 0.0, 0.0]), tolerance=0.15)
    >>> round(found.per_week, 3), round(float(found.due_s - weeks[-1]) / WEEK_S, 2)
    (0.03, 4.0)

    """
    longest_s = float(times_s[-1]) + LONGEST_INTERVAL_S
    if len(times_s) == 1:
        return ProbeDrift(None, longest_s)
    drifts = (error_before[1:] - error_after[:-1]) / (np.diff(times_s) / WEEK_S)
    per_week = float(np.median(drifts[-INTERVALS:]))
    left = max(0.0, tolerance - abs(float(error_after[-1])))
    if abs(per_week) * LONGEST_INTERVAL_S <= left * WEEK_S:
        return ProbeDrift(per_week, longest_s)
    return ProbeDrift(per_week, float(times_s[-1]) + left / abs(per_week) * WEEK_S)
