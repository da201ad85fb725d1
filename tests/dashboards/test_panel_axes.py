"""Tests that graphs name their series and units, and show texts in full."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboards.actions import ACTIONS
from dashboards.maps import TRANSPARENT_TILE
from dashboards.translations import TRANSLATIONS, translate
from edge.wire.quantities import QUANTITIES
from tests.dashboards.conftest import (
    BOARDS,
    PANEL_IDS,
    PANELS,
    DemoDatabase,
    language_of,
    of_types,
    overrides,
)
from tests.support.grafana_macros import expand

WITH_LEGEND = ("barchart", "state-timeline", "timeseries", "xychart")
each_panel = pytest.mark.parametrize(("board", "panel"), PANELS, ids=PANEL_IDS)
each_time_series = pytest.mark.parametrize(("board", "panel"), of_types("timeseries"))
ENGLISH_UNITS = {"cms", "dateTimeAsLocal", "h", "short", "s", "velocitykmh"}
"""Units of Grafana that it writes in English words, or in a way that the field does not."""


@pytest.mark.parametrize(("board", "panel"), of_types(*WITH_LEGEND))
def test_graphs_have_a_legend(board: str, panel: dict[str, Any]) -> None:
    assert panel["options"]["legend"]["showLegend"] is True, board
    assert panel["options"]["legend"]["displayMode"] in ("list", "table")


@each_time_series
def test_every_axis_has_its_unit(board: str, panel: dict[str, Any], filled: DemoDatabase) -> None:
    """A series has the panel's unit, or one by its name; counts and indices have a label."""
    defaults = panel["fieldConfig"]["defaults"]
    if "unit" in defaults or defaults["custom"].get("axisLabel"):
        return
    names, _, rows = filled.answer(expand(panel["targets"][0]["rawSql"], filled.on(board)))
    series = {row[1] for row in rows} if "metric" in names else set(names[1:])
    for one in series:
        assert units_of(one, panel), f"{board}: {panel['title']}: {one} has no unit"


def units_of(series: str, panel: dict[str, Any]) -> set[str]:
    return {
        properties["unit"]
        for matcher, properties in overrides(panel).items()
        if "unit" in properties
        and (re.search(matcher.strip("/"), series) if matcher.startswith("/") else matcher == series)
    }


@each_time_series
def test_a_series_has_the_unit_of_its_quantity(
    board: str, panel: dict[str, Any], filled: DemoDatabase
) -> None:
    if not any(one.startswith("/\\[") for one in overrides(panel)):
        return
    for _, name, _ in filled.answer(expand(panel["targets"][0]["rawSql"], filled.on(board)))[2]:
        unit = re.search(r"\[([^\]]+)\]$", name)
        assert unit is not None, name
        assert units_of(name, panel) == {f"suffix:{unit[1]}"}, "one unit an axis"
        assert unit[1] in {one.unit for one in QUANTITIES.values()}


@each_panel
def test_units_are_written_as_in_the_field(board: str, panel: dict[str, Any]) -> None:
    for scope in (panel["fieldConfig"]["defaults"], *overrides(panel).values()):
        unit = scope.get("unit", "")
        assert unit not in ENGLISH_UNITS, board
        assert not unit.startswith("suffix: "), "Grafana writes the space itself"


@pytest.mark.parametrize(("board", "panel"), of_types("barchart", "state-timeline"))
def test_labels_are_shown_in_full(board: str, panel: dict[str, Any]) -> None:
    if panel["type"] == "barchart":
        assert panel["options"]["xTickLabelMaxLength"] >= 40, "0 cuts every label to an ellipsis"
    if panel["type"] == "state-timeline":
        assert panel["options"]["perPage"] == 0, f"{board}: a pager with one page"


@pytest.mark.parametrize("board", [name for name in BOARDS if re.match("town_overview|river_section", name)])
def test_quantities_of_different_units_do_not_share_an_axis(board: str) -> None:
    several = [one for name, one in PANELS if name == board and one.get("repeat")]
    assert {one["repeat"] for one in several} == {"quantity"}
    assert all("${quantity:text}" in one["title"] for one in several)


def test_the_band_is_filled_in_every_unit() -> None:
    for board, panel in PANELS:
        filled_below = {
            matcher: one["custom.fillBelowTo"]
            for matcher, one in overrides(panel).items()
            if "custom.fillBelowTo" in one
        }
        for upper, lower in filled_below.items():
            language = language_of(board)
            unit = lower.removeprefix(translate("lower", language))
            assert re.fullmatch(upper.strip("/"), translate("upper", language) + unit)


def test_good_readings_are_not_called_a_share() -> None:
    timelines = [one for board, one in PANELS if one["type"] == "state-timeline" and ".zh." in board]
    texts = {
        result["text"]
        for panel in timelines
        for result in panel["fieldConfig"]["defaults"]["mappings"][0]["options"].values()
    }
    assert "合格" in texts
    assert "合格率" not in texts


@pytest.mark.parametrize(("board", "panel"), of_types("geomap"))
def test_a_map_loads_nothing_and_its_legend_is_in_words(board: str, panel: dict[str, Any]) -> None:
    assert panel["options"]["basemap"]["config"]["url"] == TRANSPARENT_TILE
    language = language_of(board)
    severities = ("alarm", "warning", "notice", "fine", "no_data")
    for key in ("measured", "estimated") if board.startswith("network_state") else severities:
        assert translate(key, language) in panel["title"]
    for layer in panel["options"]["layers"]:
        size = layer["config"]["style"]["size"]
        assert "field" not in size, "markers keep their size"
        assert not layer["config"]["showLegend"], "its legend is in numbers"
        assert layer["filterData"]["options"] in {one["refId"] for one in panel["targets"]}


def test_every_text_of_an_action_is_used() -> None:
    assert {key.removeprefix("do_") for key in TRANSLATIONS if key.startswith("do_")} == set(ACTIONS.values())
