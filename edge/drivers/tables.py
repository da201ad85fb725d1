"""Rows of recorded files, a few at a time: CSV (plain or gzipped, in any encoding) and Parquet.

What can't be read is left out and entered into the file's account; the rest is read on.
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import gzip
import io
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from edge.drivers.mapping import Mapping, MappingError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from edge.drivers.account import Account

BATCH_ROWS = 4096
LINE_CHARACTERS = 1 << 20  # a longer line is no row, and is not to fill the memory
HEAD_BYTES = 4096
NOT_DECODED = "\ufffd"
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, OSError)
OTHER_KINDS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV",
    b"%PDF": "a PDF: tables in it can't be read",
    b"SQLite format 3": "an SQLite database: export its table as CSV",
    b"{": "JSON: make it CSV or Parquet",
    b"<": "HTML or XML: make it CSV or Parquet",
}
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"

_bytes_not_decoded = 0


def _count_and_replace(error: UnicodeError) -> tuple[str, int]:
    """Decode what is no text to one sign, and count it."""
    global _bytes_not_decoded  # noqa: PLW0603 - codecs call it by name alone
    _bytes_not_decoded += 1
    return NOT_DECODED, cast("UnicodeDecodeError", error).end


codecs.register_error("towntwin-count", _count_and_replace)


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


class TextTable:
    """A file of separated values."""

    def __init__(self, path: Path, mapping: Mapping, *, zipped: bool) -> None:
        self._path, self._mapping, self._zipped = path, mapping, zipped
        self._reader: Any = None
        self._before = 0
        try:
            self._encoding = mapping.encoding or self._encoding_of(self._head())
            with self._opened() as file:
                self.names = mapping.names or self._header(file)
        except DAMAGED as error:
            raise MappingError(f"{path} can't be read: {_told(error)}") from error
        except (csv.Error, UnicodeError) as error:
            raise MappingError(f"{path}: its line of names can't be read: {error}") from error
        if not any(self.names):
            raise MappingError(f"{path} is empty: a line must name the columns, or names in the mapping")

    def positions(self, wanted: Sequence[int]) -> list[int]:
        """Rows hold every column."""
        return list(wanted)

    def where(self) -> str:
        """The line that the reader is at, counted from 1."""
        return f"line {self._before + (self._reader.line_num if self._reader is not None else 0)}"

    def rows(self, account: Account) -> Generator[list[object]]:
        """The rows; those that can't be taken apart are entered into the account."""
        with self._opened() as file:
            try:
                begun = _bytes_not_decoded
                if self._mapping.names is None:
                    begun += self._note_undecoded(self._header(file), account)
                else:
                    self._skip(file, self._mapping.skip_before)
                self._skip(file, self._mapping.skip_after)
                yield from self._data(account, begun)
            except (*DAMAGED, UnicodeError) as error:
                account.leave_out("cut-file", self.where(), f"{_told(error)}; what follows is lost")

    def _data(self, account: Account, begun: int) -> Iterator[list[object]]:
        """The rows after the names; ``begun`` is how many bytes that are no text were found before them."""
        while True:
            try:
                for row in self._reader:
                    if _bytes_not_decoded != begun:
                        begun += self._note_undecoded(row, account)
                    yield row
            except csv.Error as error:
                account.rows += 1
                account.leave_out("unreadable", self.where(), f"{error}: is a quote not closed?")
            else:
                return

    def _note_undecoded(self, row: list[str], account: Account) -> int:
        """Note a row with bytes that are no text; returns how many."""
        found = sum(cell.count(NOT_DECODED) for cell in row)
        if found:
            encoding = "UTF-8" if self._encoding == "utf-8-sig" else self._encoding
            account.note(
                "encoding",
                f"{self._path}, {self.where()}: {found} of its bytes are not {encoding}: "
                'give the mapping an encoding, such as encoding = "gb18030" or "latin-1"',
            )
        return found

    def _header(self, file: io.TextIOWrapper) -> list[str]:
        self._skip(file, self._mapping.skip_before)
        row: list[str] = next((row for row in self._reader if row), [])
        return [cell.strip().lstrip("\ufeff") for cell in row]

    def _skip(self, file: io.TextIOWrapper, lines: int) -> None:
        """Leave out some lines, and read on by a reader."""
        if self._reader is None:
            self._reader = csv.reader(self._lines(file), delimiter=self._mapping.separator)
        for _ in range(lines):
            self._before += 1
            file.readline(LINE_CHARACTERS)

    def _lines(self, file: io.TextIOWrapper) -> Iterator[str]:
        lines = iter(partial(file.readline, LINE_CHARACTERS), "")
        comment = self._mapping.comment
        return lines if comment is None else self._without(comment, lines)

    def _without(self, comment: str, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            if line.startswith(comment):
                self._before += 1
            else:
                yield line

    def _opened(self) -> io.TextIOWrapper:
        self._reader, self._before = None, 0
        return io.TextIOWrapper(self._raw(), encoding=self._encoding, errors="towntwin-count", newline="")

    def _raw(self) -> BinaryIO:
        return cast("BinaryIO", gzip.GzipFile(self._path) if self._zipped else self._path.open("rb"))

    def _head(self) -> bytes:
        with self._raw() as file:
            return file.read(HEAD_BYTES)

    def _encoding_of(self, head: bytes) -> str:
        """By the byte order mark, else UTF-8. Raises `MappingError` for what is no text."""
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        for magic, what in OTHER_KINDS.items():
            if head.lstrip().startswith(magic):
                raise MappingError(f"{self._path} is {what}")
        if head.count(0) > len(head) // 4:
            name = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
            raise MappingError(
                f'{self._path} is no text in UTF-8: it may be UTF-16, encoding = "{name}", or no text at all'
            )
        return "utf-8-sig"


class ParquetTable:
    """A Parquet file; only the columns that are asked for are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wanted: list[int] = []
        self._row = 0
        try:
            with _parquet().ParquetFile(path) as file:
                self.names = [str(name) for name in file.schema_arrow.names]
        except (ValueError, OSError, NotImplementedError) as error:
            raise MappingError(f"{path} can't be read as Parquet: {_told(error)}") from error
        if not self.names:
            raise MappingError(f"{path} has no columns")

    def positions(self, wanted: Sequence[int]) -> list[int]:
        """Rows hold the wanted columns alone."""
        self._wanted = sorted(set(wanted))
        for at in self._wanted:
            if self.names.count(self.names[at]) > 1:
                raise MappingError(f"{self._path}: two columns are called {self.names[at]!r}: rename one")
        return [self._wanted.index(at) for at in wanted]

    def where(self) -> str:
        """The row that was given last, counted from 1."""
        return f"row {self._row}"

    def rows(self, account: Account) -> Generator[tuple[object, ...]]:
        """The rows; where the file is damaged they end, and the account has it."""
        names = [self.names[at] for at in self._wanted]
        self._row = 0
        try:
            with _parquet().ParquetFile(self._path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names):
                    columns = [_cells(batch.column(name)) for name in names]
                    for row in zip(*columns, strict=True):
                        self._row += 1
                        yield row
        except (ValueError, OSError, NotImplementedError, KeyError) as error:
            account.leave_out("cut-file", f"after row {self._row}", f"{_told(error)}; what follows is lost")


def _cells(column: Any) -> list[object]:
    """The cells of a column; times to the microsecond, those that no calendar has as None."""
    import pyarrow as pa  # noqa: PLC0415 - only who replays Parquet needs it

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_timestamp(kind):
        begin = dt.datetime(1970, 1, 1, tzinfo=dt.UTC if kind.tz else None)
        scale = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}[kind.unit]
        less = 1_000 if kind.unit == "ns" else 1
        ticks = column.cast(pa.int64()).to_pylist()
        return [None if tick is None else _moment(begin, tick * scale // less) for tick in ticks]
    if pa.types.is_time(kind):
        column = column.cast(pa.time64("us"), safe=False)
    try:
        cells: list[object] = column.to_pylist()
    except (ValueError, OverflowError, NotImplementedError):
        return [_cell(one) for one in column]
    return cells


def _cell(one: Any) -> object:
    try:
        found: object = one.as_py()
    except (ValueError, OverflowError, NotImplementedError):
        return None
    return found


def _moment(begin: dt.datetime, micros: int) -> dt.datetime | None:
    try:
        return begin + dt.timedelta(microseconds=micros)
    except OverflowError:
        return None


def _told(error: BaseException) -> str:
    """An error in a few words."""
    if isinstance(error, EOFError):
        return "the compressed data end before their end marker"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0][:200]


def _parquet() -> Any:
    try:
        import pyarrow.parquet  # noqa: PLC0415 - only who replays Parquet needs it
    except ImportError as error:
        raise MappingError("Parquet needs pyarrow: pip install towntwin[replay]") from error
    return pyarrow.parquet
