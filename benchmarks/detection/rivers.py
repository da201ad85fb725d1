"""Loads labelled recordings of rivers and of a water pipe as families."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection import recordings
from benchmarks.detection.labelled import DATA, EVENT_GAP_S, NONE, LabelledSeries, resolution_of, spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LOGAN_INTERVAL_S = 900.0
FLOW_SEGMENTS = {"low": ((93, 110), (211, 224), (872, 886)), "pump": ((328, 330),)}
"""First and last row of the four segments that the data set describes in words (read off its plot)."""

LOGAN_QUANTITIES = {
    "temp": ("water_temperature", 1.0),
    "cond": ("conductivity", 1.0),
    "ph": ("ph", 1.0),
    "do": ("dissolved_oxygen", 1.0),
    "turb": ("turbidity", 1.0),
    "stage": ("water_level", 0.01),
}
"""Quantity of a column of the Logan River's sondes, and the factor to its canonical unit."""
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
        for column, (quantity, scale) in LOGAN_QUANTITIES.items():
            value, corrected = (
                scale * recordings.floats(table, name)[first] for name in (column, f"{column}_cor")
            )
            coded = ~np.isin(table[f"{column}_qual"][first], recordings.MISSING)
            events = spans(time_s, coded, EVENT_GAP_S)
            neutral = uncoded_edits(time_s, value, corrected, coded)
            site = path.name.removesuffix(".csv.gz")
            found.append(
                LabelledSeries(
                    f"{site}/{quantity}", site, quantity, time_s, value, LOGAN_INTERVAL_S,
                    resolution_of(value), events, np.full(len(events), "coded"), neutral,
                )
            )  # fmt: skip
    return found


def uncoded_edits(time_s: Floats, value: Floats, corrected: Floats, coded: NDArray[np.bool_]) -> Floats:
    """Return the stretches whose values a technician removed, added or changed without a code.

    A change of the value is also the correction of a drift between two calibrations, or of a level's datum.
    """
    edited = ~((value == corrected) | (np.isnan(value) & np.isnan(corrected)))
    return spans(time_s, edited & ~coded, EVENT_GAP_S)


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
            code_of_row = table[f"type_{column}"][first]
            by_kind = [
                (kind, spans(time_s, code_of_row == code, EVENT_GAP_S))
                for code, kind in ODDWATER_KINDS.items()
            ]
            found.append(
                LabelledSeries(
                    f"{site}/{quantity}", site, quantity, time_s, value,
                    interval_s, resolution_of(value), np.concatenate([times for _, times in by_kind]),
                    np.concatenate([np.full(len(times), kind) for kind, times in by_kind]),
                    spans(time_s, code_of_row == "K", EVENT_GAP_S),
                )
            )  # fmt: skip
    return found


def _day_first(text: str) -> str:
    date, clock = text.split(" ")
    day, month, year = date.split("/")
    return f"{year}-{month.zfill(2)}-{day.zfill(2)}T{clock.zfill(5)}"


def waterflow() -> list[LabelledSeries]:
    """Return the flow in a branch of a water pipe; its four segments are known in words only."""
    table = recordings.table(DATA / "river_waterflow/water-flow.csv", ",")
    local = np.array([text[:19] for text in table["Time"]], "datetime64[s]").astype(np.float64)
    offset_h = np.array([float(text[19:22]) for text in table["Time"]])
    time_s, first = np.unique(local - 3_600 * offset_h, return_index=True)
    value = recordings.floats(table, "Water flow [l/s]")[first]
    rows = [rows for segments in FLOW_SEGMENTS.values() for rows in segments]
    kinds = [kind for kind, segments in FLOW_SEGMENTS.items() for _ in segments]
    return [
        LabelledSeries(
            "pipe/discharge", "pipe", "pipe_flow", time_s, value, 3_600.0, resolution_of(value),
            time_s[np.array(rows)], np.array(kinds), NONE,
        )
    ]  # fmt: skip


def blacksmith() -> list[LabelledSeries]:
    """Return another site of the same observatory, four years earlier."""
    return logan("BlackSmithFork2015.csv.gz")
