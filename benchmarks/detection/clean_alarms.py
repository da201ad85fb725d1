"""Counts alarms in stretches that no technician coded, removed or changed, and draws those of a site."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.flags import Rule
from benchmarks.detection import families, product

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from benchmarks.detection.labelled import LabelledSeries

    Floats = NDArray[np.float64]

SITE = "BlackSmithFork2015"
SHOWN_S = 86_400.0  # before and after an alarm
COLUMNS = 4
CLASSES = {
    "sensor": ("#e67e22", "readings of one sensor alone that jump up and return: debris, bubbles"),
    "water": ("#1f4e79", "change of the water: seen by several sensors, or smooth over an hour and more"),
    "noise": ("#888888", "within what the series does: false"),
}
"""Colour and meaning of each class."""
BY_EYE = {
    "turbidity": {
        "09-12": "noise", "09-13": "sensor", "09-14": "noise", "09-16": "water", "10-01": "water",
        "10-03": "water", "10-27": "sensor", "10-31": "water", "11-02": "sensor", "11-03": "water",
        "11-11": "sensor",
    },
}  # fmt: skip
"""Class of the alarms of `SITE` by quantity and day, assigned by a look at the picture of each."""


class CleanAlarm(NamedTuple):
    """An alarm in a stretch without labels.

    Attributes
    ----------
    series : the whole recording, with values before and after the stretch
    start_s, end_s : first and last flagged reading [s]
    score, rule : of the event

    """

    series: LabelledSeries
    start_s: float
    end_s: float
    score: float
    rule: str


def find_alarms() -> list[CleanAlarm]:
    """Return the judge's alarms in all clean stretches, each judged as a new series."""
    recorded, found = _recorded(), []
    for clean in families.load(families.CLEAN).series:
        series, events = recorded[clean.name.rpartition(" ")[0]], product.judged(clean).events
        end_s = np.where(np.isnan(events.end_s), clean.time_s[-1], events.end_s)
        found += [
            CleanAlarm(series, *row[:3], str(Rule(int(row[3])).name).lower().replace("_", " "))
            for row in zip(events.start_s, end_s, events.score, events.rule, strict=True)
        ]
    return found


def count_in_recordings() -> Counter[tuple[str, str]]:
    """Count the alarms that begin in clean stretches by site and quantity, whole recordings being judged."""
    begins_s = {name: product.judged(one).events.start_s for name, one in _recorded().items()}
    found: Counter[tuple[str, str]] = Counter()
    for clean in families.load(families.CLEAN).series:
        start_s = begins_s[clean.name.rpartition(" ")[0]]
        begins = (start_s >= clean.time_s[0]) & (start_s <= clean.time_s[-1])
        found[clean.site.rpartition(" ")[0], clean.quantity] += int(begins.sum())
    return found


def _recorded() -> dict[str, LabelledSeries]:
    return {
        one.name: one for name in ("logan", "blacksmith", "oddwater") for one in families.load(name).series
    }


def main(picture: Path | None) -> None:
    """Print alarms by site and quantity, and draw those of `SITE`."""
    alarms = find_alarms()
    recorded = Counter(
        (one.site.rpartition(" ")[0], one.quantity) for one in families.load(families.CLEAN).series
    )
    raised = Counter((one.series.site, one.series.quantity) for one in alarms)
    in_recordings = count_in_recordings()
    print(f"{'site':22}{'quantity':20}stretches  alarms  in whole recordings")
    for (site, quantity), count in recorded.items():
        print(f"{site:22}{quantity:20}{count:9}{raised[site, quantity]:8}{in_recordings[site, quantity]:21}")
    print(f"{'all':42}{recorded.total():9}{len(alarms):8}{in_recordings.total():21}")
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
    """Draw each alarm with the values around it."""
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
