"""Matches the columns of a recorded file to sites and quantities, by the mapping."""

from __future__ import annotations

import re
import unicodedata
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from edge.drivers.mapping import PLACEHOLDER, Column, Mapping, MappingError, conversion, did_you_mean
from edge.wire import quantities, topics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.wire.quantities import Quantity

NAMES_SHOWN = 12
NOT_DECODED = "\ufffd"  # replaces bytes that are invalid in the encoding


class Target(NamedTuple):
    """Site and quantity of one column of a file; ``scale`` and ``offset`` convert to the wire unit.

    ``site`` may contain ``{station}``, which is replaced for each row.
    """

    at: int
    column: str
    site: str
    quantity: Quantity
    scale: float
    offset: float


class Layout(NamedTuple):
    """Positions of the time columns, the station column and the mapped columns in a row."""

    time: list[int]
    station: int | None
    targets: list[Target]


def layout(mapping: Mapping, names: Sequence[str], file: Path) -> Layout:
    """Match the columns of a file to the mapping. Raises `MappingError` if they do not match."""
    times = [_only(name, names, file, "the time") for name in mapping.time.columns]
    station = None if mapping.station is None else _only(mapping.station, names, file, "the station")
    taken = {*times, station}
    matched = {at: _column_of(name, mapping.column) for at, name in enumerate(names) if at not in taken}
    targets = [
        _target(at, names[at], column, mapping, file) for at, column in matched.items() if column is not None
    ]
    if not targets:
        wanted = ", ".join(repr(one.match) for one in mapping.column)
        raise MappingError(
            f"{file}: no column matches {wanted}; {_has(names)}{_separator_hint(mapping, names)}"
        )
    _check_one_each(targets, file)
    return Layout(times, station, targets)


def unmatched(mapping: Mapping, names: Sequence[str]) -> list[Column]:
    """Return the required columns of the mapping that a file does not have."""
    found = [_column_of(name, mapping.column) for name in names if name not in mapping.time.columns]
    return [
        one
        for one in mapping.column
        if not one.optional and not any(other is one for other in found) and "*" not in one.match
    ]


def lacks(column: Column, names: Sequence[str]) -> str:
    """Describe a required column that no file has."""
    return (
        f"no file has a column {column.match!r}{did_you_mean(column.match, names)}; {_has(names)}; "
        "mend its match, or give it optional = true"
    )


def file_id(file: Path) -> str:
    """Return the file's name up to the first dot, which replaces ``{file}``."""
    return file.name.split(".", 1)[0]


def _column_of(name: str, columns: Sequence[Column]) -> Column | None:
    """Return the mapping's entry for a column: one with exactly its name, or else the first that matches."""
    plain = _folded(name)
    exact = next((one for one in columns if _folded(one.match) == plain), None)
    return exact or next((one for one in columns if fnmatchcase(plain, _folded(one.match))), None)


def _folded(name: str) -> str:
    """Normalise a name (NFKC), so that look-alike characters (µ and μ) are equal."""
    return unicodedata.normalize("NFKC", name.strip())


def _only(name: str, names: Sequence[str], file: Path, what: str) -> int:
    found = [at for at, one in enumerate(names) if _folded(one) == _folded(name)]
    if not found:
        raise MappingError(
            f"{file}: no column {name!r} for {what}{did_you_mean(name, names)}; {_has(names)}; "
            "where lines stand before the names, give skip_before"
        )
    if len(found) > 1:
        raise MappingError(
            f"{file}: columns {found[0] + 1} and {found[1] + 1} are both called {name!r}, which is to be "
            f"{what}: rename one, or give names"
        )
    return found[0]


def _target(at: int, name: str, column: Column, mapping: Mapping, file: Path) -> Target:
    template = column.site or ("{file}" if mapping.station is None else "{station}")
    values = {"file": file_id(file), "column": name, "station": "{station}"}
    site = PLACEHOLDER.sub(lambda found: values[found.group(1)], template)
    if not topics.LEVEL.fullmatch(site.replace("{station}", "s")):
        raise MappingError(
            f"{file}: column {name!r} makes site {site!r}: letters, digits and _ . : - only, 64 at most; "
            f"give its [[column]] a site, such as site = {_plain(site)!r}, or rename the file"
        )
    scale, offset = conversion_of(column, file)
    return Target(at, name, site, quantities.QUANTITIES[column.quantity], scale, offset)


def conversion_of(column: Column, file: Path) -> tuple[float, float]:
    """Return scale and offset from the recorded number to the wire unit."""
    found = conversion(column, file)
    return found.scale, found.offset


def _plain(site: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.:-]+", "-", site).strip("-_.:") or "site-1"


def _check_one_each(targets: Sequence[Target], file: Path) -> None:
    """Raise `MappingError` if two columns belong to the same series."""
    seen: dict[tuple[str, str], Target] = {}
    for one in targets:
        other = seen.setdefault((one.site, one.quantity.name), one)
        if other is not one:
            raise MappingError(
                f"{file}: columns {other.column!r} and {one.column!r} ({other.at + 1}, {one.at + 1}) would "
                f"both be {one.quantity.name} at {one.site!r}: give each a [[column]] of its exact name with "
                "a site of its own, or none"
            )


def _has(names: Sequence[str]) -> str:
    """List the column names, with a hint if they contain bytes that are invalid in the encoding."""
    if any(NOT_DECODED in name for name in names):
        return f'{_named(names)}, which are not all text: give an encoding, such as "latin-1" or "gb18030"'
    return _named(names)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"it has {', '.join(repr(one) for one in list(names)[:NAMES_SHOWN])}{more}"


def _separator_hint(mapping: Mapping, names: Sequence[str]) -> str:
    if len(names) > 1:
        return ""
    for sign, shown in ((";", ";"), ("\t", "\\t"), ("|", "|"), (",", ",")):
        if sign != mapping.separator and sign in "".join(names):
            return f': its separator seems to be another: separator = "{shown}"'
    return ""
