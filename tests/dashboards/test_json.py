"""The committed JSON is what the code builds, and is a dashboard as Grafana documents it."""

import json
from pathlib import Path

import pytest

from dashboards import words
from dashboards.generate import FOLDER, files
from dashboards.postgres_query import DATASOURCE_UID, QUERIES

BOARDS = {name: json.loads(text) for name, text in files().items()}
PROVISIONING = Path(FOLDER).parent / "provisioning"


def test_the_committed_files_are_what_the_code_builds() -> None:
    committed = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    assert committed == files(), "run: python -m dashboards"


@pytest.mark.parametrize("name", BOARDS)
def test_ids_are_unique_and_panels_do_not_overlap(name: str) -> None:
    panels = BOARDS[name]["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_has_a_description_and_asks_our_data_source(name: str) -> None:
    for panel in BOARDS[name]["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == DATASOURCE_UID
            assert target["rawSql"]


def test_both_languages_have_the_same_panels() -> None:
    shapes = {
        tuple((panel["type"], tuple(panel["gridPos"].items())) for panel in board["panels"])
        for board in BOARDS.values()
    }
    assert len(shapes) == 1
    assert len({board["uid"] for board in BOARDS.values()}) == len(words.LANGUAGES)


def test_every_query_is_used_and_every_word_is_said_in_both_languages() -> None:
    texts = {text.replace("_LANG", "_en") for text in QUERIES.values()}
    board = json.dumps(BOARDS["town_overview.en.json"])
    assert [text for text in texts if json.dumps(text)[1:-1] not in board] == []
    assert [key for key, pair in words.WORDS.items() if not all(pair)] == []


def test_the_data_source_is_provisioned_under_the_same_uid() -> None:
    assert f"uid: {DATASOURCE_UID}" in (PROVISIONING / "datasources/towntwin.yaml").read_text()
