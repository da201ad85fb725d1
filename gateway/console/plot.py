"""A series with its expected band and its flags, as an ECharts picture."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.wire.quantities import QUANTITIES
from gateway.console.words import Language, word

if TYPE_CHECKING:
    from datetime import tzinfo

    from numpy.typing import NDArray

    from ingest_service.storage.model import Series

WIDTH = 3.0  # spreads on either side
FLAGGED = {3: ("#ffc857", "triangle"), 4: ("#ff4d5e", "diamond")}
VALUE, BAND, TEXT, RULE = "#7ec8ff", "#3ddc97", "#dbe4ee", "#223244"


def options(
    series: Series, name: str, rows: NDArray[np.void], language: Language, zone: tzinfo
) -> dict[str, Any]:
    """The picture of some READING rows; its time axis is the towns' local time, wherever the browser is."""
    rows = rows.copy()
    if len(rows):
        newest = datetime.fromtimestamp(int(rows["time_us"][-1]) / 1e6, zone)
        rows["time_us"] += int((newest.utcoffset() or timedelta()).total_seconds() * 1e6)
    quantity = QUANTITIES[series.quantity]
    label = quantity.zh if language == "zh" else quantity.en
    low = rows["expected"] - WIDTH * rows["spread"]
    band = word("band", language)
    return {
        "backgroundColor": "transparent",
        "animation": False,
        "useUTC": True,
        "title": {
            "text": f"{name} · {label} [{quantity.unit}]",
            "left": 8,
            "top": 2,
            "textStyle": {"color": TEXT, "fontSize": 15, "fontWeight": "normal"},
        },
        "legend": {
            "data": [word(key, language) for key in ("value", "expected", "band", "flagged")],
            "right": 12,
            "top": 4,
            "textStyle": {"color": TEXT},
        },
        "tooltip": {"trigger": "axis", "confine": True, "renderMode": "richText"},
        "grid": {"left": 64, "right": 20, "top": 40, "bottom": 28},
        "xAxis": {"type": "time", "axisLabel": {"color": TEXT}, "splitLine": {"show": False}},
        "yAxis": {
            "type": "value",
            "scale": True,
            "axisLabel": {"color": TEXT},
            "splitLine": {"lineStyle": {"color": RULE}},
        },
        "series": [
            _area("", low, rows, opacity=0.0),
            _area(band, 2 * WIDTH * rows["spread"], rows, opacity=0.18),
            _line(word("expected", language), rows["expected"], rows, colour=BAND, width=1),
            _line(word("value", language), rows["value"], rows, colour=VALUE, width=2),
            _flags(word("flagged", language), rows),
        ],
    }


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
        "itemStyle": {"color": BAND},
        "areaStyle": {"color": BAND, "opacity": opacity},
        "z": 1,
    }


def _flags(name: str, rows: NDArray[np.void]) -> dict[str, Any]:
    off = rows[np.isin(rows["quality"], list(FLAGGED))]
    return {
        "type": "scatter",
        "name": name,
        "itemStyle": {"color": FLAGGED[4][0]},
        "data": [
            {
                "value": [int(row["time_us"]) // 1000, float(row["value"])],
                "symbol": FLAGGED[int(row["quality"])][1],
                "symbolSize": 9,
                "itemStyle": {"color": FLAGGED[int(row["quality"])][0]},
            }
            for row in off
        ],
        "z": 6,
    }
