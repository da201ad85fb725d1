"""Detectors of a few lines with one fixed setting each; a proposed detector has to beat all of them.

Each takes a series and returns a score for each reading ``(n,)``, NaN where it has none.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from benchmarks.detection.labelled import LabelledSeries

    Floats = NDArray[np.float64]

DAY_S = 86_400.0
STEP_CAP = 0.999
MAD_TO_SD = 1.4826
QARTOD_MEMORY_S = 25 * 3_600.0
TRAINING_S = 30 * DAY_S
PCA_CLIP, PCA_BLOCK = 50.0, 65_536
HAMPEL_WINDOW, HAMPEL_MEMORY_S = 5, 7 * DAY_S
EWMA_MEMORY_S, EWMA_SCALE_MEMORY_S, EWMA_CLIP = 3 * 3_600.0, 2 * DAY_S, 5.0


def step(series: LabelledSeries, memory_s: float = DAY_S) -> Floats:
    """Return |Δx| over the exponential mean of a day before it, steps capped at their 99.9 % quantile.

    A step over a missing reading has no score.
    """
    size = np.abs(np.diff(series.value, prepend=series.value[:1]))
    capped = np.minimum(size, np.nanquantile(size, STEP_CAP))
    return size / (exponential_mean(capped, min(series.interval_s / memory_s, 1.0)) + series.resolution)


def hampel(series: LabelledSeries, memory_s: float = HAMPEL_MEMORY_S) -> Floats:
    """Return the distance from the median of five over the mean of the week to it; two readings late."""
    half = HAMPEL_WINDOW // 2
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(series.value, half, constant_values=np.nan), HAMPEL_WINDOW
    )
    with warnings.catch_warnings(action="ignore"):
        distance = np.abs(series.value - np.nanmedian(windows, axis=1))
    window = max(round(memory_s / series.interval_s), 2)
    return distance / (trailing_mean(distance, window) + series.resolution)


def huber_ewma(
    series: LabelledSeries, memory_s: float = EWMA_MEMORY_S, scale_memory_s: float = EWMA_SCALE_MEMORY_S
) -> Floats:
    """Return |residual| from a Huber-clipped exponential level of 3 h, over its mean of two days."""
    gains = min(series.interval_s / memory_s, 1.0), min(series.interval_s / scale_memory_s, 1.0)
    return _huber_ewma(series.value, *gains, series.resolution)


def rolling_mad(series: LabelledSeries) -> Floats:
    """Return the distance from the median of the day before, over the median distance of that day."""
    window = max(round(DAY_S / series.interval_s), 8)
    earlier = pd.Series(series.value).shift(1)
    median = earlier.rolling(window, min_periods=4).median()
    spread = MAD_TO_SD * (earlier - median).abs().rolling(window, min_periods=4).median()
    return np.asarray((pd.Series(series.value) - median).abs() / (spread + series.resolution), np.float64)


def qartod_spike_and_rate(series: LabelledSeries) -> Floats:
    """Return the larger of QARTOD's rate-of-change and spike tests, in standard deviations of the last 25 h.

    The spike test compares a reading with the mean of its two neighbours and is one reading late.
    """
    value = pd.Series(series.value)
    window = max(round(QARTOD_MEMORY_S / series.interval_s), 8)
    deviation = value.rolling(window, min_periods=4).std().shift(1) + series.resolution
    spike = (value - (value.shift(1) + value.shift(-1)) / 2).abs()
    return np.asarray(np.fmax(value.diff().abs(), spike) / deviation, np.float64)


def half_space_trees(series: LabelledSeries) -> Floats:
    """Return river's HalfSpaceTrees, learning online, on values scaled by the range of the first month."""
    from river.anomaly import HalfSpaceTrees  # noqa: PLC0415 - slow to load

    known = series.value[: max(round(TRAINING_S / series.interval_s), 100)]
    low, high = np.nanmin(known), np.nanmax(known)
    scaled = np.clip((series.value - low) / (high - low + 1e-9), 0, 1)
    trees, scores = HalfSpaceTrees(seed=1), np.full(len(scaled), np.nan)
    for index in np.flatnonzero(np.isfinite(scaled)).tolist():
        reading = {"x": float(scaled[index])}
        scores[index] = trees.score_one(reading)
        trees.learn_one(reading)
    return scores


def sub_pca(series: LabelledSeries) -> Floats:
    """Return Sub-PCA over the whole series: distance of each window from the main subspace of all; batch.

    Windows of a twelfth of a day (8 to 64 readings), in robust spreads of the series; a reading gets the
    smallest squared residual of the windows that it lies in.
    """
    value = pd.Series(series.value).ffill().bfill().to_numpy()
    length = int(np.clip(round(DAY_S / 12 / series.interval_s), 8, 64))
    centre = np.median(value)
    spread = MAD_TO_SD * np.median(np.abs(value - centre)) + series.resolution
    windows = np.lib.stride_tricks.sliding_window_view(
        np.clip((value - centre) / spread, -PCA_CLIP, PCA_CLIP), length
    )
    mean = windows.mean(axis=0)
    covariance = (windows.T @ windows) / len(windows) - np.outer(mean, mean)
    _, vectors = np.linalg.eigh(covariance)
    main = vectors[:, -max(length // 8, 1) :]
    residual = np.empty(len(windows))
    for begin in range(0, len(windows), PCA_BLOCK):
        centred = windows[begin : begin + PCA_BLOCK] - mean
        residual[begin : begin + PCA_BLOCK] = ((centred - (centred @ main) @ main.T) ** 2).sum(axis=1)
    padded = np.pad(residual, (length - 1, length - 1), constant_values=np.inf)
    return np.asarray(
        np.lib.stride_tricks.sliding_window_view(padded, length).min(axis=1)[: len(value)], np.float64
    )


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
    return np.asarray((total[at] - total[low]) / np.maximum(count[at] - count[low], 1), np.float64)


BASELINES: dict[str, Callable[[LabelledSeries], Floats]] = {
    "step": step,
    "Hampel 5": hampel,
    "Huber EWMA": huber_ewma,
    "rolling MAD": rolling_mad,
    "QARTOD spike + rate": qartod_spike_and_rate,
    "HalfSpaceTrees": half_space_trees,
    "Sub-PCA (batch)": sub_pca,
}
"""Detectors by name; all but the last are online."""
LATE_READINGS = {"Hampel 5": 2, "QARTOD spike + rate": 1}
"""Readings that a detector waits for after the one that it scores."""
