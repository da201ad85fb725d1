"""Reads a recorded file by its mapping into rows for sorting, and counts rows and cells left out."""

from __future__ import annotations

import datetime as dt
import math
from contextlib import closing
from itertools import count, islice
from typing import TYPE_CHECKING

from edge.drivers import column_layout, time_parsing
from edge.drivers.file_mapping import FileMapping, MappingError
from edge.drivers.file_report import FileReport
from edge.drivers.number_parsing import number_reader
from edge.drivers.recorded_table import RecordedTable, open_table
from edge.drivers.time_parsing import LocalTimes, UnreadableTimeError
from edge.wire import topics
from edge.wire.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edge.drivers.external_sort import SortedRows

ROWS_SAMPLED = 1000  # rows from which the order of a file is determined
MAX_STATIONS = 10_000  # in one file at most: with more, the column is not a station name
CELL_SKIP_REASONS = ("no-value", "not-a-number", "short-row")
NAN = math.nan


class RecordedFile:
    """An open file with its columns matched to the mapping.

    Attributes
    ----------
    account : report on its rows; complete once they are read

    """

    def __init__(self, path: Path, mapping: FileMapping) -> None:
        self.path, self.mapping = path, mapping
        self.table: RecordedTable = open_table(path, mapping)
        self.layout = column_layout.column_layout(mapping, self.table.names, path)
        self.account = FileReport(path)

    @property
    def sites(self) -> set[str]:
        """Sites of its columns; of a file with stations, their templates."""
        return {one.site for one in self.layout.targets}


