"""Tests that every test named in docs/security.md exists, and that each line of its tables names one."""

from __future__ import annotations

import re

from tests.support.processes import REPOSITORY

PAGE = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def test_every_test_of_the_page_exists() -> None:
    there = {
        (path.name, name)
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    missing = [pair for pair in NAMED.findall(PAGE) if pair not in there]
    assert missing == []


def test_every_threat_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Threat")]
    assert len(rows) > 15
    assert [row for row in rows if not NAMED.search(row)] == []


def test_every_row_belongs_to_a_table_with_a_heading() -> None:
    """A blank line within a table ends it, and what follows is shown as plain text."""
    blocks = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    assert [one.splitlines()[0] for one in blocks if not re.match(r"\|.*\n\|-", one)] == []
