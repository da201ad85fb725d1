"""docs/failures.md shows the tables that the code decides by, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from ingest_service.pipeline import refusals
from ingest_service.storage import classify

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/failures.md"


def verdict(*, temporary: bool) -> str:
    return "tried again" if temporary else "not by itself"


def sqlstates() -> list[str]:
    rows = [(classify.NO_CODE, "none"), *((one, ", ".join(one.begins)) for one in classify.TABLE)]
    rows.append((classify.OTHER, "any other"))
    shown = [f"| {code} | {one.what} | {verdict(temporary=one.temporary)} |" for one, code in rows]
    return ["| SQLSTATE begins with | What | Verdict |", "|---|---|---|", *shown]


def broker_refusals() -> list[str]:
    rows = [(one, ", ".join(f"0x{code:02X}" for code in one.codes)) for one in refusals.TABLE]
    rows.append((refusals.OTHER, "any other"))
    shown = [
        f"| {code} | {one.what} | {verdict(temporary=one.temporary)} | {one.action} |" for one, code in rows
    ]
    return ["| Reason code | What | Verdict | What to do |", "|---|---|---|---|", *shown]


def block(name: str) -> list[str]:
    _, _, after = PAGE.read_text().partition(f"<!-- {name} -->\n")
    return after.partition("<!-- end -->")[0].splitlines()


def test_the_page_shows_what_the_code_decides_by() -> None:
    assert block("sqlstates") == sqlstates()
    assert block("refusals") == broker_refusals()


def test_every_test_that_it_names_exists() -> None:
    code = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("*.py"))
    named = re.findall(r"`(test_\w+)`", PAGE.read_text())
    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in code] == []
