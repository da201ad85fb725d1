"""Tests that docs/failures.md matches the tables in the code and names existing tests."""

from __future__ import annotations

import re
from pathlib import Path

from ingest_service.pipeline import reason_codes
from ingest_service.storage.postgres import sqlstate

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/failures.md"


def verdict(*, temporary: bool) -> str:
    return "tried again" if temporary else "not by itself"


def sqlstates() -> list[str]:
    rows = [
        (sqlstate.NO_CODE, "none"),
        *((one, ", ".join(one.prefixes)) for one in sqlstate.SQLSTATE_CLASSES),
    ]
    rows.append((sqlstate.UNLISTED_SQLSTATE, "any other"))
    shown = [f"| {code} | {one.description} | {verdict(temporary=one.temporary)} |" for one, code in rows]
    return ["| SQLSTATE begins with | What | Verdict |", "|---|---|---|", *shown]


def broker_refusals() -> list[str]:
    rows = [(one, ", ".join(f"0x{code:02X}" for code in one.codes)) for one in reason_codes.REASON_CODES]
    rows.append((reason_codes.UNLISTED_CODE, "any other"))
    shown = [
        f"| {code} | {one.description} | {verdict(temporary=one.temporary)} | {one.action} |"
        for one, code in rows
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
