"""Tests that failed, empty and null results look like what they are, and colours can be read."""

from __future__ import annotations

from typing import Any

import pytest

from dashboards import styling
from dashboards.translations import translate
from tests.dashboards.conftest import BOARDS, PANEL_IDS, PANELS, language_of, of_types, overrides
from tests.support.grafana_colours import AA_TEXT, TRANSPARENT, contrast_on, lowest_contrast_on_gradient

each_panel = pytest.mark.parametrize(("board", "panel"), PANELS, ids=PANEL_IDS)
HEALTHY = {"green", styling.GREEN}
BY_COLOUR = {"stat", "bargauge"}
GB_3838_COLOURS = ("#CCFFFF", "#00CCFF", "#00FF00", "#FFFF00", "#FF9B00", "#FF0000")


def special_mappings(panel: dict[str, Any]) -> list[dict[str, Any]]:
    found = panel["fieldConfig"]["defaults"].get("mappings", [])
    return [one["options"] for one in found if one["type"] == "special"]


@each_panel
def test_a_failed_or_empty_query_does_not_look_like_health(board: str, panel: dict[str, Any]) -> None:
    language = language_of(board)
    expected = translate("no_rows" if panel["type"] == "table" else "no_data", language)
    assert panel["fieldConfig"]["defaults"]["noValue"] == expected
    if panel["type"] in BY_COLOUR:
        (null,) = special_mappings(panel)
        assert null["match"] == "null+nan"
        assert null["result"]["text"] == translate("no_data", language)
        assert null["result"]["color"] not in HEALTHY
    else:
        base = panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["color"]
        assert base not in HEALTHY, "the colour of what has no value"


@pytest.mark.parametrize(("board", "panel"), of_types("table"))
def test_null_cells_have_a_text_of_their_own(board: str, panel: dict[str, Any]) -> None:
    """The text of an empty table would fill them: an open anomaly that ended "as expected"."""
    language = language_of(board)
    for name, properties in overrides(panel).items():
        if properties.get("custom.hidden"):
            continue
        expected = {"until": "ongoing", "severity": "no_data", "online": "no_data"}.get(name)
        never = {"–", translate("never", language)}
        assert properties["noValue"] in ({translate(expected, language)} if expected else never), name


@each_panel
def test_a_panel_is_read_as_of_11_1(board: str, panel: dict[str, Any]) -> None:
    """Without a version an XY chart is migrated as if older than 11.1, and shows "Err"."""
    assert panel["pluginVersion"] == "11.1.0", board
    if panel["type"] == "xychart":
        assert panel["options"]["mapping"] == "auto"
        assert set(panel["options"]) >= {"mapping", "series", "legend", "tooltip"}
        assert "seriesMapping" not in panel["options"]


@pytest.mark.parametrize("name", BOARDS)
def test_links_to_dashboards_are_shown(name: str) -> None:
    """In the controls menu, Grafana filters out links of type "dashboards"."""
    board = BOARDS[name]
    assert [one for one in (*board["links"], *board["annotations"]["list"]) if "placement" in one] == []


@each_panel
def test_no_threshold_is_a_default_of_grafana(board: str, panel: dict[str, Any]) -> None:
    """Without steps of their own, numbers above 80 are red."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert steps[0]["value"] is None, board
    assert 80 not in [one["value"] for one in steps]


@each_panel
def test_texts_can_be_read_on_their_colours(board: str, panel: dict[str, Any]) -> None:
    """Contrast of every mapped text and threshold with its background, as Grafana colours the text."""
    for colour in background_colours(panel):
        ratio = lowest_contrast_on_gradient(colour) if panel["type"] == "stat" else contrast_on(colour)
        assert ratio >= AA_TEXT, f"{board}: {panel['title']}: {colour} gives {ratio:.1f}"


def background_colours(panel: dict[str, Any]) -> set[str]:
    """Return the colours on which a stat or a coloured cell writes; swatches have no text."""
    found: set[str] = set()
    scopes = [panel["fieldConfig"]["defaults"]] if panel["type"] == "stat" else []
    scopes += [
        one
        for one in overrides(panel).values()
        if panel["type"] == "stat" or one.get("custom.cellOptions", {}).get("type") == "color-background"
    ]
    for one in scopes:
        for mapping in one.get("mappings", []):
            results = (
                [mapping["options"]["result"]]
                if mapping["type"] == "special"
                else list(mapping["options"].values())
            )
            found |= {each["color"] for each in results if each["text"] != styling.NO_TEXT}
        found |= {each["color"] for each in one.get("thresholds", {}).get("steps", [])}
    return found - {TRANSPARENT}


@each_panel
def test_no_text_has_a_colour_of_its_own(board: str, panel: dict[str, Any]) -> None:
    """A light green text on white and a dark red one on black cannot be read; the theme's text can."""
    if panel["type"] == "bargauge":
        assert panel["options"]["valueMode"] == "text"
    if panel["type"] == "stat":
        assert panel["options"]["colorMode"] == "background"
    for name, properties in overrides(panel).items():
        assert properties.get("custom.cellOptions", {}).get("type") != "color-text", f"{board}: {name}"


def test_the_colours_of_classes_are_those_of_the_standard() -> None:
    assert styling.CLASS_COLOURS == GB_3838_COLOURS
    seen = 0
    for _, panel in PANELS:
        for name in ("class_colour", "target_colour"):
            if name in overrides(panel):
                options = overrides(panel)[name]["mappings"][0]["options"]
                assert tuple(options[str(n)]["color"] for n in range(1, 7)) == GB_3838_COLOURS
                seen += 1
    assert seen >= 8


def test_white_on_light_green_would_be_found() -> None:
    assert contrast_on("#00FF00") < 1.5
