"""Diagnoses faults of traffic detectors from a day of flow and occupancy samples, as the Caltrans PeMS does.

The tests run over the samples of one day (30 s, 05:00 to 22:00). The first test that a detector fails names
its fault; it applies to the detector, not to single samples. Source: PeMS, detector health, and the
thresholds of its diagnostic sets, after Chen, Kwon, Rice, Skabardonis and Varaiya (2003).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.checks.limits import check_minimum

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Limit = float | Floats

SAMPLES_PER_DAY = 2040  # 30-s samples in 17 h
MAX_CONSTANT_STEPS = 1e-5  # sum of steps of occupancy below which it is constant, with room for rounding


class DetectorDiagnosis(IntEnum):
    """Health of a detector over a day: good, or the first test that it failed."""

    GOOD = 1
    NO_DATA = 2
    INSUFFICIENT_DATA = 3
    CARD_OFF = 4
    HIGH_VALUE = 5
    INTERMITTENT = 6
    CONSTANT = 7


class DiagnosticThresholds(NamedTuple):
    """Shares of the received samples from which on a detector is faulty; NaN switches a test off.

    One for all detectors or (d,) each.

    Attributes
    ----------
    least : share of a day's samples received up to which there are too few
    zero_occupancy, zero_flow : Card off
    high_occupancy, high_flow : samples above ``occupancy``, above ``flow``: High value
    zero_flow_occupied, zero_occupancy_flowing : contradictory samples: Intermittent
    constant : sum of steps of occupancy over four hours below which it is Constant
    occupancy : share of time [1]
    flow : vehicles a sample

    """

    least: Limit = 0.6
    zero_occupancy: Limit = np.nan
    zero_flow: Limit = np.nan
    high_occupancy: Limit = np.nan
    high_flow: Limit = np.nan
    zero_flow_occupied: Limit = np.nan
    zero_occupancy_flowing: Limit = np.nan
    constant: Limit = np.nan
    occupancy: Limit = 0.7
    flow: Limit = 20.0


_MAINLINE = DiagnosticThresholds(
    high_occupancy=0.2, zero_flow_occupied=0.02, zero_occupancy_flowing=0.5, constant=MAX_CONSTANT_STEPS
)
_RAMP = DiagnosticThresholds(high_flow=0.2)

THRESHOLDS_BY_ROAD_TYPE: dict[str, DiagnosticThresholds] = {
    "urban": _MAINLINE._replace(zero_occupancy=0.59),
    "rural": _MAINLINE._replace(zero_occupancy=0.9),
    "low_volume": _MAINLINE._replace(zero_occupancy=1.0),
    "ramp": _RAMP._replace(zero_flow=0.95),
    "ramp_99": _RAMP._replace(zero_flow=0.99),  # of districts 6 and 11
    "ramp_low_volume": _RAMP._replace(zero_flow=1.0),
}


def diagnose_traffic_detectors(
    flow: ArrayLike,
    occupancy: ArrayLike,
    thresholds: DiagnosticThresholds,
    *,
    day_samples: int = SAMPLES_PER_DAY,
    mean_of: int = 10,
    constant_n: int = 48,
) -> NDArray[np.uint8]:
    """Diagnose d detectors by the samples of a day.

    Parameters
    ----------
    flow, occupancy : (d, n) float64, vehicles a sample and share of time [1]; a sample without both, NaN,
        was not received
    thresholds : for all, or (d,) each
    day_samples : number of samples that a complete day has
    mean_of, constant_n : samples per mean (5 min), and means whose steps are summed (4 h)

    Returns
    -------
    (d,) uint8 of `DetectorDiagnosis`

    Raises
    ------
    ValueError
        If shapes do not match, or a number is below its minimum, naming both.

    Examples
    --------
    >>> flow, occupancy = np.array([[3.0, 5, 4], [0, 0, 0]]), np.array([[0.1, 0.2, 0.1], [0, 0, 0]])
    >>> diagnose_traffic_detectors(flow, occupancy, THRESHOLDS_BY_ROAD_TYPE["urban"], day_samples=3)
    array([1, 4], dtype=uint8)

    """
    check_minimum(1, day_samples=day_samples, mean_of=mean_of)
    check_minimum(2, constant_n=constant_n)
    q, o = np.asarray(flow, np.float64), np.asarray(occupancy, np.float64)
    if q.shape != o.shape or q.ndim != 2:
        raise ValueError(f"flow {q.shape} and occupancy {o.shape} must have one shape: detectors, samples")
    p = thresholds
    received = (~np.isnan(q) | ~np.isnan(o)).sum(axis=1)

    def share(mask: NDArray[np.bool_]) -> Floats:
        shares: Floats = mask.sum(axis=1) / np.maximum(received, 1)
        return shares

    tests = (
        (DetectorDiagnosis.NO_DATA, received == 0),
        (DetectorDiagnosis.INSUFFICIENT_DATA, received <= p.least * day_samples),
        (DetectorDiagnosis.CARD_OFF, (share(o == 0) >= p.zero_occupancy) | (share(q == 0) >= p.zero_flow)),
        (
            DetectorDiagnosis.HIGH_VALUE,
            (share(o > _as_column(p.occupancy)) >= p.high_occupancy)
            | (share(q > _as_column(p.flow)) >= p.high_flow),
        ),
        (
            DetectorDiagnosis.INTERMITTENT,
            (share((q == 0) & (o > 0)) >= p.zero_flow_occupied)
            | (share((o == 0) & (q > 0)) >= p.zero_occupancy_flowing),
        ),
        (DetectorDiagnosis.CONSTANT, _smallest_step_sum(o, mean_of, constant_n) < p.constant),
    )
    return np.select(
        [failed for _, failed in tests], [name for name, _ in tests], DetectorDiagnosis.GOOD
    ).astype(np.uint8)


def _as_column(limit: Limit) -> Limit:
    return limit if np.ndim(limit) == 0 else np.asarray(limit)[:, None]


def _smallest_step_sum(occupancy: Floats, mean_of: int, n: int) -> Floats:
    """Return the smallest sum of steps between n consecutive means above zero, (d,); inf without any."""
    d, samples = occupancy.shape
    means = samples // mean_of
    if means < n:
        return np.full(d, np.inf)
    parts = occupancy[:, : means * mean_of].reshape(d, means, mean_of)
    is_received = ~np.isnan(parts)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.where(is_received, parts, 0.0).sum(axis=2)
        mean = np.where(is_received.any(axis=2), total / np.maximum(is_received.sum(axis=2), 1), np.nan)
        steps = np.abs(np.diff(mean))
        steps = np.where((mean[:, 1:] > 0) & (mean[:, :-1] > 0), steps, np.inf)
        sums = np.lib.stride_tricks.sliding_window_view(steps, n - 1, axis=1).sum(axis=2)
    return np.asarray(np.where(np.isnan(sums), np.inf, sums).min(axis=1))
