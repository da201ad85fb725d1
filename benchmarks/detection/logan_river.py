"""Compares the judge with simpler detectors at equal false-alarm rates on the Logan River's sondes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.progress import track

from analytics.core import evaluation
from analytics.core.judge import judge
from analytics.core.state import State
from analytics.quality import default_limits
from benchmarks import _labelled_recordings
from ingest_service.storage.contract.models import Series

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

QUANTITIES = {
    "temp": ("water_temperature", 1.0),
    "cond": ("conductivity", 1.0),
    "ph": ("ph", 1.0),
    "do": ("dissolved_oxygen", 1.0),
    "turb": ("turbidity", 1.0),
    "stage": ("water_level", 0.01),
}
"""Quantity of a sonde's column, and the factor to its canonical unit."""
MONTH_S = 30 * 86_400.0
INTERVAL_S = 900.0
EVENT_GAP_S = 3_600.0
WINDOW = 96  # readings of a day
TRAINING_READINGS = 2_880  # of a month
THRESHOLDS_TRIED = 120


def evaluate_logan_river(folder: Path) -> dict[str, float]:
    """Return the recall of the technicians' events and the false alarms per series and month; print both."""
    sondes = list(_labelled_recordings.load_logan_river(folder))
    months = sum((one.time_s[-1] - one.time_s[0]) / MONTH_S for one in sondes)
    found = [judged_events(one) for one in track(sondes, "Logan River")]
    recall, false = _score_against_labels(sondes, found, months)
    print(f"\nLogan River, {sum(len(one.events) for one in sondes)} events, {months:.0f} series-months")
    print(f"{'':32}{'recall':>9}{'false alarms a series-month':>30}")
    print(f"{'towntwin, default limits':32}{recall:9.3f}{false:30.2f}")
    for name, score in SCORES.items():
        scores = [score(one.value) for one in track(sondes, name)]
        other, false_per_month = _match_false_alarms(sondes, scores, months, false)
        print(f"{name:32}{other:9.3f}{false_per_month:30.2f}")
    return {"logan_recall": recall, "logan_false_per_month": false}


def judged_events(sonde: _labelled_recordings.LabelledSonde) -> Floats:
    """Return start and end (n, 2) of the judge's anomalies [s]."""
    name, scale = QUANTITIES[sonde.quantity]
    parameters = default_limits.judge_parameters(
        [Series(site_id=sonde.name, quantity=name, interval_s=INTERVAL_S)]
    )
    series = np.zeros(len(sonde.value), np.intp)
    events = judge(State.empty(1), parameters, series, sonde.time_s, sonde.value * scale).events
    end = np.where(np.isnan(events.end_s), sonde.time_s[-1], events.end_s)
    return np.column_stack([events.start_s, end])


def static_z(value: Floats) -> Floats:
    """Return the distance from the first month's mean, in its standard deviations."""
    known = value[:TRAINING_READINGS]
    return np.abs(value - np.nanmean(known)) / (np.nanstd(known) + 1e-9)


def rolling_mad(value: Floats) -> Floats:
    """Return the distance from the median of the previous day, in its median absolute deviations."""
    padded = np.concatenate([np.full(WINDOW, np.nan), value])
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: len(value)]
    known = np.isfinite(windows).any(axis=1)
    filled = np.where(known[:, None], windows, 0.0)
    median = np.nanmedian(filled, axis=1)
    mad = 1.4826 * np.nanmedian(np.abs(filled - median[:, None]), axis=1)
    return np.where(known, np.abs(value - median) / (mad + 1e-3 * np.nanstd(value)), 0.0)


def qartod_rate(value: Floats) -> Floats:
    """Return the step from the previous reading, in the first month's standard deviations of steps."""
    step = np.abs(np.diff(value, prepend=value[:1]))
    return step / (np.nanstd(step[:TRAINING_READINGS]) + 1e-9)


def half_space_trees(value: Floats) -> Floats:
    """Return the scores of river's HalfSpaceTrees, learning online, on values scaled by the first month."""
    from river.anomaly import HalfSpaceTrees  # noqa: PLC0415 - slow to load

    low, high = np.nanmin(value[:TRAINING_READINGS]), np.nanmax(value[:TRAINING_READINGS])
    scaled = np.clip((value - low) / (high - low + 1e-9), 0, 1)
    trees, scores = HalfSpaceTrees(seed=1), np.zeros(len(value))
    for index in np.flatnonzero(np.isfinite(scaled)).tolist():
        reading = {"x": float(scaled[index])}
        scores[index] = trees.score_one(reading)
        trees.learn_one(reading)
    return scores


SCORES = {
    "static z at as many": static_z,
    "rate of change at as many": qartod_rate,
    "rolling MAD at as many": rolling_mad,
    "HalfSpaceTrees at as many": half_space_trees,
}


def _match_false_alarms(
    sondes: list[_labelled_recordings.LabelledSonde], scores: list[Floats], months: float, false: float
) -> tuple[float, float]:
    """Return recall and rate at the lowest threshold, searched from above, with no more false alarms.

    A search from below would end at a single alarm over all time, which meets every event without a false
    alarm.
    """
    pooled = np.concatenate(scores)
    best = 0.0, 0.0
    for threshold in np.nanquantile(pooled, 1 - np.geomspace(1 / len(pooled), 0.1, THRESHOLDS_TRIED)):
        found = [_events(one.time_s, score > threshold) for one, score in zip(sondes, scores, strict=True)]
        recall, false_per_month = _score_against_labels(sondes, found, months)
        if false_per_month > false:
            break
        best = recall, false_per_month
    return best


def _events(time_s: Floats, flagged: NDArray[np.bool_]) -> Floats:
    at = time_s[flagged]
    if not len(at):
        return np.empty((0, 2))
    begins = np.flatnonzero(np.diff(at, prepend=-np.inf) > EVENT_GAP_S)
    return np.column_stack([at[begins], at[np.append(begins[1:], len(at)) - 1]])


def _score_against_labels(
    sondes: list[_labelled_recordings.LabelledSonde], found: list[Floats], months: float
) -> tuple[float, float]:
    matches = [
        evaluation.match_events_to_windows(*events.T, *one.events.T)
        for one, events in zip(sondes, found, strict=True)
    ]
    hits, windows = sum(one.hits for one in matches), sum(one.hits + one.missed for one in matches)
    return hits / windows, sum(one.false for one in matches) / months
