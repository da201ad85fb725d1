"""Reads rows of Parquet files in batches; damaged data end the file and are recorded in its report."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from edge.drivers.file_mapping import MappingError
from edge.drivers.file_report import describe_error

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from edge.drivers.file_report import FileReport

BATCH_ROWS = 4096


class ParquetTable:
    """A Parquet file, of which only the requested columns are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._column_positions: list[int] = []
        self._row = 0
        try:
            with _open_parquet(path) as file:
                self.names = [str(name) for name in file.schema_arrow.names]
        except (ValueError, OSError, NotImplementedError) as error:
            raise MappingError(f"{path} can't be read as Parquet: {describe_error(error)}") from error
        if not self.names:
            raise MappingError(f"{path} has no columns")

    def positions(self, column_positions: Sequence[int]) -> list[int]:
        """Select the columns to read; returns their positions in the rows."""
        self._column_positions = sorted(set(column_positions))
        for index in self._column_positions:
            if self.names.count(self.names[index]) > 1:
                raise MappingError(f"{self._path}: two columns are called {self.names[index]!r}: rename one")
        return [self._column_positions.index(index) for index in column_positions]

    def position_text(self) -> str:
        """Return the number of the last row read, counted from 1."""
        return f"row {self._row}"

    def rows(self, account: FileReport) -> Generator[tuple[object, ...]]:
        """Yield the rows; damaged data end them and are recorded in the report."""
        names = [self.names[index] for index in self._column_positions]
        self._row = 0
        try:
            with _open_parquet(self._path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names):
                    columns = [_cells(batch.column(name)) for name in names]
                    for row in zip(*columns, strict=True):
                        self._row += 1
                        yield row
        except (ValueError, OSError, NotImplementedError, KeyError) as error:
            account.leave_out(
                "cut-file", f"after row {self._row}", f"{describe_error(error)}; what follows is lost"
            )


def _cells(column: Any) -> list[object]:
    """Convert a column to cells; times to microseconds, None for times outside the range of datetime."""
    import pyarrow as pa  # noqa: PLC0415 - optional dependency, needed for Parquet only

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_timestamp(kind):
        begin = dt.datetime(1970, 1, 1, tzinfo=dt.UTC if kind.tz else None)
        scale = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}[kind.unit]
        divisor = 1_000 if kind.unit == "ns" else 1
        ticks = column.cast(pa.int64()).to_pylist()
        return [None if tick is None else _datetime_of(begin, tick * scale // divisor) for tick in ticks]
    if pa.types.is_time(kind):
        column = column.cast(pa.time64("us"), safe=False)
    try:
        cells: list[object] = column.to_pylist()
    except (ValueError, OverflowError, NotImplementedError):
        return [_cell_value(one) for one in column]
    return cells


def _cell_value(one: Any) -> object:
    try:
        found: object = one.as_py()
    except (ValueError, OverflowError, NotImplementedError):
        return None
    return found


def _datetime_of(begin: dt.datetime, micros: int) -> dt.datetime | None:
    try:
        return begin + dt.timedelta(microseconds=micros)
    except OverflowError:
        return None


def _open_parquet(path: Path) -> Any:
    """Open a Parquet file; INT96 times are read in microseconds, for nanoseconds overflow for some years."""
    return _pyarrow_parquet().ParquetFile(path, coerce_int96_timestamp_unit="us")


def _pyarrow_parquet() -> Any:
    try:
        import pyarrow.parquet  # noqa: PLC0415 - optional dependency, needed for Parquet only
    except ImportError as error:
        raise MappingError("Parquet needs pyarrow: pip install towntwin[replay]") from error
    return pyarrow.parquet
