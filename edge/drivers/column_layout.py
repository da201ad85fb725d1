"""Matches the columns of a recorded file to sites and quantities, by the mapping."""

from __future__ import annotations

import re
import unicodedata
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from edge.drivers.file_mapping import (
    PLACEHOLDER,
    ColumnMapping,
    FileMapping,
    MappingError,
    conversion,
    did_you_mean,
)
from edge.wire import quantities, topics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.wire.quantities import Quantity

MAX_NAMES_SHOWN = 12
REPLACEMENT_CHARACTER = "\ufffd"  # replaces bytes that are invalid in the encoding


class ColumnTarget(NamedTuple):
    """Site and quantity of one column of a file; ``scale`` and ``offset`` convert to the wire unit.

    ``site`` may contain ``{station}``, which is replaced for each row.
    """

    position: int
    column: str
    site: str
    quantity: Quantity
    scale: float
    offset: float


class ColumnLayout(NamedTuple):
    """Positions of the time columns, the station column and the mapped columns in a row."""

    time: list[int]
    station: int | None
    targets: list[ColumnTarget]


def column_layout(mapping: FileMapping, names: Sequence[str], file: Path) -> ColumnLayout:
    """Match the columns of a file to the mapping. Raises `MappingError` if they do not match."""
    times = [_single_position(name, names, file, "the time") for name in mapping.time.columns]
    station = (
        None if mapping.station is None else _single_position(mapping.station, names, file, "the station")
    )
    special_columns = {*times, station}
    matched = {
        position: _mapping_for(name, mapping.column)
        for position, name in enumerate(names)
        if position not in special_columns
    }
    targets = [
        _make_target(position, names[position], column, mapping, file)
        for position, column in matched.items()
        if column is not None
    ]
    if not targets:
        patterns = ", ".join(f"{one.match!r}{did_you_mean(one.match, names)}" for one in mapping.column)
        raise MappingError(
            f"{file}: no column matches {patterns}; "
            f"{_column_names_text(names)}{_separator_hint(mapping, names)}"
        )
    _check_distinct_series(targets, file)
    return ColumnLayout(times, station, targets)


def missing_columns(mapping: FileMapping, names: Sequence[str]) -> list[ColumnMapping]:
    """Return the required columns of the mapping that a file does not have."""
    matching = [_mapping_for(name, mapping.column) for name in names if name not in mapping.time.columns]
    return [
        one
        for one in mapping.column
        if not one.optional and not any(earlier is one for earlier in matching) and "*" not in one.match
    ]


def missing_column_message(column: ColumnMapping, names: Sequence[str]) -> str:
    """Describe a required column that no file has."""
    return (
        f"no file has a column {column.match!r}{did_you_mean(column.match, names)}; "
        f"{_column_names_text(names)}; "
        "mend its match, or give it optional = true"
    )


def file_id(file: Path) -> str:
    """Return the file's name up to the first dot, which replaces ``{file}``."""
    return file.name.split(".", 1)[0]


def _mapping_for(name: str, columns: Sequence[ColumnMapping]) -> ColumnMapping | None:
    """Return the mapping's entry for a column: one with exactly its name, or else the first that matches."""
    plain = _normalised(name)
    exact = next((one for one in columns if _normalised(one.match) == plain), None)
    return exact or next((one for one in columns if fnmatchcase(plain, _normalised(one.match))), None)


def _normalised(name: str) -> str:
    """Normalise a name (NFKC), so that look-alike characters (µ and μ) are equal."""
    return unicodedata.normalize("NFKC", name.strip())


def _single_position(name: str, names: Sequence[str], file: Path, what: str) -> int:
    matching = [position for position, one in enumerate(names) if _normalised(one) == _normalised(name)]
    if not matching:
        raise MappingError(
            f"{file}: no column {name!r} for {what}{did_you_mean(name, names)}; {_column_names_text(names)}; "
            "where lines stand before the names, give skip_before"
        )
    if len(matching) > 1:
        raise MappingError(
            f"{file}: columns {matching[0] + 1} and {matching[1] + 1} are both called {name!r}, which is "
            "to be "
            f"{what}: rename one, or give names"
        )
    return matching[0]


def _make_target(
    position: int, name: str, column: ColumnMapping, mapping: FileMapping, file: Path
) -> ColumnTarget:
    template = column.site or ("{file}" if mapping.station is None else "{station}")
    values = {"file": file_id(file), "column": name, "station": "{station}"}
    site = PLACEHOLDER.sub(lambda matching: values[matching.group(1)], template)
    if not topics.LEVEL_PATTERN.fullmatch(site.replace("{station}", "s")):
        raise MappingError(
            f"{file}: column {name!r} makes site {site!r}: letters, digits and _ . : - only, 64 at most; "
            f"give its [[column]] a site, such as site = {_suggested_site(site)!r}, or rename the file"
        )
    to_wire = conversion(column)
    quantity = quantities.QUANTITIES[column.quantity]
    return ColumnTarget(position, name, site, quantity, to_wire.scale, to_wire.offset)


def _suggested_site(site: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.:-]+", "-", site).strip("-_.:") or "site-1"


def _check_distinct_series(targets: Sequence[ColumnTarget], file: Path) -> None:
    """Raise `MappingError` if two columns belong to the same series."""
    target_of_series: dict[tuple[str, str], ColumnTarget] = {}
    for one in targets:
        earlier = target_of_series.setdefault((one.site, one.quantity.name), one)
        if earlier is not one:
            raise MappingError(
                f"{file}: columns {earlier.column!r} and {one.column!r} ({earlier.position + 1}, "
                f"{one.position + 1}) would "
                f"both be {one.quantity.name} at {one.site!r}: give each a [[column]] of its exact name with "
                "a site of its own, or none"
            )


def _column_names_text(names: Sequence[str]) -> str:
    """List the column names, with a hint if they contain bytes that are invalid in the encoding."""
    if any(REPLACEMENT_CHARACTER in name for name in names):
        advice = 'give an encoding, such as "latin-1" or "gb18030"'
        return f"{_quoted_names(names)}, which are not all text: {advice}"
    return _quoted_names(names)


def _quoted_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return f"it has {', '.join(repr(one) for one in list(names)[:MAX_NAMES_SHOWN])}{more}"


def _separator_hint(mapping: FileMapping, names: Sequence[str]) -> str:
    if len(names) > 1:
        return ""
    for sign, shown in ((";", ";"), ("\t", "\\t"), ("|", "|"), (",", ",")):
        if sign != mapping.separator and sign in "".join(names):
            return f': its separator seems to be another: separator = "{shown}"'
    return ""
