"""Tests of what panels show of the demo: names, not codes; queues; directions; missing data as missing."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from analytics.quality.detector_names import DETECTORS
from dashboards.actions import ACTIONS
from dashboards.generate import dashboard_files
from dashboards.postgres_query import raw_sql
from dashboards.settings import DEFAULT_CONSOLE_URL, Settings
from dashboards.translations import TRANSLATIONS
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.dead_letter_reasons import REASONS
from ingest_service.storage.postgres.migrate import migrate
from tests.dashboards.conftest import PANELS, DemoDatabase
from tests.support.grafana_macros import PanelRequest, expand
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

CODES = {*QUANTITIES, *DETECTORS, *REASONS} | {"waiting", "river_section", "road_section", "outfall", "open"}
SPELLED_ALIKE = {"ph"}  # the Chinese name of pH contains it
IDENTIFIERS = {"topic", "detail", "instance", "table", "shard", "device"}
FLAGGED = 3
OVERVIEW, ROAD, OUTFALL = "town_overview.zh.json", "road.zh.json", "outfall.zh.json"
Row = tuple[Any, ...]


def ask(filled: DemoDatabase, query: str, board: str, **more: str) -> list[Row]:
    return filled.answer(expand(raw_sql(query, "zh", **more), filled.on(board)))[2]


@pytest.mark.parametrize(("board", "panel"), [one for one in PANELS if ".zh." in one[0]])
def test_a_chinese_board_shows_no_code(board: str, panel: dict[str, Any], filled: DemoDatabase) -> None:
    mapped = {
        override["matcher"]["options"]
        for override in panel["fieldConfig"].get("overrides", [])
        if any(one["id"] in ("mappings", "custom.hidden") for one in override["properties"])
    }
    for target in panel["targets"]:
        names, _, rows = filled.answer(expand(target["rawSql"], filled.on(board)))
        shown = {
            word
            for row in rows
            for name, cell in zip(names, row, strict=True)
            if isinstance(cell, str) and name not in mapped | IDENTIFIERS
            for word in re.findall(r"[a-z_]+(?:/[a-z_]+)?", cell)
        }
        assert shown & (CODES - SPELLED_ALIKE) == set()


def test_the_queue_is_on_the_map_of_space_and_time(filled: DemoDatabase) -> None:
    """Its speeds are flagged: a map of good readings alone is white where the traffic stands."""
    flags = ask(filled, "flags_of", ROAD, quantity="traffic_speed")
    flagged = {(site, time) for time, site, flag in flags if flag == FLAGGED}
    assert flagged
    shown = {
        (re.sub(r"^ *[\d.]+ km | △$", "", name), time): (name, value)
        for time, name, value in ask(filled, "space_time", ROAD)
        if value is not None
    }
    assert flagged <= set(shown)
    assert all(shown[one][0].endswith(" △") for one in flagged), "the site is marked"
    assert min(shown[one][1] for one in flagged) < 5.0, "standing traffic"


def test_flagged_readings_are_marked_in_every_graph_of_traffic(filled: DemoDatabase) -> None:
    for quantity in ("traffic_speed", "occupancy"):  # the flow of the demo's queues is not unusual
        names = {name for _, name, _ in ask(filled, "values_of", ROAD, quantity=quantity)}
        marked = {name.removeprefix("△ ") for name in names if name.startswith("△ ")}
        assert marked
        assert marked < names
    diagram = ask(filled, "fundamental", ROAD)
    assert {site.startswith("△ ") for site, _, _ in diagram} == {True, False}
    assert all(density > 0 for _, density, _ in diagram)


def test_rows_of_a_road_differ_in_direction_or_stretch(filled: DemoDatabase) -> None:
    rows = [(link, section) for _, _, link, section, *_ in ask(filled, "link_congestion", ROAD)]
    assert len(set(rows)) == len(rows) > 10
    assert all(re.search(" · 向(东|南|西|北)", link) for link, _ in rows)
    assert all(" → " in section for _, section in rows)


def test_a_link_and_its_opposite_have_opposite_directions(filled: DemoDatabase) -> None:
    turned = """
    INSERT INTO link (link_id, network, from_node, to_node, en, zh, length_m, speed_m_s)
    SELECT 'back', network, to_node, from_node, en, zh, length_m, speed_m_s FROM link
    WHERE link_id = '330402-d1-s02:330402-d1-s03'
    """
    with changed(filled, turned) as run:
        links = [row[2:4] for row in run(raw_sql("link_congestion", "en"), filled.on(ROAD))]
    there = next(
        one for one in links if re.match(".*bus station.* → .*market", one[1]) and "South lake" in one[1]
    )
    back = next(one for one in links if re.match(".*market.* → .*bus station", one[1]))
    assert there[0] == "South lake avenue · eastbound"
    assert back[0] == "South lake avenue · westbound"


@contextmanager
def changed(filled: DemoDatabase, statement: str) -> Iterator[Any]:
    """Provide a function that runs queries with Grafana's role after a change, which is then undone."""
    with psycopg.connect(filled.dsn) as connection:
        connection.execute(statement.encode())
        connection.execute("SET ROLE towntwin_grafana")

        def run(sql: str, request: PanelRequest) -> list[Row]:
            return connection.execute(expand(sql, request).encode()).fetchall()

        yield run
        connection.rollback()


