"""Reads CSV files of labelled recordings as arrays: GECCO 2018 and SKAB, and any other by columns."""

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
NO_VALUE = -9999.0  # written as -9999 or -9999.0
MISSING = ["", "NA", "NULL", "-9999"]


class LabelledSite(NamedTuple):
    """Values (n_ticks, n_quantities) of a site, and for each tick (n_ticks,) whether it is in an event."""

    name: str
    value: Floats
    event: NDArray[np.bool_]


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
