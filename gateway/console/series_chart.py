"""Builds the ECharts options of one series' plot: values, expected band and quality flags."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.wire.quantities import QUANTITIES
from gateway.console.translations import Language, translate

if TYPE_CHECKING:
    from datetime import tzinfo

    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Series

BAND_SPREADS = 3.0  # half width of the band in spreads
FLAG_STYLES = {3: ("flag_suspect", "#ffc857", "triangle"), 4: ("flag_fail", "#ff4d5e", "diamond")}
MAX_POINTS_WITH_SYMBOLS = 60  # up to so many readings are also drawn as points: one alone makes no line
PHONE_WIDTH_PX = 500  # of a chart, below which its title is wrapped and its legend takes two rows
PHONE_LAYOUT = {
    "title": {"textStyle": {"width": 300, "overflow": "break", "fontSize": 13}},
    "legend": {"top": 42, "itemGap": 8},
    "grid": {"left": 48, "right": 16, "top": 96},
}
AXIS_PAD_SHARE = 0.02  # of the time range, on each side of it
VALUE_COLOUR, BAND_COLOUR, TEXT_COLOUR, GRID_COLOUR = "#7ec8ff", "#3ddc97", "#dbe4ee", "#223244"


def chart_options(
    series: Series,
    name: str,
    rows: NDArray[np.void],
    language: Language,
    zone: tzinfo,
    *,
    shaded_range: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Return the ECharts options of a plot; its time axis is in ``zone``, not in the browser's time zone.

    Parameters
    ----------
    name : of the site
    rows : (n,) READING in order of time
    zone : time zone of the towns
    shaded_range : start and end of the time range to shade [Unix s]

    """
    shift_us = 0
    if len(rows):
        newest = datetime.fromtimestamp(int(rows["time_us"][-1]) / 1e6, zone)
        shift_us = int((newest.utcoffset() or timedelta()).total_seconds() * 1e6)
    rows = rows.copy()
    rows["time_us"] += shift_us
    quantity = QUANTITIES[series.quantity]
    label = quantity.zh if language == "zh" else quantity.en
    low = rows["expected"] - BAND_SPREADS * rows["spread"]
    band = translate("band", language)
    value = _line(translate("value", language), rows["value"], rows, colour=VALUE_COLOUR, width=2)
    if len(rows) <= MAX_POINTS_WITH_SYMBOLS:
        value |= {"showSymbol": True, "symbol": "circle", "symbolSize": 6}
    if shaded_range is not None:
        ends_ms = [round(one * 1e3 + shift_us / 1e3) for one in shaded_range]
        value["markArea"] = {
            "silent": True,
            "itemStyle": {"color": FLAG_STYLES[4][1], "opacity": 0.12},
            "data": [[{"xAxis": ends_ms[0]}, {"xAxis": ends_ms[1]}]],
        }
    unit = f" [{quantity.unit}]" if quantity.unit not in {"", "1"} else ""
    return {
        "backgroundColor": "transparent",
        "animation": False,
        "useUTC": True,
        "title": {
            "text": f"{name} · {label}{unit}" if len(rows) else translate("no_readings", language),
            "left": 8,
            "top": 2,
            "textStyle": {"color": TEXT_COLOUR, "fontSize": 15, "fontWeight": "normal"},
        },
        "legend": _legend(language),
        "tooltip": {"trigger": "axis", "confine": True, "renderMode": "richText"},
        "grid": {"left": 64, "right": 20, "top": 56, "bottom": 28},
        "media": [{"query": {"maxWidth": PHONE_WIDTH_PX}, "option": PHONE_LAYOUT}, {"option": {}}],
        "xAxis": _time_axis(rows, series.interval_s),
        "yAxis": {
            "type": "value",
            "scale": True,
            "axisLabel": {"color": TEXT_COLOUR},
            "splitLine": {"lineStyle": {"color": GRID_COLOUR}},
        },
        "series": [
            _area("", low, rows, opacity=0.0),
            _area(band, 2 * BAND_SPREADS * rows["spread"], rows, opacity=0.18),
            _line(translate("expected", language), rows["expected"], rows, colour=BAND_COLOUR, width=1),
            value,
            *(_flags(flag, rows, language) for flag in FLAG_STYLES),
        ],
    }


def _legend(language: Language) -> dict[str, Any]:
    """Return a legend with the symbols of the plot: lines, the band's area, the shapes of the flags."""
    legend_entries: list[dict[str, Any]] = [
        {"name": translate("value", language)},
        {"name": translate("expected", language)},
        {
            "name": translate("band", language),
            "icon": "rect",
            "itemStyle": {"color": BAND_COLOUR, "opacity": 0.4},
        },
        *({"name": translate(key, language), "icon": shape} for key, _, shape in FLAG_STYLES.values()),
    ]
    legend_style = {
        "left": 8,
        "top": 26,
        "itemWidth": 18,
        "itemHeight": 11,
        "textStyle": {"color": TEXT_COLOUR},
    }
    return {"data": legend_entries, **legend_style}


def _time_axis(rows: NDArray[np.void], interval_s: float) -> dict[str, Any]:
    """Return a time axis from the first to the newest reading, with some padding."""
    axis: dict[str, Any] = {"type": "time", "axisLabel": {"color": TEXT_COLOUR, "hideOverlap": True}}
    axis["splitLine"] = {"show": False}
    if len(rows):
        first_ms, last_ms = (int(rows["time_us"][at]) / 1e3 for at in (0, -1))
        pad_ms = max(AXIS_PAD_SHARE * (last_ms - first_ms), 2 * interval_s * 1e3)
        axis |= {"min": round(first_ms - pad_ms), "max": round(last_ms + pad_ms)}
    return axis


def _pairs(values: NDArray[np.floating[Any]], rows: NDArray[np.void]) -> list[list[float | None]]:
    times_ms = (rows["time_us"] // 1000).tolist()
    numbers = [None if np.isnan(value) else round(value, 6) for value in values.astype(float).tolist()]
    return [list(pair) for pair in zip(times_ms, numbers, strict=True)]


def _line(
    name: str, values: NDArray[np.floating[Any]], rows: NDArray[np.void], *, colour: str, width: int
) -> dict[str, Any]:
    return {
        "type": "line",
        "name": name,
        "showSymbol": False,
        "symbol": "none",
        "data": _pairs(values, rows),
        "lineStyle": {"color": colour, "width": width, "type": "dashed" if width == 1 else "solid"},
        "itemStyle": {"color": colour},
        "z": 2 + width,
    }


def _area(
    name: str, values: NDArray[np.floating[Any]], rows: NDArray[np.void], *, opacity: float
) -> dict[str, Any]:
    return {
        "type": "line",
        "name": name,
        "stack": "band",
        "stackStrategy": "all",
        "showSymbol": False,
        "silent": True,
        "tooltip": {"show": False},
        "data": _pairs(values, rows),
        "lineStyle": {"opacity": 0},
        "itemStyle": {"color": BAND_COLOUR},
        "areaStyle": {"color": BAND_COLOUR, "opacity": opacity},
        "z": 1,
    }


def _flags(flag: int, rows: NDArray[np.void], language: Language) -> dict[str, Any]:
    """Return a scatter series of the readings with a flag, in its shape and colour."""
    key, colour, shape = FLAG_STYLES[flag]
    return {
        "type": "scatter",
        "name": translate(key, language),
        "symbol": shape,
        "symbolSize": 9,
        "itemStyle": {"color": colour},
        "data": [[int(row["time_us"]) // 1000, float(row["value"])] for row in rows[rows["quality"] == flag]],
        "z": 6,
    }