def test_nothing_wrong_is_a_row_and_not_an_empty_table(filled: DemoDatabase) -> None:
    """A failed query gives an empty table, too."""
    fresh = "UPDATE anomaly SET state = 'closed' WHERE state = 'open'; UPDATE latest SET received = now()"
    with changed(filled, fresh) as run:
        (fine,) = run(raw_sql("wrong_now", "en"), filled.on(OVERVIEW))
    sites = len(filled.on(OVERVIEW).variables["site"])
    assert fine[0] == 0
    assert fine[4] == f"no open anomaly at the {sites} chosen sites"


def test_sites_without_fresh_readings_are_not_healthy(filled: DemoDatabase) -> None:
    stale = """
    UPDATE anomaly SET state = 'closed' WHERE state = 'open';
    UPDATE latest SET received = received - interval '3 hours';
    """
    with changed(filled, stale) as run:
        (row,) = run(raw_sql("wrong_now", "en"), filled.on(OVERVIEW))
        on_map = run(raw_sql("map", "en"), filled.on(OVERVIEW))
        outfalls = run(raw_sql("outfalls_now", "en"), filled.on(OUTFALL))
    assert row[0] == -1
    assert "nothing can be judged" in row[4]
    assert {severity for _, _, _, severity, *_ in on_map} == {-1}
    assert {severity for severity, *_ in outfalls} == {-1}


def test_an_empty_database_claims_nothing(plain_server: Any) -> None:
    """Counts of nothing are not zero: where there is no site, "0 alarms" would be green."""
    with fresh_database(plain_server) as dsn:
        migrate(dsn)
        with psycopg.connect(dsn) as connection:
            connection.execute("SET ROLE towntwin_grafana")
            now = datetime.now(UTC)
            nothing: dict[str, list[str]] = {one: [] for one in ("town", "site", "quantity")}
            request = PanelRequest(now - timedelta(days=1), now, variables=nothing)
            for query in (
                "open_by_severity", "silent_devices", "wrong_now", "map", "outfalls_wrong", "outfalls_now",
                "device_counts", "towns_now", "towns_map", "newest_age", "map_lines", "towns_map_lines",
            ):  # fmt: skip
                rows = connection.execute(expand(raw_sql(query, "zh"), request).encode()).fetchall()
                assert rows == [], query


@pytest.mark.parametrize(("query", "board"), [("map", OVERVIEW), ("towns_map", "areas.zh.json")])
def test_names_on_a_map_do_not_overlap(query: str, board: str, filled: DemoDatabase) -> None:
    rows = ask(filled, query, board)
    latitudes = [row[1] for row in rows]
    named = sorted(row[1] for row in rows if row[-1])
    assert named
    least = (max(latitudes) - min(latitudes)) / 16
    assert all(after - before >= least for before, after in pairwise(named))
    worst = max(row[3] for row in rows)
    assert worst in {row[3] for row in rows if row[-1]}, "one of the worst is named"


