"""Every panel's and variable's SQL runs on a filled database, and gives what its panel type needs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from dashboards.generate import FOLDER
from ingest_service.storage.migrate import migrate
from ingest_service.storage.postgres import PostgresStore
from tests.support.filled import fill
from tests.support.grafana_macros import Panel, expand
from tests.support.services import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

BOARDS = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
PANELS = [
    (name, panel)
    for name, board in BOARDS.items()
    for row in board["panels"]
    for panel in [row, *row.get("panels", [])]
    if panel["type"] != "row"
]
NEEDS_ROWS = {"table", "geomap", "bargauge", "stat", "timeseries"}
TIME_OID, NUMBERS = 1184, {20, 21, 23, 700, 701, 1700}


@pytest.fixture(scope="module", params=["timescale_server", "plain_server"])
def filled(request: pytest.FixtureRequest) -> Iterator[tuple[str, Panel]]:
    """A database with three demo days, and what a panel would be asked for with all chosen."""
    with fresh_database(request.getfixturevalue(request.param)) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        now_s = fill(store)
        store.close()
        end = datetime.fromtimestamp(now_s, UTC)
        panel = Panel(end - timedelta(days=1), end, timescale=False)
        with psycopg.connect(dsn) as connection:
            for variable in BOARDS["town_overview.en.json"]["templating"]["list"]:
                rows = connection.execute(expand(variable["query"], panel).encode()).fetchall()
                assert rows, f"variable {variable['name']} has nothing to choose from"
                chosen = [str(row[-1]) for row in rows]
                panel = replace(panel, variables={**panel.variables, variable["name"]: chosen})
        yield dsn, panel


def answer(dsn: str, sql: str) -> tuple[list[str], list[int], list[tuple[Any, ...]]]:
    with psycopg.connect(dsn) as connection:
        cursor = connection.execute(sql.encode())
        assert cursor.description is not None
        return (
            [one.name for one in cursor.description],
            [one.type_code for one in cursor.description],
            cursor.fetchall(),
        )


@pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=[f"{board}-{panel['title']}" for board, panel in PANELS]
)
def test_panel(board: str, panel: dict[str, Any], filled: tuple[str, Panel]) -> None:
    dsn, asked = filled
    for target in panel["targets"]:
        names, types, rows = answer(dsn, expand(target["rawSql"], asked))
        assert len(set(names)) == len(names)
        assert rows, f"{board}: {panel['title']} shows nothing on a filled database"
        kinds = dict(zip(names, types, strict=True))
        if panel["type"] == "timeseries":
            assert target["format"] == "time_series"
            assert names[0] == "time"
            times = [row[0] for row in rows]
            assert times == sorted(times)
            assert any(kind in NUMBERS for name, kind in kinds.items() if name != "time")
        if panel["type"] == "geomap":
            assert {"latitude", "longitude"} <= set(names)
        if panel["type"] in ("stat", "bargauge"):
            assert any(kind in NUMBERS for kind in types)
        shown = {override["matcher"]["options"] for override in panel["fieldConfig"].get("overrides", [])}
        assert shown <= {*names, "/share/"}, (
            f"overrides name columns that the query has not: {shown - {*names}}"
        )


@pytest.mark.parametrize("board", BOARDS)
def test_annotations(board: str, filled: tuple[str, Panel]) -> None:
    dsn, asked = filled
    (annotation,) = BOARDS[board]["annotations"]["list"]
    names, types, rows = answer(dsn, expand(annotation["target"]["rawSql"], asked))
    assert names == ["time", "timeEnd", "text", "tags"]
    assert types[0] == TIME_OID
    assert rows


def test_nothing_is_shown_where_nothing_is_chosen(filled: tuple[str, Panel]) -> None:
    """A choice with a quote in it is a choice like any other, not SQL."""
    dsn, asked = filled
    hostile = replace(asked, variables={name: ["x'); DROP VIEW series_view; --"] for name in asked.variables})
    for _, panel in PANELS:
        for target in panel["targets"]:
            answer(dsn, expand(target["rawSql"], hostile))
    assert answer(dsn, "SELECT count(*) FROM series_view")[2] == [(200,)]
