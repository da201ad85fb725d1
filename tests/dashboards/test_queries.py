"""Tests that the SQL of every panel and variable runs on a filled database and fits its panel type."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from dashboards.settings import DEFAULT_CONSOLE_URL
from tests.dashboards.conftest import BOARDS, PANEL_IDS, PANELS, DemoDatabase
from tests.support import chinese_texts
from tests.support.grafana_macros import PanelRequest, expand

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT, BOOLEAN, NUMBERS = {19, 25, 1043}, 16, {20, 21, 23, 700, 701, 1700}
TIMES = {1184, 701, 1700}  # timestamptz; seconds since 1970 of $__timeGroup, as float8 or numeric
NOT_SHOWN = {
    "time",
    "metric",
    "value",
}  # names of columns in long time series; the texts of `metric` are shown
UNNAMED = {
    "stat",
    "bargauge",
    "xychart",
}  # panels that show no names of columns; the last one labels its axes
IDENTIFIERS = {
    "topic",
    "detail",
    "host",
    "instance",
    "table",
    "shard",
    "device",
    "site_id",
    "who",
}  # as they were sent or stored
MAX_BINS = 50
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=PANEL_IDS)
def test_panel(board: str, panel: dict[str, Any], filled: DemoDatabase) -> None:
    panel_request = filled.on(board)
    named: set[str] = set()
    for target in panel["targets"]:
        names, types, rows = filled.answer(expand(target["rawSql"], panel_request))
        assert len(set(names)) == len(names)
        assert rows, f"{board}: {panel['title']} shows nothing on a filled database"
        fits(panel, target, names, types, rows)
        named |= set(names)
        if ".zh." in board:
            assert english_shown(panel, names, types, rows) == set()
    shown = {
        override["matcher"]["options"]
        for override in panel["fieldConfig"].get("overrides", [])
        if override["matcher"]["id"] == "byName"
    }
    assert shown <= named, f"overrides name columns that no query has: {shown - named}"


def english_shown(
    panel: dict[str, Any], names: list[str], types: list[int], rows: list[tuple[Any, ...]]
) -> set[str]:
    """What a Chinese panel shows in English: names of columns, and texts in columns that are not mapped."""
    properties = {
        override["matcher"]["options"]: {one["id"]: one["value"] for one in override["properties"]}
        for override in panel["fieldConfig"].get("overrides", [])
    }
    found: set[str] = set()
    for place, (name, kind) in enumerate(zip(names, types, strict=True)):
        mine = properties.get(name, {})
        if mine.get("custom.hidden"):
            continue
        is_named = "displayName" in mine or name in NOT_SHOWN or panel["type"] in UNNAMED
        found |= set() if is_named else set(chinese_texts.english_in(name))
        if kind in TEXT and "mappings" not in mine and name not in IDENTIFIERS:
            found |= {word for row in rows for word in chinese_texts.english_in(str(row[place] or ""))}
    return found


def fits(
    panel: dict[str, Any],
    target: dict[str, Any],
    names: list[str],
    types: list[int],
    rows: list[tuple[Any, ...]],
) -> None:
    """What the documentation of each panel type asks of its data."""
    kinds = dict(zip(names, types, strict=True))
    numbers = [name for name, kind in kinds.items() if kind in NUMBERS and name != "time"]
    assert numbers
    match panel["type"]:
        case "timeseries" | "state-timeline" | "heatmap":
            fits_time_series(target, kinds, rows)
        case "geomap":
            assert {"latitude", "longitude"} < set(numbers)
        case "table":
            assert shown_columns(panel) == set(names), "every column has its word"
        case "stat":
            assert len(rows) == 1
        case "bargauge":
            assert panel["options"]["reduceOptions"]["fields"].strip("/^$") in numbers
        case "barchart":
            assert kinds[panel["options"]["xField"]] in TEXT
            assert [row[0] for row in rows] == list(dict.fromkeys(row[0] for row in rows))
        case "xychart":
            assert len(numbers) == 2
            (parted,) = panel["transformations"]
            assert set(parted["options"]["fields"]) <= set(names)
        case other:
            pytest.fail(f"nothing is known of what {other} needs")


def fits_time_series(target: dict[str, Any], kinds: dict[str, int], rows: list[tuple[Any, ...]]) -> None:
    """Wide: time and numbers. Long: time, a word that names the series, a number. Times ascend."""
    names = list(kinds)
    assert target["format"] == "time_series"
    assert names[0] == "time"
    assert kinds["time"] in TIMES
    times = [row[0] for row in rows]
    assert times == sorted(times)
    words = [name for name, kind in kinds.items() if kind in TEXT]
    if words:
        assert names == ["time", "metric", "value"]
    else:
        assert {kinds[name] for name in names[1:]} <= NUMBERS
    keys = [row[: 1 + len(words)] for row in rows]
    assert len(set(keys)) == len(keys), "a series has one value at one time"


def shown_columns(panel: dict[str, Any]) -> set[str]:
    return {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}


@pytest.mark.parametrize("board", BOARDS)
def test_annotations(board: str, filled: DemoDatabase) -> None:
    (annotation,) = BOARDS[board]["annotations"]["list"]
    panel_request = filled.on(board)
    week = replace(panel_request, start=panel_request.end - timedelta(days=4))
    names, types, rows = filled.answer(expand(annotation["target"]["rawSql"], week))
    is_of_one_site = annotation["enable"]
    assert names == ["time", *(["timeEnd"] if is_of_one_site else []), "text", "tags"]
    assert types[:2] == ([1184, 1184] if is_of_one_site else [1184, 25])
    assert rows or is_of_one_site  # the first section may have had a quiet time


OPEN_ANOMALY = """
INSERT INTO anomaly (
    subject, site_id, detector, version, start, peak, score, severity, n_readings, state, reason_en, reason_zh
)
SELECT 'test', %s, 'residual', '1', now() - interval '30 days', now(), 9, 3, 1, 'open', 'x', 'x'
"""


def test_an_open_anomaly_is_a_region_until_now_also_if_it_is_the_first(filled: DemoDatabase) -> None:
    """A null end made Grafana drop every region of the dashboard."""
    board = "river_section.en.json"
    panel_request = filled.on(board)
    sql = expand(BOARDS[board]["annotations"]["list"][0]["target"]["rawSql"], panel_request)
    with psycopg.connect(filled.dsn) as connection:
        connection.execute(OPEN_ANOMALY, panel_request.variables["site"])
        connection.execute("SET LOCAL ROLE towntwin_grafana")
        rows = connection.execute(sql.encode()).fetchall()
        ((now,),) = connection.execute("SELECT now()").fetchall()
        connection.rollback()
    assert all(end is not None and end >= start for start, end, *_ in rows)
    assert [end for _, end, text, _ in rows if text == "x"] == [now], "it began before the chosen time"


BINNED = [
    (board, panel, hours, width_s)
    for board, panel in PANELS
    if ".en." in board and "date_bin((SELECT min(width)" in panel["targets"][0]["rawSql"]
    for hours, width_s in ((1, 300), (24, 3600), (168, 21_600), (8760, 2_592_000))
]


@pytest.mark.parametrize(
    ("board", "panel", "hours", "width_s"), BINNED, ids=[f"{one[1]['title']}-{one[2]}h" for one in BINNED]
)
def test_counts_over_time_have_bins_by_the_range_with_no_gap(
    board: str, panel: dict[str, Any], hours: int, width_s: int, filled: DemoDatabase
) -> None:
    """A bar is as wide as the least distance of two rows: over seven days bars were a pixel wide."""
    chosen = filled.on(board)
    panel_request = replace(
        chosen, start=chosen.end - timedelta(hours=hours), interval_s=hours * HOUR_S / 720
    )
    names, _, rows = filled.answer(expand(panel["targets"][0]["rawSql"], panel_request))
    times = sorted({row[0] for row in rows})
    assert {later - one for one, later in itertools.pairwise(times)} in ({timedelta(seconds=width_s)}, set())
    assert len(times) <= MAX_BINS + 2
    assert times or hours == 1, "nothing may have happened in the last hour"
    assert not times or times[0] <= panel_request.start
    if hours > 72:
        longer = replace(panel_request, start=chosen.end - timedelta(hours=100))
        more = filled.answer(expand(panel["targets"][0]["rawSql"], longer))[2]
        assert begun(names, rows) == begun(names, more) > 0, "each anomaly of the three days is in one bin"


def begun(names: list[str], rows: list[tuple[Any, ...]]) -> int:
    first = names.index("value") if "value" in names else 1
    return sum(sum(row[first:]) for row in rows)


@pytest.mark.parametrize("board", [name for name in BOARDS if name.endswith("en.json")])
def test_a_choice_with_a_quote_in_it_is_a_choice_like_any_other(board: str, filled: DemoDatabase) -> None:
    names = {one["name"] for one in BOARDS[board]["templating"]["list"]}
    hostile = replace(
        filled.panel_request, variables={one: ["x'); DROP VIEW series_view; --"] for one in names}
    )
    for name, panel in PANELS:
        if name == board:
            for target in panel["targets"]:
                filled.answer(expand(target["rawSql"], hostile))
    assert filled.answer("SELECT count(*) FROM series_view")[2] == [(200,)]


def plan(filled: DemoDatabase, sql: str) -> dict[str, Any]:
    (found,) = filled.answer(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")[2][0][0]
    return dict(found["Plan"])


def nodes(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield one
    for below in one.get("Plans", []):
        yield from nodes(below)


def raw_rows_read(filled: DemoDatabase, sql: str) -> float:
    """Rows of readings that a query touched, those that it threw away included."""
    with psycopg.connect(filled.dsn) as connection:
        chunks = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'reading'::regclass"
        ).fetchall()
    tables = {"reading", *(name.split(".")[-1].strip('"') for (name,) in chunks)}
    read: float = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes(plan(filled, sql))
        if node.get("Relation Name") in tables
    )
    return read


@pytest.mark.parametrize("board", [name for name in BOARDS if name.endswith("en.json")])
@pytest.mark.parametrize("hours", [1, 24])
def test_no_panel_reads_readings_outside_of_the_chosen_time(
    board: str, hours: int, filled: DemoDatabase
) -> None:
    panel_request = replace(
        filled.on(board),
        start=filled.panel_request.end - timedelta(hours=hours),
        interval_s=hours * HOUR_S / 720,
    )
    ((inside,),) = filled_rows(filled, panel_request)
    for name, panel in PANELS:
        if name == board:
            for target in panel["targets"]:
                read = raw_rows_read(filled, expand(target["rawSql"], panel_request))
                assert read <= inside, f"{panel['title']} reads {read} of {inside} readings"


def filled_rows(filled: DemoDatabase, panel_request: PanelRequest) -> list[tuple[Any, ...]]:
    with psycopg.connect(filled.dsn) as connection:
        return connection.execute(
            'SELECT count(*) FROM reading WHERE "time" BETWEEN %s AND %s',
            [panel_request.start, panel_request.end],
        ).fetchall()


@pytest.mark.parametrize("board", [name for name in BOARDS if name.endswith("en.json")])
@pytest.mark.parametrize("days", [30, 365])
def test_long_times_are_drawn_from_rollups(board: str, days: int, filled: DemoDatabase) -> None:
    panel_request = replace(
        filled.on(board), start=filled.panel_request.end - timedelta(days=days), interval_s=days * DAY_S / 720
    )
    for name, panel in PANELS:
        if name == board:
            for target in panel["targets"]:
                assert raw_rows_read(filled, expand(target["rawSql"], panel_request)) == 0, panel["title"]


def test_the_role_sees_views_only(filled: DemoDatabase) -> None:
    for table in ("reading", "anomaly", "device", "api_key", "gateway_secret"):
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable)):
            filled.answer(f"SELECT * FROM {table}")


def test_links_of_rows_find_their_columns_and_their_board(filled: DemoDatabase) -> None:
    uids = {board["uid"] for board in BOARDS.values()}
    found = 0
    for name, panel in PANELS:
        columns = set(filled.answer(expand(panel["targets"][0]["rawSql"], filled.on(name)))[0])
        for url in urls(panel):
            found += 1
            path, _, query = url.partition("?")
            fields = {one.partition("}")[0] for one in url.split("${__data.fields.")[1:]}
            assert fields <= columns, url
            if path.startswith(DEFAULT_CONSOLE_URL):
                continue
            assert "${__url_time_range}" in query
            if not fields & {"board_id"}:
                assert path.removeprefix("/d/") in uids
    assert found > 10


def urls(panel: dict[str, Any]) -> list[str]:
    return [
        link["url"]
        for override in panel["fieldConfig"].get("overrides", [])
        for one in override["properties"]
        if one["id"] == "links"
        for link in json.loads(json.dumps(one["value"]))
    ]
