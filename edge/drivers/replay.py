"""A driver that plays a recorded file at any speed, keeping or shifting its times."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from edge.drivers import Pack
from edge.drivers.mapping import Mapping, MappingError, targets
from edge.drivers.tables import Table
from edge.wire.senml import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACK_READINGS = 100
PACK_SPAN_S = 86_400.0


class Measured(NamedTuple):
    """A series that a recording will give."""

    site: str
    quantity: str
    channel: str


class Recording:
    """One recorded file and what its columns mean.

    Attributes
    ----------
    skipped : why cells and rows were left out, with counts; complete once every driver has ended

    """

    def __init__(self, path: Path, mapping: Mapping) -> None:
        self._mapping = mapping
        self._table = Table(path, mapping.separator)
        names = [str(name) for name in self._table.columns]
        self._targets = targets(mapping, names, path)
        self._time = self._time_index(names)
        self._zone = ZoneInfo(mapping.time.zone)
        self.skipped: Counter[str] = Counter()

    def series(self) -> list[Measured]:
        """The series that it gives."""
        return sorted({Measured(one.site, one.quantity.name, one.channel) for one in self._targets})

    def total(self) -> int:
        """How many readings it gives at most: every cell of a mapped column."""
        return self._table.count() * len(self._targets)

    def first_s(self) -> float:
        """Its first measured time, Unix seconds [s]."""
        for row_number, row in enumerate(self._table.rows()):
            time_s = self._measured(row_number, row)
            if time_s is not None:
                return time_s
        raise MappingError(f"{self._table.path}: no row has a time that can be read")

    def last_s(self) -> float:
        """Its last measured time, Unix seconds [s]."""
        last = None
        for row_number, row in enumerate(self._table.rows()):
            last = self._measured(row_number, row) or last
        if last is None:
            raise MappingError(f"{self._table.path}: no row has a time that can be read")
        return last

    @property
    def device(self) -> str:
        """The device that plays it: the file's name up to the first dot."""
        return self._table.path.name.split(".", 1)[0]

    def packs(self, *, shift_s: float = 0.0, per_pack: int = PACK_READINGS) -> Iterator[Pack]:
        """Packs of about ``per_pack`` readings, each due when its last one was measured.

        ``shift_s`` is added to every time [s]. What is left out is counted in `skipped`.
        """
        records: list[Record] = []
        newest_s = -math.inf
        for time_s, row in self._rows():
            if time_s is None or time_s <= newest_s:
                self.skipped["rows whose time can't be read" if time_s is None else "rows out of order"] += 1
                continue
            if records and (len(records) >= per_pack or time_s + shift_s - records[0].time_s > PACK_SPAN_S):
                yield Pack(due_s=records[-1].time_s, records=records)
                records = []
            newest_s = time_s
            records.extend(self._records(time_s + shift_s, row))
        if records:
            yield Pack(due_s=records[-1].time_s, records=records)

    def _records(self, time_s: float, row: list[object]) -> Iterator[Record]:
        for column in self._targets:
            value = self._number(row[column.at]) if column.at < len(row) else None
            if value is not None:
                yield Record(
                    name=column.channel,
                    time_s=time_s,
                    value=value * column.scale + column.offset,
                    unit=column.quantity.wire_unit,
                )

    def _time_index(self, names: list[str]) -> int | None:
        column = self._mapping.time.column
        if column is None:
            return None
        if column not in names:
            raise MappingError(
                f"{self._table.path}: no column {column!r} for the time; it has {', '.join(names[:12])}"
            )
        return names.index(column)

    def _measured(self, row_number: int, row: list[object]) -> float | None:
        """When a row was measured, or None where its time can't be read."""
        time = self._mapping.time
        if self._time is None:
            assert time.start is not None  # noqa: S101 - the mapping was checked
            begin = time.start if time.start.tzinfo else time.start.replace(tzinfo=self._zone)
            return (begin + timedelta(seconds=row_number * (time.step_s or 0))).timestamp()
        try:
            return self._parse(row[self._time])
        except (ValueError, TypeError, IndexError, OverflowError):
            return None

    def _parse(self, cell: object) -> float:
        if self._mapping.time.format == "unix":
            return float(str(cell))
        if isinstance(cell, datetime):
            moment = cell
        elif self._mapping.time.format:
            moment = datetime.strptime(str(cell), self._mapping.time.format)  # noqa: DTZ007 - the zone follows
        else:
            moment = datetime.fromisoformat(str(cell))
        return (moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).astimezone(UTC).timestamp()

    def _rows(self) -> Iterator[tuple[float | None, list[object]]]:
        """Every row with when it was measured."""
        for row_number, row in enumerate(self._table.rows()):
            yield self._measured(row_number, row), row

    def _number(self, cell: object) -> float | None:
        """The number in a cell; None where there is none, which is counted."""
        text = cell if isinstance(cell, int | float) else str(cell).strip() if cell is not None else ""
        if text in self._mapping.missing:
            self.skipped["cells without a value"] += 1
            return None
        try:
            value = float(text)
        except ValueError:
            self.skipped["cells that are no number"] += 1
            return None
        if not math.isfinite(value):
            self.skipped["cells without a value"] += 1
            return None
        return value


class Replay:
    """A recording as a driver, its times shifted by ``shift_s`` [s]."""

    recorded = True  # its times are no clock's: see `edge.wire.receipts.RECORDED`

    def __init__(self, recording: Recording, *, shift_s: float = 0.0) -> None:
        self._recording = recording
        self._shift_s = shift_s

    def packs(self) -> Iterator[Pack]:
        """Packs in the order of the file."""
        return self._recording.packs(shift_s=self._shift_s)