@pytest.mark.parametrize(("query", "board"), [("map_lines", OVERVIEW), ("towns_map_lines", "areas.zh.json")])
def test_rivers_and_roads_are_drawn_around_the_sites(query: str, board: str, filled: DemoDatabase) -> None:
    dots = ask(filled, query, board)
    assert {network for _, _, network in dots} == {0, 1}
    assert 200 < len(dots) < 5000
    sites = ask(filled, "map", OVERVIEW)
    on_network = [
        site
        for site in sites
        if any(abs(site[1] - lat) < 0.005 and abs(site[2] - lon) < 0.005 for lat, lon, _ in dots)
    ]
    assert len(on_network) > len(sites) / 2


def test_maps_load_tiles_from_the_set_server_alone() -> None:
    tiles = "https://tiles.example/{z}/{x}/{y}.png"
    with_tiles = dashboard_files(Settings(map_tiles=tiles, map_attribution="survey office"))
    for name, text in dashboard_files().items():
        assert "http" not in text.replace(DEFAULT_CONSOLE_URL, ""), "a dashboard loads nothing from elsewhere"
        maps = [one for one in json.loads(with_tiles[name])["panels"] if one["type"] == "geomap"]
        for panel in maps:
            assert panel["options"]["basemap"]["config"] == {"url": tiles, "attribution": "survey office"}
        assert with_tiles[name].count(tiles) == len(maps)


def test_every_table_of_the_database_has_a_name(filled: DemoDatabase) -> None:
    unnamed = [
        name
        for (name,) in filled.answer('SELECT "table"::text FROM table_size_view')[2]
        if f"table_{name}" not in TRANSLATIONS
    ]
    assert unnamed == []


def test_every_detector_has_an_action() -> None:
    assert set(ACTIONS) == set(DETECTORS)


def test_a_series_of_a_repeated_panel_is_of_its_quantity(filled: DemoDatabase) -> None:
    request = filled.on(OVERVIEW)
    request = replace(request, variables={**request.variables, "quantity": ["dissolved_oxygen"]})
    names = {name for _, name, _ in filled.answer(expand(raw_sql("series_values", "zh"), request))[2]}
    assert names
    assert all(name.endswith(" · 溶解氧 [mg/L]") for name in names)


@pytest.mark.parametrize(
    ("board", "title", "range_", "words"),
    [
        (
            "river_section.en.json",
            "the forecast of the next",
            ("48h", "0h+24h"),
            ("forecast", "lower", "upper"),
        ),
        ("road.zh.json", "未来一小时车速预报", ("7h", "0h+1h"), ("预报", "下限", "上限")),
    ],
)
def test_a_panel_of_a_forecast_ends_after_now_and_has_its_band(
    board: str, title: str, range_: tuple[str, str], words: tuple[str, ...], filled: DemoDatabase
) -> None:
    (panel,) = [one for name, one in PANELS if name == board and title in one["title"]]
    assert (panel["timeFrom"], panel["timeShift"], panel["hideTimeOverride"]) == (*range_, True)
    rows = filled.answer(expand(panel["targets"][0]["rawSql"], filled.on(board)))[2]
    (name,) = {one for _, one, _ in rows if not one.startswith((*words, "△"))}
    unit = name[name.index("[") :]
    courses = {word: [row[::2] for row in rows if row[1] == f"{word} {unit}"] for word in words}
    assert {word: len(one) for word, one in courses.items()} == dict.fromkeys(words, 13)
    horizon = timedelta(hours=1 if "road" in board else 24)
    for (time, value), (_, low), (_, high) in zip(*courses.values(), strict=True):
        assert low <= value <= high
        assert time - courses[words[0]][0][0] <= horizon
    measured = [time for time, one, _ in rows if one == name]
    assert measured
    assert courses[words[0]][-1][0] > max(measured)


FEWER_FORECAST_POINTS = """
UPDATE series_forecast SET times = ARRAY[times[1], times[2], times[6], times[12]],
    "values" = ARRAY[1, 2, 3, 4], low = ARRAY[1, 1, 1, 1], high = ARRAY[1, 9, 9, 9]
"""


