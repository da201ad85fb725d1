"""Counts the rows that leave for each key, and writes an audit line once they amount to an export.

A key that exports again and again has some lines at once, and after that a line a minute that counts the
others: what can't be deleted must not be written without bound.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

EXPORT_ROWS = 10_000  # of pages, that make an export: one page of the largest size
AT_ONCE, ONE_EVERY_S = 10.0, 60.0  # lines of one key and route
MOST = 10_000  # keys and routes that are remembered


class _Left(NamedTuple):
    """Rows and answers without a line of their own, and the lines that may be written now."""

    rows: int
    answers: int
    lines: float
    as_of_s: float


class ExportLedger:
    """Counts rows by key and route, and tells when a line is due.

    >>> ledger = ExportLedger()
    >>> ledger.add("key:a", "GET /v1/readings", rows=9_000, is_file=False, now_s=0.0)
    >>> ledger.add("key:a", "GET /v1/readings", rows=1_000, is_file=False, now_s=1.0)
    {'rows': 10000, 'answers': 2}
    """

    def __init__(self) -> None:
        self._left: OrderedDict[tuple[str, str], _Left] = OrderedDict()

    def add(self, who: str, action: str, *, rows: int, is_file: bool, now_s: float) -> dict[str, Any] | None:
        """Count an answer; what its line has, where one is due."""
        old = self._left.pop((who, action), _Left(0, 0, AT_ONCE, now_s))
        lines = min(AT_ONCE, old.lines + (now_s - old.as_of_s) / ONE_EVERY_S)
        new = _Left(old.rows + rows, old.answers + 1, lines, now_s)
        is_due = (is_file or new.rows >= EXPORT_ROWS) and lines >= 1
        self._left[who, action] = _Left(0, 0, lines - 1, now_s) if is_due else new
        if len(self._left) > MOST:
            self._left.popitem(last=False)
        if not is_due:
            return None
        return ({"rows": new.rows} if new.rows else {}) | (
            {"answers": new.answers} if new.answers > 1 else {}
        )
