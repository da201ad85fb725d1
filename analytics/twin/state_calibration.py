"""Fits to the sensors themselves how much of a departure is of its place alone, and the width of bands.

What nearby places have in common is not known beforehand: sensors of a town may share a day's weather and
little else, while on a short river they agree. Each sensor is left out at some recent times and estimated
from the others. The variance that each place has alone is the one with which the bands that hold 80 % of
the left-out readings are narrowest, or the least one that is within a standard error of that; standard
deviations are scaled so that they do. Then each sensor is estimated from the others and its own reading of
some hours before. In the same way this gives the part of that variance that lasts
(`StateModel.own_variance`), while the rest is noise of readings, and a second scale.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.twin.state_estimation import estimate_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analytics.twin.state_estimation import SensorRecord, StateModel

    Floats = NDArray[np.float64]

BAND_SHARE, Z_BAND = 0.8, 1.2816  # of a Gaussian, 80 % are within 1.2816 standard deviations
ALONE = (0.0, 0.3, 1.0, 3.0, 30.0)  # variance of a place alone, of the field's 1; with 30 nothing is shared
FEW_ALONE = (0.0, 1.0, 30.0)  # tried on large networks
NOISE_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of that variance
LARGE = 10_000  # nodes
MIN_SENSORS = 3  # from fewer nothing can be fitted
PRIOR_ERRORS = 2.0  # worth of the assumption that the standard deviation is right without a scale
SCALE_BOUNDS = (1 / 3, 1e3)  # of the standard deviation without any sensor; a tight one favours what it cuts


class FittedModel(NamedTuple):
    """A model and a record with the variances that fit, and the factors of standard deviations.

    Attributes
    ----------
    scale, scale_at_sensors : of nodes without a sensor, and of those with one

    """

    model: StateModel
    record: SensorRecord
    scale: float = 1.0
    scale_at_sensors: float = 1.0


class LeftOutEstimates(NamedTuple):
    """Each sensor as the others have it, (times, m) each; NaN without a reading."""

    departure: Floats
    mean: Floats
    variance: Floats


def fit_to_sensors(
    model: StateModel, record: SensorRecord, at_s: Sequence[float], lag_s: float | None = None
) -> FittedModel:
    """Return the model as its sensors show it; the given one where there are too few of them.

    Parameters
    ----------
    model : without variances of places alone
    record : readings of which those until each time are used for that time
    at_s : times at which each sensor is left out [s]
    lag_s : age of a sensor's own reading with which it is estimated again [s]; None if nothing is aged

    Raises
    ------
    StateEstimationError
        See `estimate_state`.

    """
    tried = list[tuple[float, float, float, LeftOutEstimates]]()
    for alone in ALONE if model.field.n <= LARGE else FEW_ALONE:
        found = _leave_out(dataclasses.replace(model, own_variance=alone), record, at_s)
        scale, width = _fitted_scale(found.departure - found.mean, found.variance, 1 + alone)
        tried.append((width, alone, scale, found))
    narrowest = min(one[0] for one in tried)
    if not math.isfinite(narrowest):
        return FittedModel(model, record)
    n = np.isfinite(tried[0][3].departure).sum()  # the least variance that is no worse for certain
    _, alone, scale, found = next(one for one in tried if one[0] <= narrowest + 1 / math.sqrt(2 * n))
    best = FittedModel(dataclasses.replace(model, own_variance=alone), record, scale, scale)
    if lag_s is None:
        return best
    earlier = _departures(record, np.asarray(at_s) - lag_s)
    correlation = math.exp(-lag_s / model.correlation_time_s)
    narrowest = math.inf
    for share in NOISE_SHARES:
        own, noise = (1 - share) * alone, record.noise + share * alone
        before = found.variance - noise
        aged = ((1 - correlation**2) * (1 + own) + noise) / correlation**2
        after = 1 / (1 / before + 1 / aged)
        mean = after * (found.mean / before + earlier / correlation / aged)
        at_sensors, width = _fitted_scale(found.departure - mean, after + noise, 1 + alone)
        if width < narrowest:
            narrowest = width
            best = FittedModel(
                dataclasses.replace(model, own_variance=own), record._replace(noise=noise), scale, at_sensors
            )
    return best


def _leave_out(model: StateModel, record: SensorRecord, at_s: Sequence[float]) -> LeftOutEstimates:
    found = [estimate_state(model, record, time_s) for time_s in at_s]
    return LeftOutEstimates(
        _departures(record, np.asarray(at_s)),
        np.stack([one.others_mean for one in found]),
        np.stack([one.others_variance for one in found]),
    )


def _departures(record: SensorRecord, at_s: Floats) -> Floats:
    """Return the departures of the last times until some times, (times, m)."""
    row = np.searchsorted(record.time_s, at_s, side="right") - 1
    return np.where(row[:, None] >= 0, record.departure[row], np.nan)


def _fitted_scale(error: Floats, variance: Floats, without_any: float) -> tuple[float, float]:
    """Return the factor with which 80 % of the errors are in the band, and the mean logarithm of its width.

    The rank is that of a next error (conformal). The width is infinite with fewer than `MIN_SENSORS`.

    Parameters
    ----------
    error, variance : (times, m)
    without_any : variance without any sensor

    """
    there = np.isfinite(error)
    n = int(there.sum())
    if there.any(axis=0).sum() < MIN_SENSORS:
        return 1.0, math.inf
    deviation = np.sqrt(variance[there])
    rank = min(1.0, math.ceil(BAND_SHARE * (n + 1)) / n)
    found = float(np.quantile(np.abs(error[there]) / deviation, rank)) / Z_BAND * math.sqrt(without_any)
    found = min(max(found, SCALE_BOUNDS[0]), SCALE_BOUNDS[1])
    scale = found ** (n / (n + PRIOR_ERRORS)) / math.sqrt(without_any)
    return scale, float(np.mean(np.log(deviation))) + math.log(scale)
