"""Draws panels of events that the judge missed and of its false alarms, by its default budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.detection.labelled import DAY_S, overlaps
from benchmarks.detection.scoring import Alarms, as_alarms, joined_spans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.detection.labelled import Family, LabelledSeries

    Scores = NDArray[np.float64] | Alarms

ROWS, COLUMNS = 4, 3  # of each kind of failure
MARGIN_S = 1.5 * DAY_S
LABEL_COLOR, ALARM_COLOR, LINE_COLOR = "#2e8b57", "#c0392b", "#1f4e79"


class Failure(NamedTuple):
    """A failure: the series, first and last time of the event or alarm [s], a text, all alarms ``(n, 2)``."""

    series: LabelledSeries
    start_s: float
    end_s: float
    text: str
    alarms: NDArray[np.float64]


def missed_and_false(
    chosen: Sequence[Family], scores: Mapping[str, Sequence[Scores]]
) -> tuple[list[Failure], list[Failure]]:
    """Return all missed events and all false alarms of some families, in the order of the families.

    Parameters
    ----------
    chosen : families whose labels are those of single series
    scores : of every series of a family, by the family's name

    """
    missed, false = [], []
    for family in chosen:
        for one, own in zip(family.series, scores[family.name], strict=True):
            alarms = as_alarms(one, own)
            spans = joined_spans(one, alarms, -np.inf)
            for number in np.flatnonzero(~overlaps(one.events, spans)):
                start_s, end_s = one.events[number]
                missed.append(Failure(one, start_s, end_s, f"missed: {one.kinds[number]}", spans))
            is_false = ~overlaps(spans, one.events) & ~overlaps(spans, one.neutral)
            for start_s, end_s in spans[is_false]:
                inside = (alarms.start_s <= end_s) & (alarms.end_s >= start_s)
                text = f"false, score {alarms.score[inside].max():.1f}"
                false.append(Failure(one, start_s, end_s, text, spans))
    return missed, false


def draw_failures(path: Path, chosen: Sequence[Family], scores: Mapping[str, Sequence[Scores]]) -> None:
    """Draw evenly spaced missed events (above) and false alarms (below), with labels green and alarms red."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(12, 1.7 * ROWS), dpi=80, layout="constrained")
    panels = figure.subplots(ROWS, COLUMNS, squeeze=False)
    for rows, failures in zip(np.split(panels, 2), missed_and_false(chosen, scores), strict=True):
        at = np.linspace(0, len(failures) - 1, rows.size).astype(np.intp) if failures else []
        for panel, number in zip(rows.ravel(), at, strict=False):
            _draw(panel, failures[number])
    figure.supxlabel("days from the beginning of the event or alarm", fontsize=8)
    figure.savefig(path, pil_kwargs={"optimize": True})


def _draw(panel, failure: Failure) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - of an extra
    one, margin_s = failure.series, max(MARGIN_S, 0.5 * (failure.end_s - failure.start_s))
    shown = (one.time_s >= failure.start_s - margin_s) & (one.time_s <= failure.end_s + margin_s)
    day = (one.time_s - failure.start_s) / DAY_S
    panel.plot(day[shown], one.value[shown], color=LINE_COLOR, linewidth=0.7, marker=".", markersize=1.5)
    half_s = one.interval_s / 2
    for spans, color, low, high in (
        (one.events, LABEL_COLOR, 0.0, 0.5),
        (failure.alarms, ALARM_COLOR, 0.5, 1.0),
    ):
        met = overlaps(spans, np.array([[failure.start_s - margin_s, failure.end_s + margin_s]]))
        for start_s, end_s in spans[met]:
            panel.axvspan(
                (start_s - half_s - failure.start_s) / DAY_S, (end_s + half_s - failure.start_s) / DAY_S,
                low, high, color=color, alpha=0.25, linewidth=0.8,
            )  # fmt: skip
    panel.set_xlim(-margin_s / DAY_S, (failure.end_s - failure.start_s + margin_s) / DAY_S)
    panel.set_title(f"{one.name}: {failure.text}", fontsize=7, pad=2)
    panel.tick_params(labelsize=6)
