"""Tests what `towntwin up` shows on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from deploy.up.terminal_display import TerminalDisplay
from ingest_service.storage.contract.models import Directory
from ingest_service.storage.memory.store import MemoryStore

ADDRESS = "http://127.0.0.1:8080/login#tt_081cc9ad220b_" + "af7fbc2490b9e38a" * 4


def test_a_narrow_terminal_folds_the_key_and_cuts_nothing() -> None:
    display = TerminalDisplay([("console", ADDRESS)])
    view = display._live_view(MemoryStore().health(), None, [], Directory(), [])
    narrow = Console(width=80, file=io.StringIO())
    with narrow.capture() as shown:
        narrow.print(view)
    text = "".join(line.strip("│ ") for line in shown.get().splitlines())
    assert ADDRESS in text
    assert "…" not in text
