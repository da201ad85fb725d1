"""Counts the rows sent to each API key, and decides when they amount to an export that is audited.

The audit is append-only, so its growth is bounded: a key that exports repeatedly gets a burst of entries, and
then one a minute with the sums of the responses since the last one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

EXPORT_THRESHOLD_ROWS = 10_000  # summed over pages: one page of the largest size is an export
MAX_BURST_ENTRIES, ENTRY_INTERVAL_S = 10.0, 60.0  # audit entries of one key and route
MAX_COUNTED_KEYS = 10_000  # pairs of key and route with a counter; the least recently used is dropped


class _PendingExport(NamedTuple):
    """Rows and responses since the last audit entry, and the entries that may be written now."""

    rows: int
    n_responses: int
    available_entries: float
    updated_s: float


class ExportCounter:
    """Counts rows by key and route, and reports when an audit entry is due.

    >>> ledger = ExportCounter()
    >>> ledger.add("key:a", "GET /v1/readings", rows=9_000, is_file=False, now_s=0.0)
    >>> ledger.add("key:a", "GET /v1/readings", rows=1_000, is_file=False, now_s=1.0)
    {'rows': 10000, 'answers': 2}
    """

    def __init__(self) -> None:
        self._pending: OrderedDict[tuple[str, str], _PendingExport] = OrderedDict()

    def add(
        self, principal_id: str, action: str, *, rows: int, is_file: bool, now_s: float
    ) -> dict[str, Any] | None:
        """Count a response; return the counts for an audit entry where one is due, else None."""
        old = self._pending.pop((principal_id, action), _PendingExport(0, 0, MAX_BURST_ENTRIES, now_s))
        available_entries = min(
            MAX_BURST_ENTRIES, old.available_entries + (now_s - old.updated_s) / ENTRY_INTERVAL_S
        )
        new = _PendingExport(old.rows + rows, old.n_responses + 1, available_entries, now_s)
        entry_is_due = (is_file or new.rows >= EXPORT_THRESHOLD_ROWS) and available_entries >= 1
        self._pending[principal_id, action] = (
            _PendingExport(0, 0, available_entries - 1, now_s) if entry_is_due else new
        )
        if len(self._pending) > MAX_COUNTED_KEYS:
            self._pending.popitem(last=False)
        if not entry_is_due:
            return None
        return ({"rows": new.rows} if new.rows else {}) | (
            {"answers": new.n_responses} if new.n_responses > 1 else {}
        )
