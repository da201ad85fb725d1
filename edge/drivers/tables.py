"""Rows of recorded files, a few at a time: CSV (plain or gzipped) and Parquet."""

from __future__ import annotations

import csv
import gzip
import io
from typing import TYPE_CHECKING, Any

from edge.drivers.mapping import MappingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH_ROWS = 4096


class Table:
    """One file: its column names, about how many rows, and the rows as lists of text or numbers."""

    def __init__(self, path: Path, separator: str) -> None:
        if not path.is_file():
            raise MappingError(f"{path} is no file that can be read")
        self.path = path
        self._separator = separator
        self._is_parquet = path.suffix == ".parquet"
        self.columns = self._parquet_columns() if self._is_parquet else next(self._csv(), [])
        if not self.columns:
            raise MappingError(f"{path} is empty: its first line must name the columns")

    def count(self) -> int:
        """How many rows there are."""
        if self._is_parquet:
            return int(_parquet().ParquetFile(self.path).metadata.num_rows)
        with self._open() as file:
            return max(0, sum(1 for _ in file) - 1)

    def rows(self) -> Iterator[list[object]]:
        """The rows, in the order of the file."""
        if not self._is_parquet:
            lines = self._csv()
            next(lines)
            yield from lines
            return
        for batch in _parquet().ParquetFile(self.path).iter_batches(batch_size=BATCH_ROWS):
            columns = [batch.column(i).to_pylist() for i in range(batch.num_columns)]
            yield from ([column[i] for column in columns] for i in range(batch.num_rows))

    def _csv(self) -> Iterator[list[object]]:
        with self._open() as file:
            try:
                yield from csv.reader(file, delimiter=self._separator)
            except (csv.Error, UnicodeDecodeError, EOFError, OSError) as error:
                raise MappingError(f"{self.path}: {error}") from error

    def _open(self) -> io.TextIOWrapper:
        raw = gzip.GzipFile(self.path) if self.path.suffix == ".gz" else self.path.open("rb")
        return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")

    def _parquet_columns(self) -> list[object]:
        try:
            return list(_parquet().ParquetFile(self.path).schema_arrow.names)
        except (ValueError, OSError) as error:
            raise MappingError(f"{self.path}: {error}") from error


def _parquet() -> Any:
    try:
        import pyarrow.parquet  # noqa: PLC0415 - only who replays Parquet needs it
    except ImportError as error:
        raise MappingError("Parquet needs pyarrow: pip install towntwin[replay]") from error
    return pyarrow.parquet
