"""Labelled series in families: data of one origin, whose constants must hold on the other families.

Each series has its times, values, labelled events with their kinds, neutral stretches and resolution; the other
quantities of its site are series of the same family and ``site`` (see `Family.context`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.detection import recordings
from benchmarks.detection.scoring import MONTH_S, in_spans

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DATA = Path(os.environ.get("TOWNTWIN_DATA", Path(__file__).parents[3] / "shared/data"))
EVENT_GAP_S = 6 * 3_600.0  # labels of one kind closer than this are one event
SMALLEST_STEP, RESOLUTION_QUANTILE = 1e-12, 0.01
EDIT_LEAST_RESOLUTIONS = 3.0  # a change of the correction by more is an edit
EDIT_MARGIN_S = 3 * 3_600.0


class LabelledSeries(NamedTuple):
    """One series and what is known of it.

    Attributes
    ----------
    name, site, quantity : ``quantity`` is the name in towntwin's registry, or the recording's own
    time_s, value : (n,) ascending and distinct times [s], values (NaN where missing)
    interval_s : usual time between readings [s]
    resolution : the 1 % quantile of its steps that are not 0, in units of the value
    events : (n_events, 2) start and end of each labelled event, ends included [s]
    kinds : (n_events,) kind of each event
    neutral : (n_stretches, 2) where an alarm is neither right nor false [s]

    """

    name: str
    site: str
    quantity: str
    time_s: Floats
    value: Floats
    interval_s: float
    resolution: float
    events: Floats
    kinds: NDArray[np.str_]
    neutral: Floats


class Family(NamedTuple):
    """Series of one origin."""

    name: str
    series: list[LabelledSeries]
    is_water: bool

    @property
    def months(self) -> float:
        """Return the series-months from the first to the last reading of each series."""
        return sum(float(one.time_s[-1] - one.time_s[0]) for one in self.series) / MONTH_S

    @property
    def n_events(self) -> int:
        """Return the number of labelled events."""
        return sum(len(one.events) for one in self.series)

    def context(self, series: LabelledSeries) -> list[LabelledSeries]:
        """Return the other series of the same site."""
        return [one for one in self.series if one.site == series.site and one is not series]


LOGAN_QUANTITIES = {
    "temp": ("water_temperature", 0.02),
    "cond": ("conductivity", 0.2),
    "ph": ("ph", 0.01),
    "do": ("dissolved_oxygen", 0.02),
    "turb": ("turbidity", 0.5),
    "stage": ("water_level", 0.1),
}
"""Quantity of a column of the Logan River's sondes, and its resolution."""
ODDWATER_QUANTITIES = {
    "Level": "water_level",
    "Cond": "conductivity",
    "Tur": "turbidity",
}
ODDWATER_KINDS = {
    "A": "large spike",
    "B": "low variability",
    "C": "constant offset",
    "D": "shift",
    "E": "high variability",
    "F": "impossible",
    "G": "out of range",
    "H": "drift",
    "I": "spike cluster",
    "J": "small spike",
    "L": "untrustworthy",
}
"""Types of Leigh and others 2019; K, missing, is neutral."""


def logan(pattern: str = "*2019.csv.gz") -> list[LabelledSeries]:
    """Return the sondes of the Logan River Observatory whose file name matches a pattern."""
    found = []
    for path in sorted((DATA / "logan_river").glob(pattern)):
        table = recordings.table(path, ",")
        stamps = np.char.replace(np.char.ljust(table["datetime"], 23), " ", "T")
        time_s, first = np.unique(
            np.char.rstrip(stamps, "T").astype("datetime64[ms]").astype(np.float64) / 1e3, return_index=True
        )
        for column, (quantity, resolution) in LOGAN_QUANTITIES.items():
            value, corrected = (recordings.floats(table, name)[first] for name in (column, f"{column}_cor"))
            coded = ~np.isin(table[f"{column}_qual"][first], recordings.MISSING)
            events = spans(time_s, coded, EVENT_GAP_S)
            neutral = uncoded_edits(time_s, value, corrected, coded, resolution)
            site = path.name.removesuffix(".csv.gz")
            found.append(
                LabelledSeries(
                    f"{site}/{quantity}", site, quantity, time_s, value, 900.0, resolution_of(value), events,
                    np.full(len(events), "coded"), neutral,
                )
            )  # fmt: skip
    return found


