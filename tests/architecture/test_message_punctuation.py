"""Tests that no message of the platform has doubled punctuation, such as "did you mean 'x'?; there are …"."""

from __future__ import annotations

from pathlib import Path

from tests.support.message_punctuation import odd_punctuation, texts_in

ROOT = Path(__file__).parents[2]
PACKAGES = ("analytics", "dashboards", "deploy", "edge", "gateway", "ingest_service", "towntwin")


def test_no_message_has_doubled_punctuation_or_ends_with_an_open_question() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}: {text[-100:]!r}": odd
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, text in texts_in(path.read_text("utf-8"))
        if (odd := odd_punctuation(text)) is not None
    }
    assert found == {}
