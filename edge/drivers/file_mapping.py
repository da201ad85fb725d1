"""Loads and validates a mapping: a TOML file that maps columns of recorded files to sites and quantities.

docs/replay.md describes all keys; an example:

[time]
column = "datetime"        # or ["date", "time"]; without a column: start = 2012-03-01T00:00:00, step_s = 300
zone = "America/Denver"    # of times that name none
format = "unix"            # or unix_ms, unix_us, unix_ns, or a strptime format; left out, ISO 8601 is read

missing = ["", "NULL"]     # cells that hold no value
separator = ","

[[column]]
match = "temp"             # a column's name, or a glob over names
site = "{file}"            # {file}: the file's name up to the first dot; {column}: the column's name
quantity = "water_temperature"
unit = "Cel"
"""

from __future__ import annotations

import codecs
import re
import tomllib
from datetime import date, datetime, time
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec

from edge.drivers import field_units
from edge.drivers.mapping_lines import KeyPath, MappingLines, key_path
from edge.wire import quantities, topics
from edge.wire.errors import EdgeError, WireError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edge.wire.quantities import Conversion

UNIX_SCALES = {"unix": 1.0, "unix_ms": 1e3, "unix_us": 1e6, "unix_ns": 1e9}
PLACEHOLDER = re.compile(r"\{(\w*)\}")
PLACEHOLDERS = ("file", "column", "station")


class MappingError(EdgeError, ValueError):
    """A mapping, or a file it is applied to, is invalid; the message states the place and the remedy."""


class TimeMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Source of the measured times.

    ``column`` may be several columns (a date and a time), whose cells are joined by a blank. ``fold`` selects
    the first or the second pass of the hour that is repeated at the end of summer time; by default it is
    derived from the file's order.
    """

    column: str | list[str] | None = None
    zone: str = "UTC"
    format: str | None = None
    start: datetime | None = None
    step_s: float | None = None
    fold: Literal["order", "first", "second"] = "order"

    @property
    def columns(self) -> list[str]:
        """Names of the time columns; empty if times are counted from ``start``."""
        if self.column is None:
            return []
        return [self.column] if isinstance(self.column, str) else self.column


class ColumnMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Quantity and site of the columns that match; ``value * scale + offset`` is in ``unit``."""

    match: str
    quantity: str
    unit: str
    site: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    optional: bool = False  # whether files without it are accepted


class FileMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of a mapping file."""

    time: TimeMapping
    column: list[ColumnMapping]
    missing: list[str | float] = msgspec.field(
        default_factory=lambda: ["", "NULL", "null", "NaN", "nan", "NA", "N/A", "None"]
    )
    separator: str = ","
    decimal: str = "."
    thousands: str = ""
    encoding: str | None = None
    names: list[str] | None = None  # of the columns, if the file has no line of names
    skip_before: int = 0  # lines before the line of names
    skip_after: int = 0  # lines after it, such as units
    comment: str | None = None  # prefix of lines to skip
    station: str | None = None  # the column with the station of a row
    stations: dict[str, str] = {}  # a station's name in the file -> site id


def load_mapping(path: Path) -> FileMapping:
    """Read and validate a mapping. Raises `MappingError`, with the line of the mapping that is wrong."""
    text = _read_text(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"mapping {path} is no TOML: {error}") from error
    lines = MappingLines(path, text)
    _check_keys(content, lines)
    _start_as_datetime(content)
    try:
        mapping = msgspec.convert(content, FileMapping)
    except msgspec.ValidationError as error:
        raise MappingError(_decoding_message(str(error), lines)) from error
    _check_time(mapping.time, lines)
    _check_text(mapping, lines)
    _check_encoding(mapping, lines)
    _check_stations(mapping, lines)
    for index, column in enumerate(mapping.column):
        _check_column(column, index, mapping, lines)
    if not mapping.column:
        raise MappingError(
            f"{lines.location('column')}: it names no column: add a [[column]] with match, quantity and unit"
        )
    return mapping


def read_lines(path: Path) -> MappingLines:
    """Read the lines of a mapping's keys, for errors that are found after it was loaded."""
    return MappingLines(path, _read_text(path))


