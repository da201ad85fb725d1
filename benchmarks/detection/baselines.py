"""Detectors of a few lines with one fixed setting each; a proposed detector has to beat all of them.

Each takes a series and returns a score for each reading ``(n,)``, NaN where it has none.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from benchmarks.detection.families import LabelledSeries

    Floats = NDArray[np.float64]

DAY_S = 86_400.0
STEP_CAP = 0.999
HAMPEL_WINDOW, HAMPEL_MEMORY_S = 5, 7 * DAY_S
EWMA_MEMORY_S, EWMA_SCALE_MEMORY_S, EWMA_CLIP = 3 * 3_600.0, 2 * DAY_S, 5.0


def step(series: LabelledSeries) -> Floats:
    """Return |Δx| over the exponential mean |Δx| of a day before it (steps capped at their 99.9 % quantile).

    A step over a missing reading has no score.
    """
    size = np.abs(np.diff(series.value, prepend=series.value[:1]))
    capped = np.minimum(size, np.nanquantile(size, STEP_CAP))
    return size / (exponential_mean(capped, min(series.interval_s / DAY_S, 1.0)) + series.resolution)


def hampel(series: LabelledSeries) -> Floats:
    """Return the distance from the median of five over the mean distance of the week to it; two readings late."""
    half = HAMPEL_WINDOW // 2
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(series.value, half, constant_values=np.nan), HAMPEL_WINDOW
    )
    with warnings.catch_warnings(action="ignore"):
        distance = np.abs(series.value - np.nanmedian(windows, axis=1))
    week = max(round(HAMPEL_MEMORY_S / series.interval_s), 2)
    return distance / (trailing_mean(distance, week) + series.resolution)


def huber_ewma(series: LabelledSeries) -> Floats:
    """Return |residual| from a Huber-clipped exponential level of 3 h, over the mean |residual| of two days."""
    gains = min(series.interval_s / EWMA_MEMORY_S, 1.0), min(series.interval_s / EWMA_SCALE_MEMORY_S, 1.0)
    return _huber_ewma(series.value, *gains, series.resolution)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _huber_ewma(value: Floats, gain: float, scale_gain: float, resolution: float) -> Floats:
    score = np.full(len(value), np.nan)
    level, scale = np.nan, 0.0
    for i, x in enumerate(value):
        if np.isnan(x):
            continue
        if np.isnan(level):
            level, scale = x, resolution
            continue
        residual = x - level
        score[i] = abs(residual) / (scale + resolution)
        clip = EWMA_CLIP * (scale + resolution)
        clipped = min(max(residual, -clip), clip)
        level += gain * clipped
        scale += scale_gain * (abs(clipped) - scale)
    return score


@njit(cache=True)  # type: ignore[untyped-decorator]
def exponential_mean(value: Floats, gain: float) -> Floats:
    """Return the exponential mean of the known values before each; NaN before the first."""
    mean = np.full(len(value), np.nan)
    level = np.nan
    for i, x in enumerate(value):
        mean[i] = level
        if np.isnan(level):
            level = x
        elif not np.isnan(x):
            level += gain * (x - level)
    return mean


def trailing_mean(value: Floats, window: int) -> Floats:
    """Return the mean of the last ``window`` known values, this one included; 0 where there are none."""
    known = np.isfinite(value)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, value, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    at = np.arange(1, len(value) + 1)
    low = np.maximum(at - window, 0)
    return (total[at] - total[low]) / np.maximum(count[at] - count[low], 1)


BASELINES: dict[str, Callable[[LabelledSeries], Floats]] = {
    "step": step,
    "Hampel 5": hampel,
    "Huber EWMA": huber_ewma,
}
