"""Counts the rows, cells and readings of a recorded file, and those left out, by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

NOTES = 5  # sentences kept per file and reason


class Reason(NamedTuple):
    """Reason for leaving data out: description, unit of the count, and whether data are lost by it."""

    text: str
    of: str
    lost: bool


REASONS: dict[str, Reason] = {
    "no-time": Reason("rows whose time can't be read", "row", lost=True),
    "skipped-hour": Reason("rows in the hour that the start of summer time skips", "row", lost=True),
    "repeated-hour": Reason(
        "rows in the repeated hour at the end of summer time, in a file without order", "row", lost=True
    ),
    "blank": Reason("rows without anything in any cell", "row", lost=False),
    "ragged": Reason("rows with more cells than there are names", "row", lost=True),
    "unreadable": Reason("rows that can't be read", "row", lost=True),
    "no-station": Reason("rows whose station can't be a site id", "row", lost=True),
    "other-station": Reason("rows of stations that the mapping does not name", "row", lost=True),
    "cut-file": Reason("files that are damaged or end before their end", "file", lost=True),
    "short-row": Reason("cells that are absent from rows cut short", "cell", lost=True),
    "not-a-number": Reason("cells that are no number", "cell", lost=True),
    "no-value": Reason("cells without a value", "cell", lost=False),
    "repeat": Reason("readings that are in the files twice", "reading", lost=False),
    "conflict": Reason(
        "readings with another value at the same time of the same series", "reading", lost=True
    ),
    "before-2000": Reason(
        "readings measured before the year 2000, which the platform does not take", "reading", lost=True
    ),
}
"""Every reason by its name; ``--allow`` accepts these names."""


@dataclass(slots=True)
class Account:
    """Counts of one file.

    Attributes
    ----------
    rows : rows of data found, without blank lines
    rows_taken : rows with a time and a site; ``rows`` minus those left out completely
    cells : cells of mapped columns in the rows taken
    readings : cells with a number
    rows_in_conflict : rows with another value than an earlier row of the same time and series
    left_out : number of rows, cells or readings left out, by reason
    notes : sentences with file and line, at most `NOTES` per reason

    """

    path: Path
    rows: int = 0
    rows_taken: int = 0
    cells: int = 0
    readings: int = 0
    rows_in_conflict: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    _noted: Counter[str] = field(default_factory=Counter)

    def leave_out(self, reason: str, where: str, what: str = "") -> None:
        """Count a row, cell or reading left out; the first few are noted with file and line."""
        self.left_out[reason] += 1
        if self.wants_note(reason):
            detail = f": {what}" if what else ""
            self.note(reason, f"{self.path}, {where}: left out ({reason}){detail}")

    def wants_note(self, reason: str) -> bool:
        """Whether a further note of this reason would be kept."""
        return REASONS.get(reason, _NOTE).lost and self._noted[reason] < NOTES

    def note(self, kind: str, sentence: str) -> None:
        """Keep a note, unless there are `NOTES` of its kind already."""
        if self._noted[kind] < NOTES:
            self.notes.append(sentence)
        self._noted[kind] += 1


_NOTE = Reason("", "", lost=True)


def described(error: BaseException) -> str:
    """Describe an error in a few words."""
    if isinstance(error, EOFError):
        return "the compressed data end before their end marker"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0][:200]
