"""Counts alarms in stretches without labels that lie at a technician's correction, and draws those of a site.

A stretch is clean if no technician coded or removed a reading of it. A technician may have shifted its values
all the same: where his correction changes from one reading to the next, the sensor was cleaned, calibrated or
moved, and the values step. An alarm at such a step is false by the protocol of `benchmarks.detection` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.flags import Rule
from benchmarks.detection import families, product, recordings, rivers
from benchmarks.detection.labelled import DATA, NONE, overlaps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from benchmarks.detection.labelled import LabelledSeries

    Floats = NDArray[np.float64]

SITE = "BlackSmithFork2015"
STEP_RESOLUTIONS = 5.0  # resolutions by which a correction changes at a step; 3 to 20 count the same alarms
SHOWN_S = 86_400.0  # before and after an alarm
COLUMNS = 4
CLASSES = {
    "corrected": ("#c0392b", "step or failure that the technician corrected, without a code"),
    "sensor": ("#e67e22", "readings of one sensor alone that jump up and return: debris, bubbles"),
    "water": ("#1f4e79", "change of the water: seen by several sensors, or smooth over an hour and more"),
    "noise": ("#888888", "within what the series does: false"),
}
"""Colour and meaning of each class."""
BY_EYE = {
    "conductivity": {
        "10-17": "corrected", "10-19": "water", "11-26": "water", "11-28": "water", "11-30": "water",
        "12-07": "water", "12-14": "water",
    },
    "turbidity": {
        "09-12": "noise", "09-13": "sensor", "09-14": "noise", "09-16": "water", "10-01": "water",
        "10-03": "water", "10-27": "sensor", "10-31": "water", "11-02": "sensor", "11-03": "water",
        "11-11": "sensor",
    },
    "water_level": {
        "09-10": "corrected", "09-11": "corrected", "10-09": "corrected", "10-19": "water",
        "10-22": "corrected",
    },
}  # fmt: skip
"""Class of the alarms of `SITE` by quantity and day, assigned by a look at the picture of each."""


class CleanAlarm(NamedTuple):
    """An alarm in a stretch without labels.

    Attributes
    ----------
    series : the whole recording, with values before and after the stretch
    corrected : (n,) its values after the technician's corrections; the recorded ones where there are none
    start_s, end_s : first and last flagged reading [s]
    score, rule : of the event
    is_at_step : whether a correction changes within one interval of it

    """

    series: LabelledSeries
    corrected: Floats
    start_s: float
    end_s: float
    score: float
    rule: str
    is_at_step: bool


def corrected_values(series: LabelledSeries) -> Floats:
    """Return a series' values after the technician's corrections, ``(n,)``; as recorded without any."""
    path = DATA / f"logan_river/{series.site}.csv.gz"
    if not path.exists():
        return series.value
    table = recordings.table(path, ",")
    column, scale = next(
        (column, scale)
        for column, (name, scale) in rivers.LOGAN_QUANTITIES.items()
        if name == series.quantity
    )
    stamps = np.char.replace(table["datetime"], " ", "T").astype("datetime64[ms]").astype(np.float64) / 1e3
    _, first = np.unique(stamps, return_index=True)
    corrected = scale * recordings.floats(table, f"{column}_cor")[first]
    return np.where(np.isnan(corrected), series.value, corrected)


def correction_steps(time_s: Floats, value: Floats, corrected: Floats, resolution: float) -> Floats:
    """Return the pairs of adjacent values (n_steps, 2) between which a correction changes [s].

    A drift between two calibrations is corrected by a little more with each reading, which is no step.
    """
    known = np.isfinite(value) & np.isfinite(corrected)
    correction = (corrected - value)[known]
    at = np.flatnonzero(np.abs(np.diff(correction)) > STEP_RESOLUTIONS * resolution)
    return np.column_stack([time_s[known][at], time_s[known][at + 1]]) if len(at) else NONE


def find_alarms() -> list[CleanAlarm]:
    """Return the judge's alarms in all clean stretches."""
    recorded = {
        one.name: one for name in ("logan", "blacksmith", "oddwater") for one in families.load(name).series
    }
    corrected = {name: corrected_values(one) for name, one in recorded.items()}
    found = []
    for clean in families.load(families.CLEAN).series:
        series = recorded[clean.name.rpartition(" ")[0]]
        values = corrected[series.name]
        steps = correction_steps(series.time_s, series.value, values, series.resolution)
        events = product.judged(clean).events
        end_s = np.where(np.isnan(events.end_s), clean.time_s[-1], events.end_s)
        margin_s = series.interval_s
        at_step = overlaps(np.column_stack([events.start_s - margin_s, end_s + margin_s]), steps)
        found += [
            CleanAlarm(
                series, values, *row[:3], str(Rule(int(row[3])).name).lower().replace("_", " "), row[4]
            )
            for row in zip(events.start_s, end_s, events.score, events.rule, at_step, strict=True)
        ]
    return found


