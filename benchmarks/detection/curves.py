"""Draws recall over false alarms a series-month, a panel for each family."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.scoring import BUDGETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.detection.report import Row

COLORS = ("#c0392b", "#e67e22", "#1f4e79", "#2e8b57", "#7a52a3", "#9ecae1", "#8c6d31", "#888888", "#333333")
LARGEST_RATE = 4.0
OWN_RATE = "towntwin, its anomalies"  # its working point is known without a threshold
COLUMNS = 4


def draw_curves(path: Path, table: Mapping[str, Mapping[str, Row]], names: Sequence[str]) -> None:
    """Draw the curves of all detectors in some families, and mark the product's own rate."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    rows = -(-(len(names) + 1) // COLUMNS)
    figure = Figure(figsize=(12, 3.1 * rows), dpi=80, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    budgets = np.linspace(0.02, LARGEST_RATE, 200)
    for panel, name in zip(panels, names, strict=False):
        for color, (detector, row) in zip(COLORS, table[name].items(), strict=False):
            recall = [row.curve.recall_at(budget) for budget in budgets]
            is_product = detector.startswith("towntwin")
            panel.plot(
                budgets, recall, color=color, linewidth=2 if is_product else 1, label=detector,
                linestyle="--" if "batch" in detector else "-",
            )  # fmt: skip
            if detector == OWN_RATE and row.own.false <= LARGEST_RATE:
                panel.plot(row.own.false, row.own.recall, "o", color=color, markersize=6)
        panel.set_title(name, fontsize=9)
        panel.grid(visible=True, alpha=0.3)
        panel.set(xlim=(0, LARGEST_RATE), ylim=(0, 1), xticks=[0, *BUDGETS[1:], LARGEST_RATE])
    for panel in panels[len(names) :]:
        panel.axis("off")
    handles, labels = panels[0].get_legend_handles_labels()
    panels[len(names)].legend(handles, labels, loc="center", fontsize=8, frameon=False)
    figure.supxlabel("false alarms a series-month", fontsize=9)
    figure.supylabel("share of the labelled events found", fontsize=9)
    figure.savefig(path, pil_kwargs={"optimize": True})
