"""Driver that replays recorded files, with their original or shifted times.

A `Recording` consists of the files of one device: they are read once, row by row, into temporary rows sorted
by time, with a report per file; the driver then replays these rows.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge.drivers import Pack, column_layout
from edge.drivers.external_sort import SortedRows, without_repeats
from edge.drivers.file_mapping import FileMapping, MappingError
from edge.drivers.file_report import SKIP_REASONS, FileReport
from edge.drivers.recorded_file import RecordedFile, RowReader
from edge.wire.senml import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from edge.drivers.column_layout import ColumnTarget

PACK_READINGS = 100
PACK_SPAN_S = 86_400.0
EARLIEST_S = 946_684_800.0  # 2000-01-01: ingest treats earlier times as those of a clock that was never set
MAX_CONFLICT_SHARE, MAX_SINGLE_CONFLICT_SHARE = (
    0.1,
    0.4,
)  # share of rows: if more are in conflict, the mapping must be wrong


class RecordedSeries(NamedTuple):
    """A series contained in a recording."""

    site: str
    quantity: str
    channel: str


class Recording:
    """The recorded files of one device.

    Parameters
    ----------
    paths : the file, or the files, of the device, as paths or opened already

    """

    def __init__(
        self,
        paths: Path | Sequence[Path] | Sequence[RecordedFile],
        mapping: FileMapping,
        device: str | None = None,
    ) -> None:
        given = [paths] if isinstance(paths, Path) else paths
        self.files = [RecordedFile(one, mapping) if isinstance(one, Path) else one for one in given]
        self.device = device or column_layout.file_id(self.files[0].path)
        self._mapping = mapping
        self._series: list[RecordedSeries] = []
        self._units: list[str] = []
        self._slots: dict[RecordedSeries, int] = {}
        self._layouts: list[tuple[RecordedFile, list[int]]] = []
        self._rows: SortedRows | None = None
        self._width = 2 + max(len(one.layout.targets) for one in self.files)
        if mapping.station is None:
            for file in self.files:
                for target in file.layout.targets:
                    self._slot(target, target.site)

    def series(self) -> list[RecordedSeries]:
        """Return the series of the recording; with a station column, all rows are read for this."""
        if self._mapping.station is not None:
            self.read()
        return sorted(self._series)

    def total(self) -> int:
        """Return the number of readings."""
        self.read()
        return self._readings()

    def first_s(self) -> float:
        """Return the first measured time, Unix seconds [s]."""
        return self._sorted().first_s

    def last_s(self) -> float:
        """Return the last measured time, Unix seconds [s]."""
        return self._sorted().last_s

    @property
    def accounts(self) -> list[FileReport]:
        """Reports on the files."""
        return [one.account for one in self.files]

    @property
    def skipped(self) -> Counter[str]:
        """Counts of rows, cells and readings left out, by description of the reason."""
        left_out = sum((one.left_out for one in self.accounts), Counter[str]())
        return Counter({SKIP_REASONS[reason].text: count for reason, count in left_out.items()})

    # -- reading -------------------------------------------------------------------------------

    def read(self) -> None:
        """Read every row, unless that was done; afterwards the reports and counts are complete.

        Raises `MappingError` if there is nothing to replay, or if so many values are in conflict that the
        mapping must be wrong.
        """
        if self._rows is not None:
            return
        sorted_rows = SortedRows(self._width)
        try:
            for file in self.files:
                RowReader(file, self._layout_of(file)).read_into(sorted_rows, self._width)
            sorted_rows.flush()
        except OSError as error:
            raise MappingError(f"scratch rows of {self.device} can't be written: {error.strerror}") from error
        if not sorted_rows.in_order:
            sorted_rows = without_repeats(
                sorted_rows, self._width, lambda number: self._layouts[number][1], self._count_conflicts
            )
            self._check_conflicts()
        if not self._readings():
            raise MappingError(self._empty_message())
        self._rows = sorted_rows

    def _sorted(self) -> SortedRows:
        self.read()
        assert self._rows is not None  # noqa: S101 - `read` sets it
        return self._rows

    def _readings(self) -> int:
        """Return the number of readings without repeats and conflicts."""
        return sum(one.readings - one.left_out["repeat"] - one.left_out["conflict"] for one in self.accounts)

    def _layout_of(self, file: RecordedFile) -> Callable[[str], int]:
        """Build a function from a row's station to the number of its layout."""
        layout_numbers: dict[str, int] = {}

        def number(station: str) -> int:
            if station not in layout_numbers:
                slots = [
                    self._slot(target, target.site.replace("{station}", station))
                    for target in file.layout.targets
                ]
                layout_numbers[station] = len(self._layouts)
                self._layouts.append((file, slots))
            return layout_numbers[station]

        return number

    def _slot(self, target: ColumnTarget, site: str) -> int:
        """Return the number of a series in this recording; adds new ones."""
        measured = RecordedSeries(site, target.quantity.name, f"{site}:{target.quantity.name}")
        if measured not in self._slots:
            self._slots[measured] = len(self._series)
            self._series.append(measured)
            self._units.append(target.quantity.wire_unit)
        return self._slots[measured]

    def _count_conflicts(self, row: tuple[float, ...], same: int, other: int) -> None:
        account = self._layouts[int(row[1])][0].account
        account.left_out["repeat"] += same
        if other:
            account.left_out["conflict"] += other
            account.rows_in_conflict += 1
            when = dt.datetime.fromtimestamp(row[0], dt.UTC).isoformat()
            account.note(
                "conflict",
                f"{account.path}: {other} left out (conflict): other values of {when} were read before",
            )

    def _check_conflicts(self) -> None:
        for file in self.files:
            conflicting_rows, rows = file.account.rows_in_conflict, file.account.rows_taken
            if (
                conflicting_rows
                <= (MAX_CONFLICT_SHARE if conflicting_rows > 1 else MAX_SINGLE_CONFLICT_SHARE) * rows
            ):
                continue
            unmapped_columns = [
                repr(name)
                for position, name in enumerate(file.table.names)
                if position not in _mapped_positions(file)
            ]
            raise MappingError(
                f"{file.path}: {conflicting_rows:,} of {rows:,} rows have other values at a time that was "
                "read: "
                "does it hold several stations, one below the other? Then name their column in the mapping, "
                f'station = "…" (columns that are not mapped: {", ".join(unmapped_columns) or "none"}), or '
                "mend [time]"
            )

    def _empty_message(self) -> str:
        """Explain in one sentence why there is nothing to replay."""
        files = ", ".join(str(one.path) for one in self.files)
        notes = [note for one in self.accounts for note in one.notes]
        if not any(one.rows for one in self.accounts):
            return (
                f"{files}: there is no row of data; {notes[0] if notes else 'mend the file or skip_before'}"
            )
        if not any(one.rows_taken for one in self.accounts):
            return f"{files}: no row has a time that can be read; {notes[0] if notes else 'mend [time]'}"
        return f"{files}: no mapped cell holds a number; {notes[0] if notes else 'mend match or missing'}"

    # -- playing -------------------------------------------------------------------------------

    def leave_out_early(self, shift_s: float, earliest_s: float = EARLIEST_S) -> int:
        """Count the readings before ``earliest_s``, which `packs` omits, in the reports; return the total."""
        early = 0
        for row in self._sorted().rows() if self.first_s() + shift_s < earliest_s else ():
            if row[0] + shift_s >= earliest_s:
                break
            found = sum(value == value for value in row[2:])  # noqa: PLR0124 - not NaN
            account = self._layouts[int(row[1])][0].account
            account.left_out["before-2000"] += found
            early += found
        return early

    def packs(
        self,
        *,
        shift_s: float = 0.0,
        per_pack: int = PACK_READINGS,
        sites: Collection[str] | None = None,
        earliest_s: float = -math.inf,
    ) -> Iterator[Pack]:
        """Yield packs of about ``per_pack`` readings, each due at the measured time of its last reading.

        Parameters
        ----------
        shift_s : added to every time [s]
        sites : only series of these sites; None: all
        earliest_s : readings with an earlier time, after the shift, are left out [s]

        """
        rows = self._sorted().rows()
        channels_by_slot = [
            None if sites is not None and one.site not in sites else (one.channel, unit)
            for one, unit in zip(self._series, self._units, strict=True)
        ]
        layouts = [[channels_by_slot[slot] for slot in slots] for _, slots in self._layouts]
        records: list[Record] = []
        for row in rows:
            time_s = row[0] + shift_s
            if time_s < earliest_s:
                continue
            if records and (len(records) >= per_pack or time_s - records[0].time_s > PACK_SPAN_S):
                yield Pack(due_s=records[-1].time_s, records=records)
                records = []
            for channel, value in zip(layouts[int(row[1])], row[2:], strict=False):
                if value == value and channel is not None:  # noqa: PLR0124 - not NaN
                    records.append(Record(name=channel[0], time_s=time_s, value=value, unit=channel[1]))
        if records:
            yield Pack(due_s=records[-1].time_s, records=records)


class ReplayDriver:
    """Driver of a recording, with times shifted by ``shift_s`` [s]; of some sites, or of all."""

    recorded = True  # its times may be of any age: see `edge.wire.receipts.RECORDED`

    def __init__(
        self, recording: Recording, *, shift_s: float = 0.0, sites: Collection[str] | None = None
    ) -> None:
        self._recording = recording
        self._shift_s = shift_s
        self._sites = sites

    def packs(self) -> Iterator[Pack]:
        """Yield packs by time; readings that ingest would refuse as too old are left out."""
        return self._recording.packs(shift_s=self._shift_s, sites=self._sites, earliest_s=EARLIEST_S)


def _mapped_positions(file: RecordedFile) -> set[int | None]:
    return {*file.layout.time, file.layout.station, *(one.position for one in file.layout.targets)}