def conversion(column: ColumnMapping) -> Conversion:
    """Return the conversion from the recorded number to the wire unit.

    Raises `MappingError` for an unknown quantity, and `WireError` for a unit that it does not accept.
    """
    quantity = quantities.QUANTITIES.get(column.quantity)
    if quantity is None:
        suggestion = did_you_mean(column.quantity, quantities.QUANTITIES)
        there_are = ", ".join(quantities.QUANTITIES)
        raise MappingError(f"there is no quantity {column.quantity!r}{suggestion}; there are {there_are}")
    unit_conversion = field_units.to_wire(quantity, column.unit)
    return quantities.Conversion(
        column.scale * unit_conversion.scale, column.offset * unit_conversion.scale + unit_conversion.offset
    )


def did_you_mean(word: str, allowed_keys: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest known word, or an empty string.

    >>> did_you_mean("seperator", ["separator", "missing"])
    " (did you mean 'separator'?)"
    """
    suggestions = get_close_matches(word, list(allowed_keys), n=1)
    return f" (did you mean {suggestions[0]!r}?)" if suggestions else ""


def _decoding_message(error: str, lines: MappingLines) -> str:
    """Return msgspec's message with the line and the table of the value instead of its path."""
    sentence, _, path = error.partition(" - at `")
    key = key_path(path)
    sentence = f"{sentence[:1].lower()}{sentence[1:]}"
    names = [f"[[column]] {one + 1}" if isinstance(one, int) else one for one in key]
    if len(names) > 1:
        names[0:1] = [] if isinstance(key[1], int) else [f"[{names[0]}]"]
    return ": ".join([lines.location(*key), *([" ".join(names)] if names else []), sentence])


def _read_text(path: Path) -> str:
    """Read the text of the file, without a byte order mark."""
    try:
        raw_bytes = path.read_bytes()
    except OSError as error:
        raise MappingError(f"mapping {path}: {error.strerror}") from error
    utf16 = raw_bytes.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return raw_bytes.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw_bytes.count(b"\n", 0, error.start) + 1
        raise MappingError(
            f"mapping {path}, line {line}: byte 0x{raw_bytes[error.start]:02X} is not UTF-8: save it as UTF-8"
        ) from error


def _start_as_datetime(content: dict[str, Any]) -> None:
    """Convert a start that is a date to the midnight at which it begins."""
    table = content.get("time")
    start = table.get("start") if isinstance(table, dict) else None
    if isinstance(start, date) and not isinstance(start, datetime):
        content["time"]["start"] = datetime.combine(start, time())


def _check_keys(content: dict[str, Any], lines: MappingLines) -> None:
    """Raise `MappingError` on an unknown key."""
    columns = content.get("column")
    if isinstance(columns, dict):
        raise MappingError(
            f"{lines.location('column')}: write [[column]], not [column]: there may be several"
        )
    tables: list[tuple[str, KeyPath, Any, type[msgspec.Struct]]] = [
        ("", (), content, FileMapping),
        ("[time] ", ("time",), content.get("time"), TimeMapping),
    ]
    tables.extend(
        ("[[column]] ", ("column", index), one, ColumnMapping)
        for index, one in enumerate(columns if isinstance(columns, list) else ())
    )
    for name, location, table, kind in tables:
        allowed_keys = kind.__struct_fields__
        for key in table if isinstance(table, dict) else ():
            if key not in allowed_keys:
                raise MappingError(
                    f"{lines.location(*location, key)}: {name}there is no key {key!r}"
                    f"{did_you_mean(key, allowed_keys)}; there are {', '.join(allowed_keys)}"
                )


def _check_time(time: TimeMapping, lines: MappingLines) -> None:
    if (time.column is None) == (time.start is None) or (time.start is None) != (time.step_s is None):
        raise MappingError(f"{lines.location('time')}: [time] needs either column, or start and step_s")
    if time.column is not None and not time.columns:
        raise MappingError(f"{lines.location('time', 'column')}: [time] column names no column")
    if time.step_s is not None and not 0 < time.step_s < 1e9:
        raise MappingError(f"{lines.location('time', 'step_s')}: [time] step_s {time.step_s} must be above 0")
    if time.format is not None:
        _check_format(time.format, lines.location("time", "format"))
    try:
        ZoneInfo(time.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise MappingError(
            f"{lines.location('time', 'zone')}: [time] there is no zone {time.zone!r}"
            f"{did_you_mean(time.zone, available_timezones())}; use a name like Asia/Shanghai"
        ) from error


def _check_format(pattern: str, location: str) -> None:
    """Raise `MappingError` if a format is neither a Unix scale nor a strptime format that can be used."""
    if not pattern or pattern in UNIX_SCALES:
        return
    if pattern.lower().startswith("unix"):
        raise MappingError(
            f"{location}: [time] there is no format {pattern!r}{did_you_mean(pattern, UNIX_SCALES)}; "
            f"Unix times are {', '.join(UNIX_SCALES)}"
        )
    if "%" not in pattern:
        raise MappingError(
            f"{location}: [time] format {pattern!r} is no strptime format: write it like %d.%m.%Y %H:%M, "
            f"or one of {', '.join(UNIX_SCALES)}"
        )
    sample_time = datetime(2026, 3, 1, 8, 5)  # noqa: DTZ001 - an arbitrary time
    try:
        datetime.strptime(sample_time.strftime(pattern), pattern)  # noqa: DTZ007
    except (ValueError, re.error) as error:
        raise MappingError(f"{location}: [time] format {pattern!r} can't be used: {error}") from error


def _check_text(mapping: FileMapping, lines: MappingLines) -> None:
    problem = None
    if len(mapping.separator) != 1 or mapping.separator in '\r\n"':
        problem = "separator", f"separator {mapping.separator!r} must be one character, such as ; or \\t"
    elif len(mapping.decimal) != 1 or mapping.decimal.isalnum():
        problem = "decimal", f"decimal {mapping.decimal!r} must be one sign, a point or a comma"
    elif len(mapping.thousands) > 1 or mapping.thousands.isalnum():
        problem = "thousands", f"thousands {mapping.thousands!r} must be one sign, or nothing"
    elif mapping.thousands == mapping.decimal:
        problem = "thousands", f"decimal and thousands are both {mapping.decimal!r}: they must differ"
    elif min(mapping.skip_before, mapping.skip_after) < 0:
        key = "skip_before" if mapping.skip_before < 0 else "skip_after"
        problem = key, "skip_before and skip_after are numbers of lines, 0 or more"
    elif mapping.comment == "":
        problem = "comment", "comment must name what such lines begin with, such as #"
    if problem is not None:
        key, sentence = problem
        raise MappingError(f"{lines.location(key)}: {sentence}")


def _check_encoding(mapping: FileMapping, lines: MappingLines) -> None:
    if mapping.encoding is not None:
        try:
            "1".encode(mapping.encoding)
        except (LookupError, UnicodeError) as error:
            raise MappingError(
                f"{lines.location('encoding')}: there is no text encoding {mapping.encoding!r}; "
                "use a name like utf-8, utf-16, gb18030, latin-1 or cp1252"
            ) from error


def _check_stations(mapping: FileMapping, lines: MappingLines) -> None:
    if mapping.stations and mapping.station is None:
        raise MappingError(
            f"{lines.location('stations')}: [stations] needs station, the column that names a row's station"
        )
    for name, site in mapping.stations.items():
        if not topics.LEVEL_PATTERN.fullmatch(site):
            raise MappingError(
                f"{lines.location('stations', name)}: [stations] {name!r}: {site!r} can't be a site id: "
                "letters, digits and _ . : - only"
            )


def _check_column(column: ColumnMapping, index: int, mapping: FileMapping, lines: MappingLines) -> None:
    """Raise `MappingError` if a column's quantity, unit or site can't be used."""
    name = f"[[column]] {index + 1} ({column.match})"
    try:
        conversion(column)
    except MappingError as error:
        raise MappingError(f"{lines.location('column', index, 'quantity')}: {name}: {error}") from error
    except WireError as error:
        raise MappingError(f"{lines.location('column', index, 'unit')}: {name}: {error}") from error
    location = lines.location("column", index, "site")
    for placeholder in PLACEHOLDER.findall(column.site or ""):
        if placeholder not in PLACEHOLDERS:
            raise MappingError(
                f"{location}: {name}: site {column.site!r}: there is no {{{placeholder}}}; "
                "there are {file}, {column} and {station}"
            )
        if placeholder == "station" and mapping.station is None:
            raise MappingError(
                f"{location}: {name}: site {column.site!r} needs station, the column that names it"
            )
