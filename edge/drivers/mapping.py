"""Which column of a recorded file is which site and quantity: a small TOML file.

[time]
column = "datetime"        # or, without a column: start = 2012-03-01T00:00:00 and step_s = 300
zone = "America/Denver"    # of times that name none
format = "unix"            # or a strptime format; left out, ISO 8601 is read

missing = ["", "NULL"]     # cells that hold no value
separator = ","

[[column]]
match = "temp"             # a column's name, or a glob over names
site = "{file}"            # {file} is the file's name up to the first dot, {column} the column's name
quantity = "water_temperature"
unit = "Cel"
"""

from __future__ import annotations

import tomllib
from datetime import datetime  # noqa: TC003 - msgspec reads the annotation
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from edge.wire import quantities, topics
from edge.wire.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.wire.quantities import Conversion, Quantity


class MappingError(ValueError):
    """A mapping, or the file that it is for, is not as it must be; the sentence says where and what to do."""


class Time(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the measured times come from."""

    column: str | None = None
    zone: str = "UTC"
    format: str | None = None
    start: datetime | None = None
    step_s: float | None = None


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What some columns hold."""

    match: str
    quantity: str
    unit: str
    site: str = "{file}"


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole mapping file."""

    time: Time
    column: list[Column]
    missing: list[str] = msgspec.field(default_factory=lambda: ["", "NULL", "NaN", "nan", "NA"])
    separator: str = ","


class Target(NamedTuple):
    """What one column of one file holds; ``scale`` and ``offset`` lead to the wire unit."""

    at: int
    site: str
    quantity: Quantity
    scale: float
    offset: float

    @property
    def channel(self) -> str:
        """The SenML name of its values."""
        return f"{self.site}:{self.quantity.name}"


def load(path: Path) -> Mapping:
    """Read and check a mapping. Raises `MappingError`."""
    try:
        mapping = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Mapping)
    except OSError as error:
        raise MappingError(f"mapping {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise MappingError(f"mapping {path}: {error}") from error
    _check_time(mapping.time, path)
    for column in mapping.column:
        _conversion(column, path)
    return mapping


def targets(mapping: Mapping, names: Sequence[str], file: Path) -> list[Target]:
    """What the columns of a file hold. Raises `MappingError` where no column is mapped."""
    stem = file.name.split(".", 1)[0]
    found: list[Target] = []
    for index, name in enumerate(names):
        column = next((one for one in mapping.column if fnmatchcase(name, one.match)), None)
        if column is None or name == mapping.time.column:
            continue
        site = column.site.format(file=stem, column=name)
        if not topics.LEVEL.fullmatch(site):
            raise MappingError(
                f"{file}: column {name!r} makes site {site!r}: letters, digits and _ . : - only"
            )
        conversion = _conversion(column, file)
        found.append(
            Target(index, site, quantities.QUANTITIES[column.quantity], conversion.scale, conversion.offset)
        )
    if not found:
        wanted = ", ".join(one.match for one in mapping.column)
        raise MappingError(f"{file}: no column matches ({wanted}); it has {', '.join(list(names)[:12])}")
    return found


def _conversion(column: Column, path: Path) -> Conversion:
    """From the recorded unit to the wire unit."""
    quantity = quantities.QUANTITIES.get(column.quantity)
    if quantity is None:
        known = ", ".join(quantities.QUANTITIES)
        raise MappingError(
            f"{path}: {column.match}: there is no quantity {column.quantity!r}; there are {known}"
        )
    try:
        given = quantities.to_canonical(quantity, column.unit)
    except WireError as error:
        raise MappingError(f"{path}: {column.match}: {error}") from error
    wire = quantities.to_canonical(quantity, None)
    return quantities.Conversion(given.scale / wire.scale, (given.offset - wire.offset) / wire.scale)


def _check_time(time: Time, path: Path) -> None:
    if (time.column is None) == (time.start is None) or (time.start is None) != (time.step_s is None):
        raise MappingError(f"{path}: [time] needs either column, or start and step_s")
    try:
        ZoneInfo(time.zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise MappingError(
            f"{path}: [time] there is no zone {time.zone!r}: use a name like Asia/Shanghai"
        ) from error
