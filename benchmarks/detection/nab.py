"""Reads the corpus of the Numenta Anomaly Benchmark and implements its scoring on arrays.

Rules after "Evaluating Real-time Anomaly Detection Algorithms" (Lavin and Ahmad, ICMLA 2015) and the
benchmark's README: the first 15 % of a file, 750 rows at most, are probation. The best detection in a
window counts by a scaled sigmoid of its position; each detection outside costs, the more the farther it is
behind a window; one threshold for the whole corpus is chosen where the score is largest. A detector that
never detects scores 0, a perfect one 100.
"""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PROBATION, PROBATION_ROWS = 0.15, 750
FULL_COST_WIDTHS = 3.0  # distance behind a window, in its widths, where a false detection has its full cost
PROFILES = {"standard": (1.0, 1.0, 0.11), "low_fp": (1.0, 1.0, 0.22), "low_fn": (1.0, 2.0, 0.11)}
"""Weights of a hit, a miss and a false detection."""


class CorpusFile(NamedTuple):
    """A labelled series: times ``(n,)`` [s], values ``(n,)``, and first and last row of each window."""

    name: str
    time_s: Floats
    value: Floats
    windows: list[tuple[int, int]]


class ScoredRows(NamedTuple):
    """Rows after probation, ``(n,)`` each: score, window (−1 outside), and worth of a detection there."""

    score: Floats
    window: NDArray[np.intp]
    worth: Floats
    n_windows: int


@cache
def corpus(folder: Path) -> list[CorpusFile]:
    """Return every file of the corpus, sorted by name."""
    windows = json.loads((folder / "labels/combined_windows.json").read_text())
    return [_read(folder / "data" / name, name, windows[name]) for name in sorted(windows)]


def best_total(files: Sequence[CorpusFile], scores: Sequence[Floats], profile: str) -> tuple[float, float]:
    """Return the best total of a profile, 0 to 100, and its threshold."""
    hit, miss, false = PROFILES[profile]
    rows = _joined_rows(files, scores)
    order = np.argsort(-rows.score, kind="stable")
    order = order[rows.score[order] > 0]
    gain = np.where(rows.window[order] >= 0, 0.0, rows.worth[order] * false)
    best = np.full(rows.n_windows, -miss)
    for position in np.flatnonzero(
        rows.window[order] >= 0
    ):  # a detection in a window adds only its gain over the best one
        window_number, worth = rows.window[order[position]], rows.worth[order[position]] * hit
        gain[position] = max(worth - best[window_number], 0.0)
        best[window_number] = max(best[window_number], worth)
    sums = np.concatenate([[0.0], np.cumsum(gain)])
    last = np.append(np.diff(rows.score[order]) != 0, True)  # equal scores are detected together
    allowed = np.concatenate([[0], np.flatnonzero(last) + 1]) if len(order) else np.zeros(1, np.intp)
    at = allowed[np.argmax(sums[allowed])]
    threshold = float(rows.score[order[at - 1]]) if at else np.inf
    return 100 * float(sums[at]) / ((hit + miss) * rows.n_windows), threshold


def score_at_threshold(
    files: Sequence[CorpusFile], scores: Sequence[Floats], profile: str, threshold: float
) -> float:
    """Return the total of some files with a given threshold."""
    hit, miss, false = PROFILES[profile]
    rows = _joined_rows(files, scores)
    detected = rows.score >= threshold
    points = float((rows.worth[detected & (rows.window < 0)] * false).sum())
    best = np.full(rows.n_windows, -np.inf)
    inside = detected & (rows.window >= 0)
    np.maximum.at(best, rows.window[inside], rows.worth[inside])
    points += float(np.where(np.isfinite(best), best * hit + miss, 0.0).sum())
    return 100 * points / ((hit + miss) * max(rows.n_windows, 1))


def files_of_category(
    files: Sequence[CorpusFile], scores: Sequence[Floats], folder: str
) -> tuple[list[CorpusFile], list[Floats]]:
    """Return the files of one category with their scores."""
    chosen = [i for i, one in enumerate(files) if one.name.startswith(f"{folder}/")]
    return [files[i] for i in chosen], [scores[i] for i in chosen]


def false_alarms_per_day(files: Sequence[CorpusFile], scores: Sequence[Floats], threshold: float) -> float:
    """Return the detections outside of windows per series and day."""
    rows = _joined_rows(files, scores)
    days = sum((one.time_s[-1] - one.time_s[0]) / 86_400 for one in files)
    return float(((rows.score >= threshold) & (rows.window < 0)).sum() / days)


def _joined_rows(files: Sequence[CorpusFile], scores: Sequence[Floats]) -> ScoredRows:
    parts, before = [], 0
    for one, score in zip(files, scores, strict=True):
        begin = min(int(PROBATION * len(score)), PROBATION_ROWS)
        window, worth = _worth_of_rows(len(score), one.windows)
        shifted = np.where(window >= 0, window + before, -1)
        parts.append((np.nan_to_num(score[begin:]), shifted[begin:], worth[begin:]))
        before += len(one.windows)
    score, window, worth = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ScoredRows(score, window, worth, before)


def _worth_of_rows(n: int, windows: Sequence[tuple[int, int]]) -> tuple[NDArray[np.intp], Floats]:
    window, worth = np.full(n, -1), np.full(n, -1.0)
    ends = [*(first for first, _ in windows[1:]), n][: len(windows)]
    for number, ((first, last), end) in enumerate(zip(windows, ends, strict=True)):
        inside, behind = np.arange(first, last + 1), np.arange(last + 1, end)
        width = last - first + 1
        window[inside] = number
        worth[inside] = _sigmoid(-(last - inside + 1) / width) / _sigmoid(np.array(-1.0))
        worth[behind] = _sigmoid((behind - last) / (width - 1))
    return window, worth


def _sigmoid(position: Floats) -> Floats:
    """Return the scaled sigmoid: 1 at a window's left edge, 0 at its right edge, −1 far behind it."""
    return np.where(
        position > FULL_COST_WIDTHS, -1.0, 2 / (1 + np.exp(5 * np.minimum(position, FULL_COST_WIDTHS))) - 1
    )


def _read(path: Path, name: str, windows: Sequence[Sequence[str]]) -> CorpusFile:
    with path.open() as file:
        rows = [(_seconds(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file)]
    time_s, value = np.array(rows).T
    spans = []
    for begin, end in windows:
        inside = np.flatnonzero((time_s >= _seconds(begin)) & (time_s <= _seconds(end)))
        spans.append((int(inside[0]), int(inside[-1])))
    return CorpusFile(name, time_s, value, spans)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def baselines(value: Floats) -> Mapping[str, Floats]:
    """Return scores of trivial detectors: static z of the probation, always, and random."""
    begin = min(int(PROBATION * len(value)), PROBATION_ROWS)
    probation_values = value[:begin]
    static = np.abs(value - probation_values.mean()) / (probation_values.std() + 1e-9)
    return {
        "static z": static,
        "always": np.ones(len(value)),
        "random": np.random.default_rng(1).random(len(value)),
    }
