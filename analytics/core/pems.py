"""Whether traffic detectors are well: the daily diagnostics of Caltrans' PeMS.

Source: PeMS detector health, as Caltrans publishes its thresholds; 30-second samples of 05:00 to 22:00. The
first test that a detector fails names its fault; a detector, not a sample, is declared bad for the day.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SAMPLES = 2 * 60 * 17  # 30-second samples of a day
CONSTANT = 1e-5  # sum of steps of occupancy below which it stands still
CONSTANT_VALUES = 48  # five-minute values, four hours
PER_VALUE = 10  # samples in five minutes


class Diagnosis(IntEnum):
    """What a detector's day looks like."""

    GOOD = 0
    NO_DATA = 1
    INSUFFICIENT_DATA = 2
    CARD_OFF = 3
    HIGH_VALUE = 4
    INTERMITTENT = 5
    CONSTANT = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Shares of the samples received, for urban mainline detectors unless told otherwise.

    Attributes
    ----------
    insufficient : of all samples of a day, at most
    card_off : without occupancy, at least; 0.90 rural, 1.00 low volume
    high : with an occupancy above ``high_occupancy``, at least
    flow_only, occupancy_only : with one of the two at zero and not the other, at least

    """

    insufficient: float = 0.60
    card_off: float = 0.59
    high: float = 0.20
    high_occupancy: float = 0.70
    flow_only: float = 0.50
    occupancy_only: float = 0.02


def diagnose(
    flow: Floats, occupancy: Floats, *, thresholds: Thresholds = Thresholds(), samples: int = SAMPLES
) -> NDArray[np.uint8]:
    """The diagnosis of each detector's day.

    Parameters
    ----------
    flow, occupancy : (n_samples, n_detectors) vehicles a sample, share of time; NaN where none was received
    samples : that a whole day has

    Returns
    -------
    (n_detectors,) uint8 of `Diagnosis`

    Raises
    ------
    ValueError
        If the two differ in shape.

    Examples
    --------
    >>> flow = np.full((2040, 2), 5.0)
    >>> occupancy = np.column_stack([np.linspace(0.05, 0.2, 2040), np.zeros(2040)])
    >>> [Diagnosis(one).name for one in diagnose(flow, occupancy)]
    ['GOOD', 'CARD_OFF']

    """
    if flow.shape != occupancy.shape:
        raise ValueError(f"flow is {flow.shape} and occupancy {occupancy.shape}: they must agree")
    received = ~np.isnan(occupancy) & ~np.isnan(flow)
    n = received.sum(axis=0)

    def share(which: NDArray[np.bool_]) -> Floats:
        found: Floats = (which & received).sum(axis=0) / np.maximum(n, 1)
        return found

    empty, still = occupancy == 0, flow == 0
    faults = [
        (Diagnosis.NO_DATA, n == 0),
        (Diagnosis.INSUFFICIENT_DATA, n <= thresholds.insufficient * samples),
        (Diagnosis.CARD_OFF, share(empty) >= thresholds.card_off),
        (Diagnosis.HIGH_VALUE, share(occupancy > thresholds.high_occupancy) >= thresholds.high),
        (
            Diagnosis.INTERMITTENT,
            (share(still & ~empty) >= thresholds.occupancy_only)
            | (share(empty & ~still) >= thresholds.flow_only),
        ),
        (Diagnosis.CONSTANT, _stands_still(occupancy)),
    ]
    return np.select([is_it for _, is_it in faults], [int(name) for name, _ in faults], 0).astype(np.uint8)


def _stands_still(occupancy: Floats) -> NDArray[np.bool_]:
    """Whether four hours of five-minute means are the same and not zero, (n_detectors,)."""
    whole = len(occupancy) // PER_VALUE
    known = np.nan_to_num(occupancy[: whole * PER_VALUE]).reshape(whole, PER_VALUE, -1).mean(axis=1)
    if whole < CONSTANT_VALUES:
        return np.zeros(occupancy.shape[1], bool)
    windows = np.lib.stride_tricks.sliding_window_view(known, CONSTANT_VALUES, axis=0)
    steps = np.abs(np.diff(windows, axis=2)).sum(axis=2)
    still: NDArray[np.bool_] = ((steps < CONSTANT) & (windows.min(axis=2) > 0)).any(axis=0)
    return still
