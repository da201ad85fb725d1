"""Reads a recorded file by its mapping into rows for sorting, and counts rows and cells left out."""

from __future__ import annotations

import datetime as dt
import math
from contextlib import closing
from itertools import count, islice
from typing import TYPE_CHECKING

from edge.drivers import columns, times
from edge.drivers.account import Account
from edge.drivers.cells import number_reader
from edge.drivers.mapping import Mapping, MappingError
from edge.drivers.tables import Table, open_table
from edge.drivers.times import LocalTimes, UnreadableTime
from edge.wire import topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edge.drivers.staging import SortedRows

LOOKED_AT = 1000  # rows from which the order of a file is determined
STATIONS = 10_000  # in one file at most: with more, the column is not a station name
CELL_REASONS = ("no-value", "not-a-number", "short-row")
NAN = math.nan


class RecordedFile:
    """An open file with its columns matched to the mapping.

    Attributes
    ----------
    account : report on its rows; complete once they are read

    """

    def __init__(self, path: Path, mapping: Mapping) -> None:
        self.path, self.mapping = path, mapping
        self.table: Table = open_table(path, mapping)
        self.layout = columns.layout(mapping, self.table.names, path)
        self.account = Account(path)

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
        wanted = [*layout.time, *([] if layout.station is None else [layout.station])]
        at = file.table.positions([*wanted, *(one.at for one in layout.targets)])
        self._times, self._values = at[: len(layout.time)], at[len(wanted) :]
        self._station = None if layout.station is None else at[len(layout.time)]
        self._columns = [
            (at, one.scale, one.offset) for at, one in zip(self._values, layout.targets, strict=True)
        ]
        self._number = number_reader(
            self._mapping.missing, decimal=self._mapping.decimal, thousands=self._mapping.thousands
        )
        self._parse = times.parser(self._mapping.time)
        self._longest = len(file.table.names)
        self._last: dict[str, float] = {}  # station -> time of its previous row [s]
        self._layouts: dict[str, float] = {}
        self._stations: dict[object, str] = {}

    def read_into(self, staged: SortedRows, width: int) -> None:
        """Read every row; ``width`` is the number of values per row, with time and layout number."""
        account, file = self._account, self._file
        local = self._local_times()
        counted = self._counted(local)
        only = self._times[0] if len(self._times) == 1 else None
        parse, seconds, numbers = self._parse, local.seconds, self._numbers
        last, layouts, longest = self._last, self._layouts, self._longest
        padding = (NAN,) * (width - 2 - len(self._values))
        station = ""
        layouts[station] = float(self._layout_of(station)) if self._station is None else NAN
        for row in file.table.rows(account):
            if not row and counted is None:
                continue  # a blank line
            account.rows += 1
            try:
                if self._station is not None:
                    station = self._station_of(row)
                if counted is not None:
                    time_s = next(counted)
                else:
                    cell = row[only] if only is not None and only < len(row) else self._time_cell(row)
                    parsed = parse(cell)
                    time_s = (
                        parsed if parsed.__class__ is float else seconds(parsed, last.get(station))  # type: ignore[arg-type]
                    )
                if len(row) > longest:
                    self._check_length(row)
            except _LEFT_OUT as error:
                blank = not any(cell is not None and str(cell).strip() for cell in row)
                account.leave_out("blank" if blank else error.reason, file.table.where(), str(error))
                continue
            last[station] = time_s
            account.rows_taken += 1
            staged.append((time_s, layouts[station], *numbers(row), *padding))
        account.cells = account.rows_taken * len(self._values)
        account.readings = account.cells - sum(account.left_out[reason] for reason in CELL_REASONS)

    def _numbers(self, row: Sequence[object]) -> list[float]:
        """Return the values of a row in wire units; NaN for those left out, which are counted."""
        found = []
        number, left_out = self._number, self._account.left_out
        for at, scale, offset in self._columns:
            try:
                value = number(row[at]) * scale + offset
                if value != value:  # noqa: PLR0124 - NaN: a value that is declared missing
                    left_out["no-value"] += 1
            except IndexError:
                self._account.leave_out("short-row" if row else "no-value", self._file.table.where())
                value = NAN
            except (ValueError, TypeError, OverflowError):
                self._account.leave_out("not-a-number", self._file.table.where(), self._no_number(row[at]))
                value = NAN
            found.append(value)
        return found

    def _time_cell(self, row: Sequence[object]) -> object:
        try:
            if len(self._times) == 1:
                return row[self._times[0]]
            cells = [row[at] for at in self._times]
        except IndexError as error:
            raise UnreadableTime("no-time", "the row is cut short") from error
        return None if None in cells else " ".join(_joined(cell) for cell in cells)

    def _local_times(self) -> LocalTimes:
        """Build the converter of local times, with the order of the first rows."""
        head: list[Sequence[object]] = []
        if self._mapping.time.columns:
            with closing(self._file.table.rows(Account(self._file.path))) as rows:
                head = list(islice(rows, LOOKED_AT))
        parsed: dict[object, list[float | dt.datetime]] = {}
        for row in head:
            station = row[self._station] if self._station is not None and len(row) > self._station else ""
            try:
                parsed.setdefault(station, []).append(self._parse(self._time_cell(row)))
            except UnreadableTime:
                continue
        longest = max(parsed.values(), key=len, default=[])
        return LocalTimes(self._mapping.time.zone, self._mapping.time.fold, times.direction(longest))

    def _counted(self, local: LocalTimes) -> Iterator[float] | None:
        """Yield the times of rows counted from ``start``; None if times are in a column."""
        start, step_s = self._mapping.time.start, self._mapping.time.step_s
        if start is None or step_s is None:
            return None
        try:
            begin_s = start.timestamp() if start.tzinfo else local.seconds(start, None)
        except UnreadableTime as error:
            raise MappingError(f"{self._file.path}: [time] start: {error}") from error
        return (begin_s + number * step_s for number in count())

    def _station_of(self, row: Sequence[object]) -> str:
        """Return the site id of a row's station. Raises `_LeftOut`."""
        assert self._station is not None  # noqa: S101 - called only if there is a station column
        cell = row[self._station] if len(row) > self._station else None
        try:
            return self._stations[cell]
        except KeyError:
            pass
        except TypeError as error:
            raise _LeftOut("no-station", f"{str(cell)[:60]!r} is no name") from error
        name = "" if cell is None else str(cell).strip()
        site = self._mapping.stations.get(name, "" if self._mapping.stations else name)
        if self._mapping.stations and not site:
            raise _LeftOut("other-station", f"station {name[:60]!r} is not in [stations]")
        for target in self._file.layout.targets:
            if not name or not topics.LEVEL.fullmatch(target.site.replace("{station}", site)):
                raise _LeftOut(
                    "no-station",
                    f"station {name[:60]!r} can't be a site id (letters, digits and _ . : -): "
                    "give it one in [stations]",
                )
        if len(self._stations) >= STATIONS:
            raise MappingError(
                f"{self._file.path}: column {self._mapping.station!r} holds more than {STATIONS:,} stations: "
                "station must be the column of their names"
            )
        self._stations[cell] = site
        self._layouts[site] = float(self._layout_of(site))
        return site

    def _no_number(self, cell: object) -> str:
        text = str(cell)[:60]
        comma = self._mapping.decimal == "." and "," in text and any(map(str.isdigit, text))
        return f"{text!r} is no number" + (': a decimal comma needs decimal = ","' if comma else "")

    def _check_length(self, row: Sequence[object]) -> None:
        """Raise `_LeftOut` if a row has non-empty cells beyond the last column."""
        if not any(row[self._longest :]):
            return
        comma = self._mapping.separator == "," and self._mapping.decimal == "."
        hint = ": are decimal commas not in quotes? write the file with another separator" if comma else ""
        raise _LeftOut("ragged", f"{len(row)} cells for {self._longest} names{hint}")


class _LeftOut(Exception):
    """A row is left out; ``reason`` is the reason in the report."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason


_LEFT_OUT = (_LeftOut, UnreadableTime)


def _joined(cell: object) -> str:
    """Convert a part of a time to text; a datetime at midnight to its date, any other to its time."""
    if isinstance(cell, dt.datetime):
        return str(cell.date()) if cell.time() == dt.time() else str(cell.time())
    return str(cell).strip()
