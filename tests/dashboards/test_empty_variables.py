"""Tests that every query is valid and returns no row where a variable has nothing to choose from."""

from __future__ import annotations

import re
from dataclasses import replace

import psycopg
import pytest

from dashboards.postgres_query import QUERIES
from tests.dashboards.conftest import BOARDS, DemoDatabase
from tests.support.grafana_login import board_queries
from tests.support.grafana_macros import expand

VARIABLE = re.compile(r"\$\{(?!__)(\w+)")


@pytest.mark.parametrize("empty", [[], [""]], ids=["all-of-nothing", "no-value"])
@pytest.mark.parametrize("board", BOARDS)
def test_a_town_without_outfalls_or_roads_and_a_fresh_database_show_nothing_and_no_error(
    board: str, empty: list[str], filled: DemoDatabase
) -> None:
    """Grafana replaces "All" of a variable without options by nothing, and a single one by an empty text."""
    chosen = filled.on(board)
    found = 0
    with psycopg.connect(filled.dsn) as connection:
        connection.execute("SET ROLE towntwin_grafana")
        for name, sql in board_queries(BOARDS[board]):
            for variable in sorted(set(VARIABLE.findall(sql))):
                request = replace(chosen, variables={**chosen.variables, variable: empty})
                rows = connection.execute(expand(sql, request).encode()).fetchall()
                assert rows == [], f"{name} returns {rows[:2]} where {variable} is empty"
                found += 1
    assert found >= 3, "the areas depend on each other on every dashboard"


def test_no_query_lists_a_variable_in_parentheses_which_may_be_empty() -> None:
    """``IN ()`` is a syntax error; ``= ANY (ARRAY[]::text[])`` is false."""
    in_parentheses = re.compile(r"IN\s*\(\s*\$", re.IGNORECASE)
    assert {name for name, text in QUERIES.items() if in_parentheses.search(text)} == set()
    arrays = re.compile(r"ARRAY\[\$\{\w+:sqlstring\}\]::text\[\]")
    for name, text in QUERIES.items():
        assert len(arrays.findall(text)) == len(VARIABLE.findall(text)), name
