"""Every test that docs/security.md names is there, and each line of its tables names one."""

from __future__ import annotations

import re

from tests.support.processes import REPOSITORY

PAGE = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def test_every_test_of_the_page_exists() -> None:
    files = {
        path.name: path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py")
    }
    missing = [pair for pair in NAMED.findall(PAGE) if f"def {pair[1]}(" not in files.get(pair[0], "")]
    assert missing == []


def test_every_threat_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Threat")]
    assert len(rows) > 15
    assert [row for row in rows if not NAMED.search(row)] == []
