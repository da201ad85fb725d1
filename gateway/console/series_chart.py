"""Lays out the plot of one series as SVG: values, expected band, flags and axes, in percent of the plot.

A plot is drawn by the server, so that it is there at the first paint, follows light and dark by style sheet,
and needs no script; ``chart.js`` adds the value under the pointer.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from datetime import tzinfo

    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Series

BAND_SPREADS = 3.0  # half width of the band in spreads
FLAG_NAMES = {3: "flag_suspect", 4: "flag_fail"}
MAX_POINTS_WITH_SYMBOLS = 60  # up to so many readings are also drawn as points: one alone makes no line
GAP_INTERVALS = 5.0  # a longer time without readings interrupts the line
AXIS_PAD_SHARE = 0.02  # of the time range, on each side of it
VALUE_PAD_SHARE = 0.08  # of the range of values
SCALE = 10_000  # of the coordinates inside of the plot
N_VALUE_TICKS, N_TIME_TICKS = 5, 6
DAY_S = 86_400
TIME_STEPS_S = (300, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, *(DAY_S * n for n in (1, 2, 5, 10, 30)))


class AxisTick(NamedTuple):
    """A label of an axis at a position [% of the plot]."""

    at: float
    label: str


class Mark(NamedTuple):
    """A reading that is drawn as a symbol, at a position [% of the plot]."""

    x: float
    y: float
    name: str


class ChartLayout(NamedTuple):
    """What the template draws; paths are in `SCALE` units of the plot's width and height.

    Attributes
    ----------
    points : measured time [ms, Unix], value and expected value of each reading, for the pointer
    shaded : left end and width of the shaded time range [% of the plot]
    first_s, last_s : ends of the time axis [Unix s]
    forecast_path, forecast_band_path : of the forecast, empty without one
    forecast_bars : upright lines of the band at points without a neighbour, where it has no length
    now : where the forecast begins [% of the plot]; None without one

    """

    value_path: str
    expected_path: str
    band_path: str
    marks: list[Mark]
    time_ticks: list[AxisTick]
    value_ticks: list[AxisTick]
    points: list[tuple[int, float | None, float | None]]
    shaded: tuple[float, float] | None
    first_s: float
    last_s: float
    forecast_path: str = ""
    forecast_band_path: str = ""
    forecast_bars: str = ""
    now: float | None = None


class ForecastLine(NamedTuple):
    """A forecast as drawn, (m,) each: times [Unix s], values and ends of the band [canonical unit].

    The first point is the reading that it begins at, where the band has no width. NaN is not drawn.
    """

    times_s: NDArray[np.float64]
    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def lay_out(
    series: Series,
    rows: NDArray[np.void],
    zone: tzinfo,
    *,
    shaded_range: tuple[float, float] | None = None,
    forecast: ForecastLine | None = None,
) -> ChartLayout | None:
    """Return the layout of a plot; None without readings.

    Parameters
    ----------
    rows : (n,) READING in order of time
    zone : time zone of the time axis
    shaded_range : start and end of the time range to shade [Unix s]
    forecast : drawn after the readings

    """
    if not len(rows):
        return None
    times_s = rows["time_us"] / 1e6
    drawn = forecast or ForecastLine(*(np.empty(0),) * 4)
    first_s, last_s = _time_bounds(
        np.append(times_s, drawn.times_s[np.isfinite(drawn.values)][-1:]), series.interval_s
    )
    values = rows["value"].astype(float)
    expected, half = rows["expected"].astype(float), BAND_SPREADS * rows["spread"].astype(float)
    low, high = _value_bounds(values, expected - half, expected + half, drawn.low, drawn.high)
    ahead = (drawn.times_s - first_s) / (last_s - first_s)
    hidden = np.flatnonzero(np.isnan(drawn.values))
    runs_ahead = [run[np.isfinite(drawn.values[run])] for run in np.split(np.arange(len(ahead)), hidden)]
    x = (times_s - first_s) / (last_s - first_s)

    def height(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1.0 - (numbers - low) / (high - low)

    gaps = np.flatnonzero(np.diff(times_s) > _gap_s(times_s, series.interval_s)) + 1
    runs = [run for run in np.split(np.arange(len(rows)), gaps) if len(run)]
    return ChartLayout(
        value_path=_path(x, height(values), runs),
        expected_path=_path(x, height(expected), runs),
        band_path=_band_path(x, height(expected + half), height(expected - half), runs),
        marks=[
            *_marks(rows, x, height(values)),
            *(
                Mark(round(float(at) * 100, 2), round(float(y) * 100, 2), "forecast")
                for at, y in zip(ahead[1:], height(drawn.values)[1:], strict=True)
                if math.isfinite(y)
            ),
        ],
        time_ticks=_time_ticks(first_s, last_s, zone),
        value_ticks=_value_ticks(low, high),
        points=list(
            zip(
                np.rint(times_s * 1e3).astype(np.int64).tolist(),
                _rounded(values),
                _rounded(expected),
                strict=True,
            )
        ),
        shaded=_shaded(shaded_range, first_s, last_s),
        first_s=first_s,
        last_s=last_s,
        forecast_path=_path(ahead, height(drawn.values), runs_ahead),
        forecast_band_path=_band_path(ahead, height(drawn.high), height(drawn.low), runs_ahead),
        forecast_bars=_bars(ahead, height(drawn.high), height(drawn.low), runs_ahead),
        now=round(float(ahead[0]) * 100, 2) if len(ahead) else None,
    )


def _rounded(numbers: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(one) else one for one in np.round(numbers, 6).tolist()]


def _time_bounds(times_s: NDArray[np.float64], interval_s: float) -> tuple[float, float]:
    """Return the ends of the time axis: from the first to the newest reading, with some padding."""
    first_s, last_s = float(times_s[0]), float(times_s[-1])
    pad_s = max(AXIS_PAD_SHARE * (last_s - first_s), 2 * interval_s)
    return first_s - pad_s, last_s + pad_s


def _value_bounds(*columns: NDArray[np.float64]) -> tuple[float, float]:
    finite = np.concatenate([one[np.isfinite(one)] for one in columns])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    pad = VALUE_PAD_SHARE * (high - low) or max(abs(high), 1.0) * VALUE_PAD_SHARE
    return low - pad, high + pad


def _gap_s(times_s: NDArray[np.float64], interval_s: float) -> float:
    """Return the longest time that a line bridges [s]; in a downsampled series readings are wider apart."""
    typical_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else interval_s
    return GAP_INTERVALS * max(interval_s, typical_s)


def _path(x: NDArray[np.float64], y: NDArray[np.float64], runs: list[NDArray[np.intp]]) -> str:
    """Return the path of a line, interrupted where there are gaps or no values."""
    parts: list[str] = []
    for run in runs:
        known = run[np.isfinite(y[run])]
        pieces = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
        parts.extend("M" + "L".join(_corners(x[one], y[one])) for one in pieces if len(one))
    return "".join(parts)


def _band_path(
    x: NDArray[np.float64],
    top: NDArray[np.float64],
    bottom: NDArray[np.float64],
    runs: list[NDArray[np.intp]],
) -> str:
    parts: list[str] = []
    for run in runs:
        known = run[np.isfinite(top[run]) & np.isfinite(bottom[run])]
        if len(known) > 1:
            back = known[::-1]
            outline = [*_corners(x[known], top[known]), *_corners(x[back], bottom[back])]
            parts.append("M" + "L".join(outline) + "Z")
    return "".join(parts)


def _bars(
    x: NDArray[np.float64],
    top: NDArray[np.float64],
    bottom: NDArray[np.float64],
    runs: list[NDArray[np.intp]],
) -> str:
    """Return the path of an error bar at each run of one point; the first point, a reading, has no band."""
    alone = [int(run[0]) for run in runs if len(run) == 1 and run[0] > 0]
    return "".join(
        "M" + "L".join(_corners(x[[one, one]], np.array([top[one], bottom[one]]))) for one in alone
    )


def _corners(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[str]:
    scaled = [np.rint(one * SCALE).astype(np.int64).tolist() for one in (x, y)]
    return [f"{one} {other}" for one, other in zip(*scaled, strict=True)]


def _marks(rows: NDArray[np.void], x: NDArray[np.float64], y: NDArray[np.float64]) -> list[Mark]:
    marks = [
        Mark(round(float(x[at]) * 100, 2), round(float(y[at]) * 100, 2), FLAG_NAMES[int(rows["quality"][at])])
        for at in np.flatnonzero(np.isin(rows["quality"], list(FLAG_NAMES))).tolist()
    ]
    if len(rows) <= MAX_POINTS_WITH_SYMBOLS:
        at_all = zip(x.tolist(), y.tolist(), strict=True)
        marks = [*(Mark(round(one * 100, 2), round(two * 100, 2), "value") for one, two in at_all), *marks]
    return marks


def _time_ticks(first_s: float, last_s: float, zone: tzinfo) -> list[AxisTick]:
    """Return ticks at round hours or at midnights of the time zone."""
    steps = [one for one in TIME_STEPS_S if (last_s - first_s) / one <= N_TIME_TICKS]
    step_s = steps[0] if steps else TIME_STEPS_S[-1]
    offset_s = (datetime.fromtimestamp(first_s, zone).utcoffset() or timedelta()).total_seconds()
    at_s = math.ceil((first_s + offset_s) / step_s) * step_s - offset_s
    ticks = []
    while at_s <= last_s:
        local = datetime.fromtimestamp(at_s, zone)
        label = local.strftime("%m-%d" if (at_s + offset_s) % DAY_S == 0 else "%H:%M")
        ticks.append(AxisTick(round((at_s - first_s) / (last_s - first_s) * 100, 2), label))
        at_s += step_s
    return ticks


def _value_ticks(low: float, high: float) -> list[AxisTick]:
    """Return ticks at multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / N_VALUE_TICKS
    power = 10 ** math.floor(math.log10(raw))
    step = power * next(one for one in (1, 2, 5, 10) if one * power >= raw)
    digits = max(0, -math.floor(math.log10(step)))
    numbers = [at * step for at in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [
        AxisTick(round((1 - (one - low) / (high - low)) * 100, 2), f"{one + 0.0:,.{digits}f}")
        for one in numbers
    ]


def _shaded(
    shaded_range: tuple[float, float] | None, first_s: float, last_s: float
) -> tuple[float, float] | None:
    if shaded_range is None:
        return None
    ends = [min(max((one - first_s) / (last_s - first_s), 0.0), 1.0) for one in shaded_range]
    return round(ends[0] * 100, 2), round(max(ends[1] - ends[0], 0.002) * 100, 2)