def uncoded_edits(
    time_s: Floats, value: Floats, corrected: Floats, coded: NDArray[np.bool_], resolution: float
) -> Floats:
    """Return the stretches that a technician edited without a code: removed, or corrected by a jump.

    A correction that changes slowly (the drift between two calibrations) is no edit; where it begins or ends
    by a jump, the readings within `EDIT_MARGIN_S` are neutral.
    """
    correction = corrected - value
    change = np.abs(np.diff(correction, prepend=correction[:1]))
    removed = np.isnan(corrected) & np.isfinite(value)
    jumps = np.nan_to_num(change) > EDIT_LEAST_RESOLUTIONS * resolution
    jumped = spans(time_s, jumps & ~coded, 0.0) + [-EDIT_MARGIN_S, EDIT_MARGIN_S]
    return np.concatenate([spans(time_s, removed & ~coded, EVENT_GAP_S), jumped])


def oddwater() -> list[LabelledSeries]:
    """Return Sandy Creek and the Pioneer River, with the types of their anomalies."""
    found = []
    for site in ("sandy", "pioneer"):
        table = recordings.table(DATA / f"oddwater/{site}.csv.gz", ",")
        stamps = [_day_first(text) for text in table["Timestamp"]]
        time_s, first = np.unique(np.array(stamps, "datetime64[s]").astype(np.float64), return_index=True)
        interval_s = float(np.median(np.diff(time_s)))
        for column, quantity in ODDWATER_QUANTITIES.items():
            value = recordings.floats(table, column)[first]
            letter = table[f"type_{column}"][first]
            by_kind = [(kind, spans(time_s, letter == code, EVENT_GAP_S)) for code, kind in ODDWATER_KINDS.items()]
            found.append(
                LabelledSeries(
                    f"{site}/{quantity}", site, quantity, time_s, value,
                    interval_s, resolution_of(value), np.concatenate([stretch for _, stretch in by_kind]),
                    np.concatenate([np.full(len(stretch), kind) for kind, stretch in by_kind]),
                    spans(time_s, letter == "K", EVENT_GAP_S),
                )
            )  # fmt: skip
    return found


def resolution_of(value: Floats) -> float:
    """Return the 1 % quantile of the steps that are not 0; 1e-9 for a constant series."""
    size = np.abs(np.diff(value[np.isfinite(value)]))
    size = size[size > SMALLEST_STEP]
    return float(np.quantile(size, RESOLUTION_QUANTILE)) if len(size) else 1e-9


def spans(time_s: Floats, flagged: NDArray[np.bool_], gap_s: float) -> Floats:
    """Return first and last time (n, 2) of the runs of flagged readings, those up to ``gap_s`` apart joined.

    Adjacent readings are one run whatever their distance.
    """
    at = np.flatnonzero(flagged)
    if not len(at):
        return np.empty((0, 2))
    begins = np.flatnonzero(np.append(True, (np.diff(time_s[at]) > gap_s) & (np.diff(at) > 1)))
    ends = np.append(begins[1:], len(at)) - 1
    return np.column_stack([time_s[at[begins]], time_s[at[ends]]])


def _day_first(text: str) -> str:
    date, clock = text.split(" ")
    day, month, year = date.split("/")
    return f"{year}-{month.zfill(2)}-{day.zfill(2)}T{clock.zfill(5)}"


LOADERS: dict[str, Callable[[], Family]] = {
    "logan": lambda: Family("logan", logan(), is_water=True),
    "blacksmith": lambda: Family("blacksmith", logan("BlackSmithFork2015.csv.gz"), is_water=True),
    "oddwater": lambda: Family("oddwater", oddwater(), is_water=True),
}
"""Families by name."""


def load(name: str) -> Family:
    """Return a family by its name; see `LOADERS`."""
    return LOADERS[name]()