def test_a_forecast_point_without_neighbours_is_a_short_piece_of_line_and_band(filled: DemoDatabase) -> None:
    """Grafana joins points up to 3.5 h apart: one alone had neither a line nor a band."""
    board = "river_section.en.json"
    (panel,) = [one for name, one in PANELS if name == board and "the forecast of the next" in one["title"]]
    query = expand(panel["targets"][0]["rawSql"], filled.on(board))
    with psycopg.connect(filled.dsn) as connection:
        connection.execute(FEWER_FORECAST_POINTS)
        rows = connection.execute(query.encode()).fetchall()
        connection.rollback()
    for word, values in (("forecast", [1, 2, 3, 3, 3, 4, 4, 4]), ("upper", [1, 9, 9, 9, 9, 9, 9, 9])):
        course = [(time, value) for time, one, value in rows if one.startswith(word)]
        assert [value for _, value in course] == values
        assert course[2][0] < course[3][0] < course[4][0] < course[2][0] + timedelta(hours=2)


ROAD_SCENARIO = """
INSERT INTO scenario (area_ids, kind, name, who, network_version, "at", computing_s, inputs, result)
SELECT ARRAY[n.area_id], 'traffic', '封路', '李 (key:1)', 1, now(), 1,
    replace('{"changes": [{"kind": "road_closure", "link": "LINK"}]}', 'LINK', k.link_id)::jsonb,
    replace('{"time_s": [1800, 3600], "statements": [], "roads": [
        {"link_id": "LINK", "zh": "路", "queue_veh": [4, 9], "base_queue_veh": [0, 1]}]}',
        'LINK', k.link_id)::jsonb
FROM link AS k JOIN node AS n ON n.node_id = k.from_node WHERE k.network = 'road' ORDER BY k.link_id LIMIT 1
RETURNING scenario_id::text, inputs -> 'changes' -> 0 ->> 'link'
"""
CURVES_THAT_CANNOT_BE_UNNESTED = """
INSERT INTO scenario (area_ids, kind, name, who, network_version, "at", computing_s, inputs, result)
SELECT area_ids, 'water', 'x', 'x', 1, now(), 1, '{}', '{"sites": {}}' FROM scenario LIMIT 1
"""


def test_a_scenario_stands_beside_itself_without_the_changes_and_beside_a_second_one(
    filled: DemoDatabase,
) -> None:
    board = "network_state.zh.json"
    names = [row[0] for row in ask(filled, "scenario_list", board)]
    assert names == ["桥头泄漏，关闸", "桥头泄漏"], "newest first"
    changes = [row[4] for row in ask(filled, "scenario_list", board)]
    assert changes[0].startswith(f"{changes[1]}；水闸 · ")
    curves: dict[str, list[tuple[float, float]]] = {}
    for curve, *point in ask(filled, "scenario_curves", board):
        curves.setdefault(curve, []).append((point[0], point[1]))
    assert list(curves) == ["无变化", "所选情景", "对比情景"]
    assert curves["无变化"] == curves["对比情景"] != curves["所选情景"], "the second one has the spill alone"
    hours = [at for at, _ in curves["所选情景"]]
    assert (hours == sorted(hours), len(hours), hours[-1]) == (True, 144, 24)
    request = filled.on(board)
    with psycopg.connect(filled.dsn) as connection:
        scenario_id, link_id = connection.execute(ROAD_SCENARIO).fetchone() or ("", "")
        chosen = {"scenario": [scenario_id], "second_scenario": [scenario_id], "scenario_place": [link_id]}
        on_road = replace(request, variables=request.variables | chosen)
        rows = {
            "scenario_list": connection.execute(
                expand(raw_sql("scenario_list", "zh"), on_road).encode()
            ).fetchall()
        }
        # queries unnest the curves of the chosen scenarios alone
        connection.execute(CURVES_THAT_CANNOT_BE_UNNESTED)
        rows |= {
            name: connection.execute(expand(raw_sql(name, "zh"), on_road).encode()).fetchall()
            for name in ("scenario_curves", "scenario_places", "scenario_place")
        }
        elsewhere = {"second_scenario": request.variables["scenario"]}
        beside_other = replace(on_road, variables=on_road.variables | elsewhere)
        sql = expand(raw_sql("scenario_places", "zh"), beside_other)
        rows["other_places"] = connection.execute(sql.encode()).fetchall()
        connection.rollback()
    assert [row[2] for row in rows["scenario_curves"]] == [0, 1, 4, 9]
    assert rows["scenario_places"] == [("路", 1, 9, 9)]
    assert rows["other_places"] == [("路", 1, 9, None)], "also what the second one does not alter"
    assert rows["scenario_list"][0][:2] == ("封路", "李")