def main(picture: Path | None) -> None:
    """Print alarms by site, with those at a corrected step, and draw those of `SITE`."""
    alarms = find_alarms()
    clean_sites = [one.site.rpartition(" ")[0] for one in families.load(families.CLEAN).series]
    print(f"{'site':22}stretches  alarms  at a corrected step")
    for site in dict.fromkeys(clean_sites):
        its = [one for one in alarms if one.series.site == site]
        print(f"{site:22}{clean_sites.count(site):9}{len(its):8}{sum(one.is_at_step for one in its):8}")
    print(f"{'all':22}{len(clean_sites):9}{len(alarms):8}{sum(one.is_at_step for one in alarms):8}")
    own = [one for one in alarms if one.series.site == SITE]
    classes = [class_of(one) for one in own]
    print({name: classes.count(name) for name in CLASSES})
    if picture:
        _draw(picture, own)


def class_of(alarm: CleanAlarm) -> str:
    """Return the class of an alarm of `SITE`.

    Raises
    ------
    KeyError
        If nobody has looked at it.

    """
    return BY_EYE[alarm.series.quantity][_day(alarm)]


def _day(alarm: CleanAlarm) -> str:
    return str(np.datetime64(int(alarm.start_s), "s"))[5:10]


def _draw(path: Path, alarms: Sequence[CleanAlarm]) -> None:
    """Draw each alarm with the values around it, and as the technician corrected them."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    rows = -(-(len(alarms) + 1) // COLUMNS)
    figure = Figure(figsize=(12, 1.8 * rows), dpi=80, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    level = next(one for one in families.load("blacksmith").series if one.quantity == "water_level")
    for panel, alarm in zip(panels, alarms, strict=False):
        _draw_panel(panel, alarm, level)
    for panel in panels[len(alarms) :]:
        panel.axis("off")
    for color, meaning in CLASSES.values():
        panels[-1].plot([], [], color=color, linewidth=6, alpha=0.4, label=meaning.replace(": ", ":\n"))
    panels[-1].plot([], [], color="black", linewidth=0.8, label="as recorded")
    panels[-1].plot([], [], color="#2e8b57", linewidth=0.8, label="after the technician's corrections")
    panels[-1].plot([], [], color="#9ecae1", linewidth=0.8, label="water level (right axis)")
    panels[-1].legend(loc="center", fontsize=6.5, frameon=False)
    figure.savefig(path, pil_kwargs={"optimize": True})


def _draw_panel(panel: Axes, alarm: CleanAlarm, level: LabelledSeries) -> None:
    from matplotlib.dates import ConciseDateFormatter, HourLocator  # noqa: PLC0415 - an extra

    series, shown_s = alarm.series, np.array([alarm.start_s - SHOWN_S, alarm.end_s + SHOWN_S])
    if series.quantity != level.quantity:
        beside: Axes = panel.twinx()
        beside.plot(*_shown(level.time_s, level.value, shown_s), color="#9ecae1", linewidth=0.8)
        beside.tick_params(labelsize=5)
        panel.set_zorder(beside.get_zorder() + 1)
        panel.patch.set_visible(False)
    panel.plot(*_shown(series.time_s, alarm.corrected, shown_s), color="#2e8b57", linewidth=0.8)
    panel.plot(*_shown(series.time_s, series.value, shown_s), color="black", linewidth=0.8)
    half_s = series.interval_s / 2
    panel.axvspan(
        *_as_dates(np.array([alarm.start_s - half_s, alarm.end_s + half_s])),
        color=CLASSES[class_of(alarm)][0],
        alpha=0.4,
    )
    panel.set_title(f"{series.quantity.replace('_', ' ')}: {alarm.rule} {alarm.score:.1f}", fontsize=7)
    locator = HourLocator(byhour=(0, 12))  # type: ignore[no-untyped-call]
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    panel.xaxis.get_offset_text().set_fontsize(5)
    panel.tick_params(labelsize=5)


def _shown(time_s: Floats, value: Floats, shown_s: Floats) -> tuple[NDArray[np.datetime64], Floats]:
    at = slice(*np.searchsorted(time_s, shown_s).tolist())
    return _as_dates(time_s[at]), value[at]


def _as_dates(time_s: Floats) -> NDArray[np.datetime64]:
    dates: NDArray[np.datetime64] = time_s.astype("datetime64[s]")
    return dates
