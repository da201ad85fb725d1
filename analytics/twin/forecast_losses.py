"""Losses of forecasts and their means over ticks and over blocks of ticks; missing values are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.forecast_plan import Loss

    Floats = NDArray[np.float64]

MIN_COMPARED = 2  # blocks with values


def losses(residuals: Floats, loss: Loss) -> Floats:
    """Return the loss of each residual, as a plan measures it."""
    return np.abs(residuals) if loss == "absolute" else residuals**2


def mean(values: Floats) -> Floats:
    """Return the mean over the first axis, leaving out NaN; NaN where all are."""
    is_there = np.isfinite(values)
    count = is_there.sum(axis=0)
    total = np.where(is_there, values, 0).sum(axis=0)
    averaged: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return averaged


def mean_of_blocks(values: Floats, block_ticks: int) -> tuple[Floats, Floats]:
    """Return the mean of the means of consecutive blocks of ticks, and the standard error of that mean.

    The error is infinite where fewer than two blocks have values: how much blocks differ is not known then.
    """
    blocks = range(0, len(values), block_ticks)
    means = np.stack([mean(values[first : first + block_ticks]) for first in blocks])
    count = np.isfinite(means).sum(axis=0)
    averaged = mean(means)
    error = np.sqrt(mean((means - averaged) ** 2) / np.maximum(count - 1, 1))
    return averaged, np.where(count < MIN_COMPARED, np.inf, error)