class RowReader:
    """Reads one file into rows for sorting, and fills its report."""

    def __init__(self, file: RecordedFile, layout_of: Callable[[str], int]) -> None:
        self._file, self._account, self._mapping = file, file.account, file.mapping
        self._layout_of = layout_of
        layout = file.layout
        column_positions = [*layout.time, *([] if layout.station is None else [layout.station])]
        position = file.table.positions([*column_positions, *(one.position for one in layout.targets)])
        self._times, self._values = position[: len(layout.time)], position[len(column_positions) :]
        self._station = None if layout.station is None else position[len(layout.time)]
        self._columns = [
            (position, one.scale, one.offset)
            for position, one in zip(self._values, layout.targets, strict=True)
        ]
        self._number = number_reader(
            self._mapping.missing, decimal=self._mapping.decimal, thousands=self._mapping.thousands
        )
        self._parse = time_parsing.time_parser(self._mapping.time)
        self._header_length = len(file.table.names)
        self._last: dict[str, float] = {}  # station -> time of its previous row [s]
        self._layouts: dict[str, float] = {}
        self._stations: dict[object, str] = {}

    def read_into(self, sorted_rows: SortedRows, width: int) -> None:
        """Read every row; ``width`` is the number of values per row, with time and layout number."""
        account, file = self._account, self._file
        local = self._local_times()
        counted_times = self._counted_times(local)
        only_time_column = self._times[0] if len(self._times) == 1 else None
        parse, seconds, numbers = self._parse, local.seconds, self._numbers
        last_time_s, layouts, header_length = self._last, self._layouts, self._header_length
        padding = (NAN,) * (width - 2 - len(self._values))
        station = ""
        layouts[station] = float(self._layout_of(station)) if self._station is None else NAN
        for row in file.table.rows(account):
            if not row and counted_times is None:
                continue  # a blank line
            account.rows += 1
            try:
                if self._station is not None:
                    station = self._station_of(row)
                if counted_times is not None:
                    time_s = next(counted_times)
                else:
                    cell = (
                        row[only_time_column]
                        if only_time_column is not None and only_time_column < len(row)
                        else self._time_cell(row)
                    )
                    parsed = parse(cell)
                    time_s = (
                        parsed if parsed.__class__ is float else seconds(parsed, last_time_s.get(station))  # type: ignore[arg-type]
                    )
                if len(row) > header_length:
                    self._check_length(row)
            except _ROW_SKIPPED as error:
                is_blank = not any(cell is not None and str(cell).strip() for cell in row)
                account.leave_out(
                    "blank" if is_blank else error.reason, file.table.position_text(), str(error)
                )
                continue
            last_time_s[station] = time_s
            account.rows_taken += 1
            sorted_rows.append((time_s, layouts[station], *numbers(row), *padding))
        account.cells = account.rows_taken * len(self._values)
        account.readings = account.cells - sum(account.left_out[reason] for reason in CELL_SKIP_REASONS)

    def _numbers(self, row: Sequence[object]) -> list[float]:
        """Return the values of a row in wire units; NaN for those left out, which are counted."""
        found = []
        number, left_out = self._number, self._account.left_out
        for position, scale, offset in self._columns:
            try:
                value = number(row[position]) * scale + offset
                if value != value:  # noqa: PLR0124 - NaN: a value that is declared missing
                    left_out["no-value"] += 1
            except IndexError:
                self._account.leave_out("short-row" if row else "no-value", self._file.table.position_text())
                value = NAN
            except (ValueError, TypeError, OverflowError):
                self._account.leave_out(
                    "not-a-number", self._file.table.position_text(), self._not_a_number_text(row[position])
                )
                value = NAN
            found.append(value)
        return found

    def _time_cell(self, row: Sequence[object]) -> object:
        try:
            if len(self._times) == 1:
                return row[self._times[0]]
            cells = [row[position] for position in self._times]
        except IndexError as error:
            raise UnreadableTimeError("no-time", "the row is cut short") from error
        return None if None in cells else " ".join(_time_text(cell) for cell in cells)

    def _local_times(self) -> LocalTimes:
        """Build the converter of local times, with the order of the first rows."""
        first_rows: list[Sequence[object]] = []
        if self._mapping.time.columns:
            with closing(self._file.table.rows(FileReport(self._file.path))) as rows:
                first_rows = list(islice(rows, ROWS_SAMPLED))
        parsed: dict[object, list[float | dt.datetime]] = {}
        for row in first_rows:
            station = row[self._station] if self._station is not None and len(row) > self._station else ""
            try:
                parsed.setdefault(station, []).append(self._parse(self._time_cell(row)))
            except UnreadableTimeError:
                continue
        header_length = max(parsed.values(), key=len, default=[])
        return LocalTimes(
            self._mapping.time.zone, self._mapping.time.fold, time_parsing.time_direction(header_length)
        )

    def _counted_times(self, local: LocalTimes) -> Iterator[float] | None:
        """Yield the times of rows counted from ``start``; None if times are in a column."""
        start, step_s = self._mapping.time.start, self._mapping.time.step_s
        if start is None or step_s is None:
            return None
        try:
            begin_s = start.timestamp() if start.tzinfo else local.seconds(start, None)
        except UnreadableTimeError as error:
            raise MappingError(f"{self._file.path}: [time] start: {error}") from error
        return (begin_s + number * step_s for number in count())

    def _station_of(self, row: Sequence[object]) -> str:
        """Return the site id of a row's station. Raises `_RowSkippedError`."""
        assert self._station is not None  # noqa: S101 - called only if there is a station column
        cell = row[self._station] if len(row) > self._station else None
        try:
            return self._stations[cell]
        except KeyError:
            pass
        except TypeError as error:
            raise _RowSkippedError("no-station", f"{str(cell)[:60]!r} is no name") from error
        name = "" if cell is None else str(cell).strip()
        site = self._mapping.stations.get(name, "" if self._mapping.stations else name)
        if self._mapping.stations and not site:
            raise _RowSkippedError("other-station", f"station {name[:60]!r} is not in [stations]")
        for target in self._file.layout.targets:
            if not name or not topics.LEVEL_PATTERN.fullmatch(target.site.replace("{station}", site)):
                raise _RowSkippedError(
                    "no-station",
                    f"station {name[:60]!r} can't be a site id (letters, digits and _ . : -): "
                    "give it one in [stations]",
                )
        if len(self._stations) >= MAX_STATIONS:
            raise MappingError(
                f"{self._file.path}: column {self._mapping.station!r} holds more than {MAX_STATIONS:,} "
                "stations: "
                "station must be the column of their names"
            )
        self._stations[cell] = site
        self._layouts[site] = float(self._layout_of(site))
        return site

    def _not_a_number_text(self, cell: object) -> str:
        text = str(cell)[:60]
        comma = self._mapping.decimal == "." and "," in text and any(map(str.isdigit, text))
        return f"{text!r} is no number" + (': a decimal comma needs decimal = ","' if comma else "")

    def _check_length(self, row: Sequence[object]) -> None:
        """Raise `_RowSkippedError` if a row has non-empty cells beyond the last column."""
        if not any(row[self._header_length :]):
            return
        comma = self._mapping.separator == "," and self._mapping.decimal == "."
        hint = ": are decimal commas not in quotes? write the file with another separator" if comma else ""
        raise _RowSkippedError("ragged", f"{len(row)} cells for {self._header_length} names{hint}")


class _RowSkippedError(EdgeError):
    """A row is left out; ``reason`` is the reason in the report."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


_ROW_SKIPPED = (_RowSkippedError, UnreadableTimeError)


def _time_text(cell: object) -> str:
    """Convert a part of a time to text; a datetime at midnight to its date, any other to its time."""
    if isinstance(cell, dt.datetime):
        return str(cell.date()) if cell.time() == dt.time() else str(cell.time())
    return str(cell).strip()
