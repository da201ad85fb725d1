"""What became of each row and cell of a recorded file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

NOTES = 5  # sentences that one file keeps at most for each reason


class Reason(NamedTuple):
    """Why something was left out: a sentence's end, what is counted, and whether data are lost by it."""

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
"""Every reason by its name, which is also what ``--allow`` takes."""


@dataclass(slots=True)
class Account:
    """What became of one file.

    Attributes
    ----------
    rows : rows of data that were found; blank lines are none
    rows_taken : rows with a time and a site; ``rows`` less those that were left out whole
    cells : cells of mapped columns in the rows that were taken
    readings : cells that hold a number
    rows_in_conflict : rows with a value that another row of the same time and series contradicts
    left_out : how many rows, cells or readings were left out, by reason
    notes : sentences with file and line; some for each reason

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
        """Count one that is left out; the first few are noted with their place."""
        self.left_out[reason] += 1
        if self.wants_note(reason):
            detail = f": {what}" if what else ""
            self.note(reason, f"{self.path}, {where}: left out ({reason}){detail}")

    def wants_note(self, reason: str) -> bool:
        """Whether another sentence of this kind is kept."""
        return REASONS.get(reason, _NOTE).lost and self._noted[reason] < NOTES

    def note(self, kind: str, sentence: str) -> None:
        """Keep a sentence, unless there are enough of its kind."""
        if self._noted[kind] < NOTES:
            self.notes.append(sentence)
        self._noted[kind] += 1


_NOTE = Reason("", "", lost=True)


def described(error: BaseException) -> str:
    """An error in a few words."""
    if isinstance(error, EOFError):
        return "the compressed data end before their end marker"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0][:200]
