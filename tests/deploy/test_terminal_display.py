"""Tests what `towntwin up` shows on a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from deploy.up.terminal_display import PRINTED_ABOVE, TerminalDisplay
from ingest_service.storage.contract.models import Directory
from ingest_service.storage.memory.store import MemoryStore

KEY = "tt_081cc9ad220b_" + "af7fbc2490b9e38a" * 4
ADDRESS = f"http://127.0.0.1:8080/login#{KEY}"
ADDRESSES = [("console", ADDRESS), ("key", KEY), ("API", "http://127.0.0.1:8080/docs")]


def shown_on_terminal(width: int) -> str:
    """What a terminal of this width receives in two updates, without its control sequences."""
    out = io.StringIO()
    console = Console(width=width, height=24, file=out, force_terminal=True)
    with TerminalDisplay(ADDRESSES, console) as display:
        for _ in range(2):
            display.show(MemoryStore().health(), None, [], Directory(), [], now_s=0.0)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "")


@pytest.mark.parametrize("width", [40, 80, 100])
def test_a_narrow_terminal_does_not_fold_the_key_and_the_login_address(width: int) -> None:
    text = shown_on_terminal(width)
    assert text.count(f"console:\n{ADDRESS}\n") == 1, (
        "a line of its own, that a mouse selects and copies whole"
    )
    assert text.count(f"key:\n{KEY}\n") == 1
    assert PRINTED_ABOVE in text
    assert "http://127.0.0.1:8080/docs" in text if width >= 80 else True
    assert "…" not in text


def test_a_wide_terminal_shows_every_address_in_the_panel() -> None:
    text = shown_on_terminal(160)
    assert f" {ADDRESS} " in text
    assert f" {KEY} " in text
    assert PRINTED_ABOVE not in text
