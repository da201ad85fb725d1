"""Recorded files as rows: which kind of file one is, and what each kind gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edge.drivers.mapping import Mapping, MappingError
from edge.drivers.parquet_table import ParquetTable
from edge.drivers.text_table import TextTable

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from edge.drivers.account import Account

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"


class Table(Protocol):
    """One file: the names of its columns, and its rows."""

    names: list[str]

    def positions(self, wanted: Sequence[int]) -> list[int]:
        """Where the wanted columns stand in the rows that `rows` gives."""
        ...

    def rows(self, account: Account) -> Generator[Sequence[object]]:
        """The rows, in the order of the file; each may be shorter or longer than the names."""
        ...

    def where(self) -> str:
        """The place of the row that was given last."""
        ...


def open_table(path: Path, mapping: Mapping) -> Table:
    """Open a file by what it holds, not by its name. Raises `MappingError`."""
    if path.is_dir():
        raise MappingError(f"{path} is a folder: name the files in it")
    if not path.is_file():
        raise MappingError(f"{path} is no file that can be read")
    try:
        with path.open("rb") as file:
            magic = file.read(16)
    except OSError as error:
        raise MappingError(f"{path} can't be read: {error.strerror}") from error
    if magic.startswith(PARQUET) or path.suffix == ".parquet":
        return ParquetTable(path)
    return TextTable(path, mapping, zipped=magic.startswith(GZIP))
