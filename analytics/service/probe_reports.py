"""Reports the drift of probes from their stored calibrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analytics.assessments.probe_drift import TOLERANCES, ProbeDrift, probe_drift
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.postgres.maintenance import Calibration

SPAN_SHARE = 0.01  # of the plausible range: the tolerance of quantities without one of their own


def tolerance_of(calibrations: Sequence[Calibration], quantity: str) -> float:
    """Return the tolerance of the newest calibration that has one, else the quantity's."""
    for one in reversed(calibrations):
        if one.tolerance is not None:
            return one.tolerance
    if quantity in TOLERANCES:
        return TOLERANCES[quantity]
    return SPAN_SHARE * (QUANTITIES[quantity].high - QUANTITIES[quantity].low)


def drift_of(calibrations: Sequence[Calibration], quantity: str) -> ProbeDrift | None:
    """Estimate the drift of a probe by its calibrations, oldest first; None if there are none."""
    if not calibrations:
        return None
    return probe_drift(
        np.array([one.calibrated_s for one in calibrations]),
        np.array([one.before - one.reference for one in calibrations]),
        np.array([one.after - one.reference for one in calibrations]),
        tolerance_of(calibrations, quantity),
    )
