"""Counts the rows, cells and readings of a recorded file, and those left out, by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

MAX_NOTES_PER_REASON = 5  # sentences kept per file and reason


class SkipReason(NamedTuple):
    """Reason for leaving data out: description, unit of the count, and whether data are lost by it."""

    text: str
    of: str
    lost: bool


SKIP_REASONS: dict[str, SkipReason] = {
    "no-time": SkipReason("rows whose time can't be read", "row", lost=True),
    "skipped-hour": SkipReason("rows in the hour that the start of summer time skips", "row", lost=True),
    "repeated-hour": SkipReason(
        "rows in the repeated hour at the end of summer time, in a file without order", "row", lost=True
    ),
    "blank": SkipReason("rows without anything in any cell", "row", lost=False),
    "ragged": SkipReason("rows with more cells than there are names", "row", lost=True),
    "unreadable": SkipReason("rows that can't be read", "row", lost=True),
    "no-station": SkipReason("rows whose station can't be a site id", "row", lost=True),
    "other-station": SkipReason("rows of stations that the mapping does not name", "row", lost=True),
    "cut-file": SkipReason("files that are damaged or end before their end", "file", lost=True),
    "short-row": SkipReason("cells that are absent from rows cut short", "cell", lost=True),
    "not-a-number": SkipReason("cells that are no number", "cell", lost=True),
    "no-value": SkipReason("cells without a value", "cell", lost=False),
    "repeat": SkipReason("readings that are in the files twice", "reading", lost=False),
    "conflict": SkipReason(
        "readings with another value at the same time of the same series", "reading", lost=True
    ),
    "before-2000": SkipReason(
        "readings measured before the year 2000, which the platform does not take", "reading", lost=True
    ),
}
"""Every reason by its name; ``--allow`` accepts these names."""


@dataclass(slots=True)
class FileReport:
    """Counts of one file.

    Attributes
    ----------
    rows : rows of data found, without blank lines
    rows_taken : rows with a time and a site; ``rows`` minus those left out completely
    cells : cells of mapped columns in the rows taken
    readings : cells with a number
    rows_in_conflict : rows with another value than an earlier row of the same time and series
    left_out : number of rows, cells or readings left out, by reason
    notes : sentences with file and line, at most `MAX_NOTES_PER_REASON` per reason

    """

    path: Path
    rows: int = 0
    rows_taken: int = 0
    cells: int = 0
    readings: int = 0
    rows_in_conflict: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    _note_counts: Counter[str] = field(default_factory=Counter)

    def leave_out(self, reason: str, where: str, what: str = "") -> None:
        """Count a row, cell or reading left out; the first few are noted with file and line."""
        self.left_out[reason] += 1
        if self.accepts_note(reason):
            detail = f": {what}" if what else ""
            self.note(reason, f"{self.path}, {where}: left out ({reason}){detail}")

    def accepts_note(self, reason: str) -> bool:
        """Whether a further note of this reason would be kept."""
        return (
            SKIP_REASONS.get(reason, _DEFAULT_REASON).lost
            and self._note_counts[reason] < MAX_NOTES_PER_REASON
        )

    def note(self, kind: str, sentence: str) -> None:
        """Keep a note, unless there are `MAX_NOTES_PER_REASON` of its kind already."""
        if self._note_counts[kind] < MAX_NOTES_PER_REASON:
            self.notes.append(sentence)
        self._note_counts[kind] += 1


_DEFAULT_REASON = SkipReason("", "", lost=True)


def describe_error(error: BaseException) -> str:
    """Describe an error in a few words."""
    if isinstance(error, EOFError):
        return "the compressed data end before their end marker"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0][:200]
