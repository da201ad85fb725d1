"""Tests that the committed dashboard JSON is what the code generates and is valid for Grafana."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import translations
from dashboards.alerting.alert_rules import build_alert_rules
from dashboards.alerting.contact_points import MESSAGE
from dashboards.generate import FOLDER, dashboard_files
from dashboards.grafana_versions import COMMON_FEATURES
from dashboards.postgres_query import DATASOURCE_TYPE, DATASOURCE_UID, QUERIES
from dashboards.settings import DEFAULT_CONSOLE_URL, Settings

FILES = dashboard_files()
BOARDS: dict[str, dict[str, Any]] = {name: json.loads(text) for name, text in FILES.items()}
PROVISIONING = Path(FOLDER).parent / "provisioning"
PANELS = [
    (name, panel) for name, board in BOARDS.items() for panel in board["panels"] if panel["type"] != "row"
]
# The panel types that come with Grafana 9.4 to 12, as they write themselves in a dashboard's JSON.
TYPES = {
    "barchart", "bargauge", "geomap", "heatmap", "stat", "state-timeline", "table", "timeseries", "xychart",
}  # fmt: skip
PROPERTIES = {
    "color", "decimals", "displayName", "links", "mappings", "max", "min", "noValue", "thresholds", "unit",
    "custom.align", "custom.axisLabel", "custom.axisPlacement", "custom.cellOptions", "custom.displayMode",
    "custom.drawStyle", "custom.fillBelowTo", "custom.hidden", "custom.hideFrom", "custom.inspect",
    "custom.lineStyle", "custom.lineWidth", "custom.minWidth", "custom.pointSize", "custom.spanNulls",
    "custom.width", "custom.wrapText",
}  # fmt: skip
CELLS = {"auto", "color-background"}
GLOBALS = re.compile(r"\$\{?(__\w+)")


def test_the_committed_files_are_what_the_code_builds() -> None:
    committed = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    assert committed == FILES, "run: python -m dashboards"


@pytest.mark.parametrize("name", BOARDS)
def test_the_sdk_reads_what_it_wrote(name: str) -> None:
    """What its types do not know would be lost on the way; targets are ours, the SDK has no type for them."""
    read = Dashboard.from_json(json.loads(FILES[name]))
    again = json.loads(JSONEncoder(sort_keys=True).encode(read))
    for board in (again, expected := json.loads(FILES[name])):
        board["annotations"]["list"][0].pop("target")
        for one in (*board["links"], *board["annotations"]["list"]):
            one.pop("placement", None)  # read as "in the controls menu" where it is absent
        for panel in board["panels"]:
            panel.pop("targets", None)
    assert again == expected


@pytest.mark.parametrize("name", BOARDS)
def test_the_frame_of_a_dashboard(name: str) -> None:
    board = BOARDS[name]
    language = name.split(".")[1]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", board["uid"])
    assert board["uid"].endswith(f"-{language}")
    assert board["schemaVersion"] == 37, "what Grafana 9.4 writes; newer ones migrate it on loading"
    assert board["tags"] == ["towntwin", language]
    assert "id" not in board, "an id belongs to one Grafana"
    (others,) = board["links"]
    assert (others["type"], others["includeVars"], others["keepTime"]) == ("dashboards", True, True)
    assert others["tags"] == board["tags"]
    (annotation,) = board["annotations"]["list"]
    assert annotation["datasource"] == {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID}
    variables = {one["name"]: one for one in board["templating"]["list"]}
    is_of_one_site = "site" in variables and not variables["site"]["multi"]
    assert annotation["enable"] == is_of_one_site, "regions of many series cover the data"
    assert ('AS "timeEnd"' in annotation["target"]["rawSql"]) == is_of_one_site, "elsewhere points"
    (alpha,) = re.findall(r"rgba\(.*, (0\.\d+)\)", annotation["iconColor"])
    assert float(alpha) < 0.5, "faint"


@pytest.mark.parametrize("name", BOARDS)
def test_choices_follow_from_those_before_them(name: str) -> None:
    variables = BOARDS[name]["templating"]["list"]
    names = [one["name"] for one in variables]
    scenarios = ("scenario", "second_scenario", "scenario_place")
    order = ("city", "county", "town", "site", "quantity", *scenarios, "operators")
    assert names == [one for one in order if one in names]
    assert names[:3] == ["city", "county", "town"]
    for position, one in enumerate(variables):
        assert (one["type"], one["refresh"]) == ("query", 2)
        assert set(re.findall(r"\$\{(\w+)", one["query"])) <= set(names[:position])
        assert one["includeAll"] == one["multi"]


@pytest.mark.parametrize("name", BOARDS)
def test_ids_are_unique_and_panels_do_not_overlap(name: str) -> None:
    panels = BOARDS[name]["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    occupied: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not occupied & cells, panel["title"]
        occupied |= cells


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=[f"{name}-{one['title']}" for name, one in PANELS])
def test_a_panel_is_what_grafana_documents(name: str, panel: dict[str, Any]) -> None:
    variables = {one["name"] for one in BOARDS[name]["templating"]["list"]}
    assert panel["type"] in TYPES
    assert panel["description"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == DATASOURCE_UID
        assert (target["rawQuery"], target["editorMode"]) == (True, "code")
        assert "_LANG" not in target["rawSql"]
        used = set(re.findall(r"\$\{(\w+)(?::\w+)?\}", target["rawSql"]))
        assert used <= variables
        assert re.findall(r"\$\{\w+\}", target["rawSql"]) == [], (
            "several values are quoted by :sqlstring only"
        )
    for override in panel["fieldConfig"].get("overrides", []):
        assert override["matcher"]["id"] in ("byName", "byRegexp")
        for one in override["properties"]:
            assert one["id"] in PROPERTIES, "an option that the documentation does not name"
            if one["id"] == "custom.cellOptions":
                assert one["value"]["type"] in CELLS
            if one["id"] == "mappings" and not override["matcher"]["options"].endswith("_colour"):
                words_of(one["value"])
    for one in panel.get("transformations", []):
        assert one["id"] == "partitionByValues"


def words_of(mappings: list[dict[str, Any]]) -> None:
    """Nothing is shown by colour alone."""
    for one in mappings:
        assert one["type"] == "value"
        assert all(result["text"] and result["color"] for result in one["options"].values())
        texts = [result["text"] for result in one["options"].values()]
        assert len(texts) - len(set(texts)) in (0, 2), "two values look the same (but for yes and no)"


@pytest.mark.parametrize("name", BOARDS)
def test_links_use_variables_that_grafana_documents(name: str) -> None:
    text = json.dumps([panel["fieldConfig"] for panel in BOARDS[name]["panels"] if panel["type"] != "row"])
    assert set(GLOBALS.findall(text)) <= {"__data", "__url_time_range"}


def test_both_languages_have_the_same_panels() -> None:
    by_board: dict[str, set[Any]] = {}
    for name, board in BOARDS.items():
        shape = tuple((panel["type"], tuple(panel["gridPos"].items())) for panel in board["panels"])
        by_board.setdefault(name.split(".")[0], set()).add(shape)
    assert len(by_board) == 10
    assert {len(shapes) for shapes in by_board.values()} == {1}
    assert len({board["uid"] for board in BOARDS.values()}) == len(by_board) * len(translations.LANGUAGES)


def test_every_word_is_in_both_languages_and_every_query_used() -> None:
    assert [key for key, pair in translations.TRANSLATIONS.items() if not all(pair)] == []
    all_sql = json.dumps([BOARDS[name] for name in BOARDS if ".en." in name])
    unused = [
        name
        for name, text in QUERIES.items()
        if json.dumps(re.split("LANG|NAMED|BINS|COLUMN", text)[0][:60])[1:-1] not in all_sql
    ]
    assert [name for name in unused if not name.startswith("alert_")] == []


def test_no_chinese_on_an_english_dashboard() -> None:
    for name, board in BOARDS.items():
        if ".en." in name:
            assert re.findall(r"[\u4e00-\u9fff]+", json.dumps(board, ensure_ascii=False)) == []


def test_the_data_source_is_provisioned_under_the_same_uid() -> None:
    assert f"uid: {DATASOURCE_UID}" in (PROVISIONING / "datasources/towntwin.yaml").read_text()


def test_incidents_open_in_the_console_at_the_address_of_the_settings() -> None:
    files = dashboard_files(Settings(console_url="https://twin.example.org/"))
    page = "https://twin.example.org/console/incidents"
    for language in ("en", "zh"):
        assert f'"{page}/${{__data.fields.incident_id}}"' in files[f"town_overview.{language}.json"]
    assert DEFAULT_CONSOLE_URL not in "".join(files.values())
    rules = build_alert_rules(COMMON_FEATURES, "https://twin.example.org/")
    linked = {one["uid"]: one["annotations"].get("console") for one in rules}
    assert {uid: link for uid, link in linked.items() if link} == {"towntwin-incident": page}
    assert ".Annotations.console" in MESSAGE
