"""Opens a recorded file as a table of rows: detects Parquet, gzip or separated text by content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edge.drivers.file_mapping import FileMapping, MappingError
from edge.drivers.parquet_table import ParquetTable
from edge.drivers.text_table import TextTable

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from edge.drivers.file_report import FileReport

GZIP_MAGIC, PARQUET_MAGIC = b"\x1f\x8b", b"PAR1"


class RecordedTable(Protocol):
    """A file with named columns and rows."""

    names: list[str]

    def positions(self, column_positions: Sequence[int]) -> list[int]:
        """Return the positions of the wanted columns in the rows of `rows`."""
        ...

    def rows(self, account: FileReport) -> Generator[Sequence[object]]:
        """Yield the rows in the order of the file; each may be shorter or longer than the names."""
        ...

    def position_text(self) -> str:
        """Return the line or row number of the last row, as text."""
        ...


def open_table(path: Path, mapping: FileMapping) -> RecordedTable:
    """Open a file by its content, not its name (except ``.parquet``). Raises `MappingError`."""
    if path.is_dir():
        raise MappingError(f"{path} is a folder: name the files in it")
    if not path.is_file():
        raise MappingError(f"{path} is no file that can be read")
    try:
        with path.open("rb") as file:
            magic = file.read(16)
    except OSError as error:
        raise MappingError(f"{path} can't be read: {error.strerror}") from error
    if magic.startswith(PARQUET_MAGIC) or path.suffix == ".parquet":
        return ParquetTable(path)
    return TextTable(path, mapping, is_gzipped=magic.startswith(GZIP_MAGIC))
