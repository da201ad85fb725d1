"""Loads labelled water recordings as arrays: GECCO 2018, SKAB and the Logan River."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pyarrow import csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

GECCO_QUALITY = (
    "Cl",
    "pH",
    "Redox",
    "Leit",
    "Trueb",
    "Cl_2",
)  # the events of the challenge are in these columns
LOGAN = {"temp": 0.02, "cond": 0.2, "ph": 0.01, "do": 0.02, "turb": 0.5, "stage": 0.1}
"""Quantities of the sondes, and the approximate resolution of their sensors."""
MIN_EVENT_GAP_S = 6 * 3600.0  # codes of technicians closer than this are one event
NO_VALUE = -9999.0  # written as -9999 or -9999.0
MISSING = ["", "NA", "NULL", "-9999"]


class LabelledSite(NamedTuple):
    """Values (n_ticks, n_quantities) of a site, and for each tick (n_ticks,) whether it is in an event."""

    name: str
    value: Floats
    event: NDArray[np.bool_]


class LabelledSonde(NamedTuple):
    """Times and values ``(n,)`` of one quantity of a sonde, and the technicians' events (start, end) [s]."""

    name: str
    quantity: str
    time_s: Floats
    value: Floats
    events: NDArray[np.float64]


def load_gecco(path: Path) -> LabelledSite:
    """Load one half of GECCO 2018."""
    columns = table(path, ",")
    value = np.column_stack([floats(columns, name) for name in GECCO_QUALITY])
    return LabelledSite(path.name, value, floats(columns, "EVENT") > 0)


def load_skab(folder: Path) -> Iterator[LabelledSite]:
    """Load the files of SKAB that have labels, sorted by name."""
    for path in sorted(folder.rglob("*.csv")):
        columns = table(path, ";")
        if "anomaly" in columns:
            names = [name for name in columns if name not in {"datetime", "anomaly", "changepoint"}]
            value = np.column_stack([floats(columns, name) for name in names])
            yield LabelledSite(f"{path.parent.name}/{path.name}", value, floats(columns, "anomaly") > 0)


def load_logan_river(folder: Path) -> Iterator[LabelledSonde]:
    """Load every series of the Logan River; an event is a time range that a technician gave a code."""
    for path in sorted(folder.glob("*2019.csv.gz")):
        columns = table(path, ",")
        time_s = columns["datetime"].astype("datetime64[s]").astype(np.float64)
        _, first = np.unique(time_s, return_index=True)
        for name in LOGAN:
            if name in columns:
                coded = np.array([text not in MISSING for text in columns[f"{name}_qual"]])[first]
                spans = _spans(time_s[first][coded])
                yield LabelledSonde(path.name, name, time_s[first], floats(columns, name)[first], spans)


def _spans(time_s: Floats) -> Floats:
    if not len(time_s):
        return np.empty((0, 2))
    begins = np.flatnonzero(np.diff(time_s, prepend=-np.inf) > MIN_EVENT_GAP_S)
    ends = np.append(begins[1:], len(time_s)) - 1
    return np.column_stack([time_s[begins], time_s[ends]])


def table(path: Path, delimiter: str) -> dict[str, NDArray[np.str_]]:
    """Return the columns of a CSV file as text, by name."""
    convert = csv.ConvertOptions(null_values=MISSING, strings_can_be_null=False)
    names = csv.open_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter)).schema.names
    convert.column_types = dict.fromkeys(names, "string")
    read = csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter), convert_options=convert)
    return {name.lstrip("\ufeff"): np.array(read[name].to_pylist(), np.str_) for name in names}


def floats(table: dict[str, NDArray[np.str_]], name: str) -> Floats:
    """Return a column as numbers, NaN where a value is missing."""
    text = table[name]
    value = np.where(np.isin(text, MISSING), "nan", text).astype(np.float64)
    value[value == NO_VALUE] = np.nan
    return value
