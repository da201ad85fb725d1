"""Reads rows of separated values, plain or gzipped, in any encoding.

Unreadable rows are left out and recorded in the file's report; reading continues after them.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from edge.drivers.column_layout import REPLACEMENT_CHARACTER
from edge.drivers.file_mapping import FileMapping, MappingError
from edge.drivers.file_report import describe_error

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from edge.drivers.file_report import FileReport

MAX_LINE_CHARACTERS = 1 << 20  # a longer line is not a row, and must not fill the memory
HEAD_BYTES = 4096
DAMAGED_FILE_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile, OSError)
OTHER_FILE_KINDS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV",
    b"%PDF": "a PDF: tables in it can't be read",
    b"SQLite format 3": "an SQLite database: export its table as CSV",
    b"{": "JSON: make it CSV or Parquet",
    b"<": "HTML or XML: make it CSV or Parquet",
}

_bytes_not_decoded = 0


def _count_and_replace(error: UnicodeError) -> tuple[str, int]:
    """Replace invalid bytes by one character, and count them."""
    global _bytes_not_decoded  # noqa: PLW0603 - codecs calls the handler without a context
    _bytes_not_decoded += 1
    return REPLACEMENT_CHARACTER, cast("UnicodeDecodeError", error).end


codecs.register_error("towntwin-count", _count_and_replace)


class TextTable:
    """A file of separated values."""

    def __init__(self, path: Path, mapping: FileMapping, *, is_gzipped: bool) -> None:
        self._path, self._mapping, self._is_gzipped = path, mapping, is_gzipped
        self._reader: Any = None
        self._skipped_lines = 0
        try:
            self._encoding = mapping.encoding or self._encoding_of(self._head())
            with self._open() as file:
                self.names = mapping.names or self._header(file)
        except DAMAGED_FILE_ERRORS as error:
            raise MappingError(f"{path} can't be read: {describe_error(error)}") from error
        except (csv.Error, UnicodeError) as error:
            raise MappingError(f"{path}: its line of names can't be read: {error}") from error
        if not any(self.names):
            raise MappingError(f"{path} is empty: a line must name the columns, or names in the mapping")

    def positions(self, column_positions: Sequence[int]) -> list[int]:
        """Return the positions unchanged: rows contain every column."""
        return list(column_positions)

    def position_text(self) -> str:
        """Return the number of the current line, counted from 1."""
        return f"line {self._skipped_lines + (self._reader.line_num if self._reader is not None else 0)}"

    def rows(self, account: FileReport) -> Generator[list[object]]:
        """Yield the rows; those that can't be parsed are recorded in the report."""
        with self._open() as file:
            try:
                undecoded_so_far = _bytes_not_decoded
                if self._mapping.names is None:
                    undecoded_so_far += self._note_undecodable(self._header(file), account)
                else:
                    self._skip(file, self._mapping.skip_before)
                self._skip(file, self._mapping.skip_after)
                yield from self._data(account, undecoded_so_far)
            except (*DAMAGED_FILE_ERRORS, UnicodeError) as error:
                account.leave_out(
                    "cut-file", self.position_text(), f"{describe_error(error)}; what follows is lost"
                )

    def _data(self, account: FileReport, undecoded_so_far: int) -> Iterator[list[object]]:
        """Yield the rows after the names; ``undecoded_so_far`` invalid bytes were found before them."""
        while True:
            try:
                for row in self._reader:
                    if _bytes_not_decoded != undecoded_so_far:
                        undecoded_so_far += self._note_undecodable(row, account)
                    yield row
            except csv.Error as error:
                account.rows += 1
                account.leave_out("unreadable", self.position_text(), f"{error} (is a quote not closed?)")
            else:
                return

    def _note_undecodable(self, row: list[str], account: FileReport) -> int:
        """Note a row with invalid bytes; returns their number."""
        found = sum(cell.count(REPLACEMENT_CHARACTER) for cell in row)
        if found:
            encoding = "UTF-8" if self._encoding == "utf-8-sig" else self._encoding
            account.note(
                "encoding",
                f"{self._path}, {self.position_text()}: {found} of its bytes are not {encoding}: "
                'give the mapping an encoding, such as encoding = "gb18030" or "latin-1"',
            )
        return found

    def _header(self, file: io.TextIOWrapper) -> list[str]:
        self._skip(file, self._mapping.skip_before)
        row: list[str] = next((row for row in self._reader if row), [])
        return [cell.strip().lstrip("\ufeff") for cell in row]

    def _skip(self, file: io.TextIOWrapper, lines: int) -> None:
        """Skip lines, and create the CSV reader if there is none yet."""
        if self._reader is None:
            self._reader = csv.reader(self._lines(file), delimiter=self._mapping.separator)
        for _ in range(lines):
            self._skipped_lines += 1
            file.readline(MAX_LINE_CHARACTERS)

    def _lines(self, file: io.TextIOWrapper) -> Iterator[str]:
        lines = iter(partial(file.readline, MAX_LINE_CHARACTERS), "")
        comment = self._mapping.comment
        return lines if comment is None else self._without_comments(comment, lines)

    def _without_comments(self, comment: str, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            if line.startswith(comment):
                self._skipped_lines += 1
            else:
                yield line

    def _open(self) -> io.TextIOWrapper:
        self._reader, self._skipped_lines = None, 0
        return io.TextIOWrapper(self._raw(), encoding=self._encoding, errors="towntwin-count", newline="")

    def _raw(self) -> BinaryIO:
        return cast("BinaryIO", gzip.GzipFile(self._path) if self._is_gzipped else self._path.open("rb"))

    def _head(self) -> bytes:
        with self._raw() as file:
            return file.read(HEAD_BYTES)

    def _encoding_of(self, head: bytes) -> str:
        """Detect the encoding by the byte order mark; default UTF-8. Raises `MappingError` if not text."""
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        for magic, kind_text in OTHER_FILE_KINDS.items():
            if head.lstrip().startswith(magic):
                raise MappingError(f"{self._path} is {kind_text}")
        if head.count(0) > len(head) // 4:
            name = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
            raise MappingError(
                f'{self._path} is no text in UTF-8: it may be UTF-16, encoding = "{name}", or no text at all'
            )
        return "utf-8-sig"
