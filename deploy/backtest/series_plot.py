"""Plots one judged series as PNG: values, expected band, flags, anomalies and labels."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.core.flags import Flag
from deploy.settings import SettingsError
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from zoneinfo import ZoneInfo

    from numpy.typing import NDArray

    from analytics.service.backtest import JudgedHistory, LabelWindow

SIZE_IN, DPI = (10.0, 4.0), 100
BAND_SPREADS = 3.0
POINTS_PER_PATH = 10_000  # a longer path is drawn in pieces: all at once is too much for the rasteriser
VALUES, BAND, SUSPECT, FAIL, ANOMALY, LABEL = "#1f4e79", "#9ecae1", "#f28e2b", "#c0392b", "#c0392b", "#7a52a3"
ANOMALY_ALPHA = 0.18
LABEL_STRIP_SHARE = 0.06  # of the height of the axes


def draw_series(path: Path, one: JudgedHistory, labels: Sequence[LabelWindow], zone: ZoneInfo) -> None:
    """Draw a series to a PNG file; times are shown in ``zone``."""
    try:
        from matplotlib import rc_context  # noqa: PLC0415 - an extra
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError("--plot needs matplotlib: pip install towntwin[backtest]") from error
    quantity = QUANTITIES[one.series.quantity]
    with rc_context({"agg.path.chunksize": POINTS_PER_PATH}):
        figure = Figure(figsize=SIZE_IN, dpi=DPI, layout="constrained")
        axes = figure.subplots()
        _draw_spans(axes, one, labels)
        _draw_lines(axes, one)
        axes.set_title(f"{one.series.site_id}: {quantity.en}", loc="left")
        axes.set_ylabel(quantity.unit)
        axes.margins(x=0)
        axes.set_ylim(*_value_range(one))
        locator = AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))  # type: ignore[no-untyped-call]
        axes.grid(visible=True, alpha=0.3)
        figure.legend(loc="outside lower center", ncols=6, frameon=False)
        figure.savefig(path, pil_kwargs={"optimize": True})


def _draw_lines(axes: Any, one: JudgedHistory) -> None:
    """Draw the band, the values and the flagged readings; a gap in time is a gap in the line."""
    times, value = _utc_times(one.time_s), one.value.copy()
    value[1:][np.diff(one.time_s) > 3 * one.series.interval_s] = np.nan
    low, high = one.expected - BAND_SPREADS * one.spread, one.expected + BAND_SPREADS * one.spread
    axes.fill_between(
        times, low, high, color=BAND, alpha=0.6, linewidth=0, label=f"expected ± {BAND_SPREADS:g} spreads"
    )
    axes.plot(times, value, color=VALUES, linewidth=0.8, label="value")
    for flag, color in ((Flag.SUSPECT, SUSPECT), (Flag.FAIL, FAIL)):
        has_flag = one.quality == flag
        axes.plot(
            times[has_flag],
            one.value[has_flag],
            ".",
            color=color,
            markersize=4,
            label=f"flag {flag}: {flag.name.lower()}",
        )


def _draw_spans(axes: Any, one: JudgedHistory, labels: Sequence[LabelWindow]) -> None:
    """Shade anomalies over the full height and labels along the bottom, each at least one line wide."""
    first_s, last_s = float(one.time_s[0]), float(one.time_s[-1])
    anomaly_spans = [(anomaly.start_s, anomaly.end_s or last_s) for anomaly in one.anomalies]
    label_spans = [
        (max(label.start_s, first_s), min(label.end_s, last_s))
        for label in labels
        if label.applies_to(one.series) and label.end_s >= first_s and label.start_s <= last_s
    ]
    for spans, color, alpha, height, legend_label in (
        (anomaly_spans, ANOMALY, ANOMALY_ALPHA, 1.0, "anomaly"),
        (label_spans, LABEL, 1.0, LABEL_STRIP_SHARE, "label"),
    ):
        for i, (start, end) in enumerate(spans):
            axes.axvspan(
                *_utc_times(np.array([start, end])),
                ymax=height,
                color=color,
                alpha=alpha,
                linewidth=1,
                label=legend_label if i == 0 else None,
            )


def _value_range(one: JudgedHistory) -> tuple[float, float]:
    """Return the range of the values with a margin; the band is ignored, as it is wide at first."""
    usable = one.value[np.isfinite(one.value)]
    if not len(usable):
        return 0.0, 1.0
    low, high = float(usable.min()), float(usable.max())
    margin = 0.12 * (high - low) or 1.0
    return low - margin, high + margin


def _utc_times(time_s: NDArray[np.float64]) -> NDArray[Any]:
    return np.array([datetime.fromtimestamp(one, UTC) for one in time_s.tolist()])
