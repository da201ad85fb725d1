"""Computes VUS-PR, the volume under the precision-recall surface over buffers around the labels.

After Paparrizos and others, "Volume Under the Surface", VLDB 2022, with the conventions of their library:
labels with ramps √(1 − d / buffer) on both sides over half a buffer, recall multiplied by the share of events
that are met at all, 250 thresholds. The buffers here are 0, ¼, ½, ¾ and all of the largest one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.scoring import Alarms, covered_readings, unit_alarms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.detection.labelled import Family

    Floats = NDArray[np.float64]

THRESHOLDS = 250
LARGEST_BUFFER_S, LARGEST_BUFFER = 6 * 3_600.0, 100  # the shorter of them, in readings at least 4
BUFFER_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def mean_vus_pr(family: Family, scores: Sequence[Floats | Alarms]) -> float:
    """Return the mean VUS-PR of the series (or sites) of a family that have events."""
    volumes = []
    for unit, alarms in unit_alarms(family, scores):
        if len(unit.events):
            first, last = covered_readings(
                unit.time_s, Alarms(unit.events[:, 0], unit.events[:, 1], unit.events[:, 0])
            )
            largest = int(np.clip(round(LARGEST_BUFFER_S / unit.interval_s), 4, LARGEST_BUFFER))
            volumes.append(vus_pr(first, last, by_reading(unit.time_s, alarms), largest))
    return float(np.mean(volumes)) if volumes else np.nan


def by_reading(time_s: Floats, alarms: Alarms) -> Floats:
    """Return the largest score of the alarms that cover each reading; less than any of them elsewhere."""
    least = alarms.score.min() - 1 if len(alarms.score) else 0.0
    score = np.full(len(time_s), least)
    first, last = covered_readings(time_s, alarms)
    single = first == last
    np.maximum.at(score, first[single], alarms.score[single])
    for low, high, level in zip(first[~single], last[~single], alarms.score[~single], strict=True):
        score[low : high + 1] = np.maximum(score[low : high + 1], level)
    return score


def vus_pr(first: NDArray[np.int64], last: NDArray[np.int64], score: Floats, largest_buffer: int) -> float:
    """Return the VUS-PR of one series.

    Parameters
    ----------
    first, last : (n_events,) first and last reading of each event
    score : (n,) a larger one is more anomalous
    largest_buffer : readings

    """
    label = np.zeros(len(score))
    for low, high in zip(first, last, strict=True):
        label[low : high + 1] = 1.0
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    at = np.unique(np.linspace(0, len(score) - 1, THRESHOLDS).astype(np.int64))
    count = np.searchsorted(-ranked, -ranked[at], side="right")  # readings at or above each threshold
    areas = []
    for share in BUFFER_SHARES:
        soft = _with_ramps(label, first, last, round(share * largest_buffer))
        hits = np.concatenate([[0.0], np.cumsum(soft[order])])[count]
        widened = np.flatnonzero(np.diff(np.concatenate([[0], (soft > 0).astype(np.int8), [0]])))
        best = np.array([score[low:high].max() for low, high in widened.reshape(-1, 2)])
        met = (best[None, :] >= ranked[at][:, None]).mean(axis=1)
        positives = (label.sum() + np.where(label > 0, 1.0, 0.0).sum()) / 2
        in_ramp = np.concatenate([[0.0], np.cumsum(np.where(label > 0, 0.0, soft)[order])])[count]
        recall = np.minimum(hits / (positives + in_ramp / 2), 1.0) * met
        areas.append(float(np.sum(np.diff(recall, prepend=0.0) * hits / count)))
    return float(np.mean(areas))


def _with_ramps(label: Floats, first: NDArray[np.int64], last: NDArray[np.int64], buffer: int) -> Floats:
    soft = label.copy()
    if buffer:
        ramp = np.sqrt(1 - np.arange(1, buffer // 2 + 1) / buffer)
        for low, high in zip(first, last, strict=True):
            after = soft[high + 1 : high + 1 + len(ramp)]
            after += ramp[: len(after)]
            before = soft[max(low - len(ramp), 0) : low]
            before += ramp[: len(before)][::-1]
    return np.minimum(soft, 1.0)
