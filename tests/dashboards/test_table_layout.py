"""Tests that tables have their columns on the screen, the most important first, as wide as their content."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from tests.dashboards.conftest import DemoDatabase, of_types, overrides
from tests.support.grafana_macros import expand
from tests.support.grafana_table_width import CELL_PADDING_PX, SCREENS_PX, column_px, table_px, text_px

TABLES = of_types("table")
STATES = {
    "age", "alarm", "class", "deviation", "flag", "flowing_hours", "good", "health", "level", "met", "online",
    "peak_load", "place", "priority", "received", "severity", "shard", "sounded", "source",
    "scenario", "scenario_place",  # what was computed has no state
}  # fmt: skip
TIME_EXAMPLE, DURATION_EXAMPLE = "2026-11-28 06:32", "12 d 22:22:22"


def visible(panel: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the visible columns with their properties, in the order of the overrides."""
    return {name: one for name, one in overrides(panel).items() if not one.get("custom.hidden")}


@pytest.mark.parametrize("screen_px", SCREENS_PX)
@pytest.mark.parametrize(("board", "panel"), TABLES)
def test_no_column_is_off_screen(board: str, panel: dict[str, Any], screen_px: int) -> None:
    wide = sum(column_px(one) for one in visible(panel).values())
    assert wide <= table_px(screen_px, panel["gridPos"]["w"]), board


@pytest.mark.parametrize(("board", "panel"), TABLES)
def test_the_first_text_is_the_state(board: str, panel: dict[str, Any]) -> None:
    first = next(name for name in visible(panel) if not name.endswith("_colour"))
    assert first in STATES, board


@pytest.mark.parametrize(("board", "panel"), TABLES)
def test_a_colour_of_a_standard_stands_left_of_its_text(board: str, panel: dict[str, Any]) -> None:
    columns = visible(panel)
    for name, following in pairwise([*columns, ""]):
        if name.endswith("_colour"):
            assert following == name.removesuffix("_colour"), board
            colours, texts = (set(columns[one]["mappings"][0]["options"]) for one in (name, following))
            assert colours == texts


@pytest.mark.parametrize(("board", "panel"), TABLES)
def test_headings_and_contents_fit_their_columns(
    board: str, panel: dict[str, Any], filled: DemoDatabase
) -> None:
    names, _, rows = filled.answer(expand(panel["targets"][0]["rawSql"], filled.on(board)))
    assert [one for one in names if not one.endswith("_id")] == list(visible(panel)), "columns out of order"
    for name, properties in visible(panel).items():
        space = column_px(properties) - CELL_PADDING_PX
        heading = properties["displayName"]
        assert text_px(heading) <= space, f"{name}: {heading}"
        wraps = properties.get("custom.wrapText", False)
        for text in {shown(row[names.index(name)], properties) for row in rows}:
            for part in _unbreakable(text, wraps=wraps):
                assert text_px(part) <= space, f"{name}: {text!r} needs {text_px(part)} of {space} px"


def _unbreakable(text: str, *, wraps: bool) -> list[str]:
    """Return the parts that a line break cannot divide: words, and each Chinese character."""
    return re.findall(r"[\u2e80-\uffff]|[^\s\u2e80-\uffff]+", text) or [""] if wraps else [text]


def shown(value: Any, properties: dict[str, Any]) -> str:
    """Return the text of a cell, as Grafana writes it."""
    for mapping in properties.get("mappings", []):
        result = mapping["options"].get(str(value).lower() if isinstance(value, bool) else str(value))
        if result:
            return str(result["text"])
    if value is None or value == "":
        return str(properties["noValue"])
    unit = properties.get("unit", "")
    if unit.startswith("time:"):
        return TIME_EXAMPLE[: len(unit.removeprefix("time:"))]
    if unit == "dtdhms":
        return DURATION_EXAMPLE
    if unit == "percentunit":
        return f"{100 * float(value):.{properties['decimals']}f}%"
    number = f"{float(value):.{properties['decimals']}f}" if "decimals" in properties else str(value)
    return f"{number} {unit.removeprefix('suffix:')}" if unit.startswith("suffix:") else number
