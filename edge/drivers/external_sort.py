"""Sorts rows of numbers by time in bounded memory: an external merge sort on one temporary file."""

from __future__ import annotations

import heapq
import operator
import os
import tempfile
import weakref
from array import array
from itertools import chain, pairwise
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Row = tuple[float, ...]

CELLS_IN_MEMORY = 262_144  # about 8 MiB as Python numbers
ITEM_BYTES = 8


class SortedRows:
    """Accepts rows ``(time, …)`` of one width in any order, and returns them sorted by time.

    The sort is stable. Memory is bounded; other rows are in an unnamed temporary file, which is deleted with
    this object.

    Parameters
    ----------
    width : numbers in a row, including the time

    Attributes
    ----------
    first_s, last_s : smallest and largest time flushed so far [s]

    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._chunk_rows = max(64, CELLS_IN_MEMORY // width)
        self._chunk: list[Row] = []
        self._file = cast("BinaryIO", tempfile.TemporaryFile(prefix="towntwin-"))  # noqa: SIM115 - closed by the finalizer
        self._close = weakref.finalize(self, self._file.close)
        self._runs: list[list[int]] = []  # [first row, number of rows] of each sorted run
        self._rows = 0
        self._last = -float("inf")
        self.first_s, self.last_s = float("inf"), -float("inf")
        self._has_ties = False

    @property
    def in_order(self) -> bool:
        """Whether the rows were appended in strictly increasing order of time."""
        return len(self._runs) <= 1 and not self._has_ties

    def append(self, row: Row) -> None:
        """Add one row."""
        self._chunk.append(row)
        if len(self._chunk) >= self._chunk_rows:
            self.flush()

    def flush(self) -> None:
        """Write the rows in memory to the file."""
        rows, self._chunk = self._chunk, []
        if not rows:
            return
        times = [row[0] for row in rows]
        if not all(map(operator.lt, times, times[1:])):
            if not all(map(operator.le, times, times[1:])):
                rows.sort(key=operator.itemgetter(0))
                times = [row[0] for row in rows]
            self._has_ties = self._has_ties or any(one == other_count for one, other_count in pairwise(times))
        if not self._runs or times[0] < self._last:
            self._runs.append([self._rows, 0])
        elif times[0] == self._last:
            self._has_ties = True
        self._file.write(array("d", chain.from_iterable(rows)).tobytes())
        self._runs[-1][1] += len(rows)
        self._rows += len(rows)
        self._last = times[-1]
        self.first_s, self.last_s = min(self.first_s, times[0]), max(self.last_s, times[-1])
        self._file.flush()

    def rows(self) -> Iterator[Row]:
        """Yield every row by time. No rows may be appended after this."""
        self.flush()
        rows_at_once = max(16, self._chunk_rows // max(1, len(self._runs)))
        runs = [self._read_run(first, rows, rows_at_once) for first, rows in self._runs]
        if len(runs) == 1:
            return runs[0]
        return heapq.merge(*runs, key=operator.itemgetter(0))

    def close(self) -> None:
        """Delete the temporary file."""
        self._close()

    def _read_run(self, first: int, rows: int, rows_at_once: int) -> Iterator[Row]:
        """Yield the rows of one run; runs may be read concurrently, for each has its own file offset."""
        row_bytes = self._width * ITEM_BYTES
        for first_row in range(first, first + rows, rows_at_once):
            byte_count = min(rows_at_once, first + rows - first_row) * row_bytes
            numbers = array("d")
            numbers.frombytes(os.pread(self._file.fileno(), byte_count, first_row * row_bytes))
            yield from zip(*[iter(numbers)] * self._width, strict=True)


def group_by_time(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Group consecutive rows of the same time."""
    group: list[Row] = []
    for row in rows:
        if group and row[0] != group[0][0]:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def without_repeats(
    rows: SortedRows,
    width: int,
    slots_of: Callable[[int], list[int]],
    on_repeat: Callable[[Row, int, int], None],
) -> SortedRows:
    """Sort rows by time, keeping at most one value for each series and time: the first.

    Parameters
    ----------
    slots_of : maps the layout number of a row (its second number) to the series of its values
    on_repeat : called for each row of which values are dropped, with the number of those equal to the
        kept value, and the number of those that differ

    """
    without_repeats_rows = SortedRows(width)
    for group in group_by_time(rows.rows()):
        if len(group) == 1:
            without_repeats_rows.append(group[0])
            continue
        value_of_slot: dict[int, float] = {}
        for row in group:
            values, any_kept, same_count, other_count = list(row), False, 0, 0
            for first_row, slot in enumerate(slots_of(int(row[1])), start=2):
                value = values[first_row]
                if value != value:  # noqa: PLR0124 - NaN: no value
                    continue
                if slot in value_of_slot:
                    same_count += value_of_slot[slot] == value
                    other_count += value_of_slot[slot] != value
                    values[first_row] = float("nan")
                else:
                    value_of_slot[slot] = value
                    any_kept = True
            if same_count or other_count:
                on_repeat(row, same_count, other_count)
            if any_kept:
                without_repeats_rows.append(tuple(values))
    without_repeats_rows.flush()
    rows.close()
    return without_repeats_rows
