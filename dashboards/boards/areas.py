"""County and city, for those above the towns: who needs help, and who is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import barchart
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import units

from dashboards import looks
from dashboards.board import Board
from dashboards.kinds import drawn, listed, places, stacked
from dashboards.postgres_query import Query, datasource
from dashboards.words import Language, word

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import geomap, table, timeseries


def towns(language: Language) -> table.Panel:
    """The towns side by side, worst first."""
    columns = "town_id county town sites alarm warning silent age status met_sections with_target capture"
    columns += " index place"
    panel = listed("towns", "towns_now", columns, language, link=("town", "town-overview"))
    return panel.no_value("–")


def where(language: Language) -> geomap.Panel:
    """The towns on a map."""
    return places("towns_map", "towns_map", "town", language, more="open")


def classes(language: Language) -> barchart.Panel:
    """How many sections of each town had which class."""
    panel = (
        barchart.Panel()
        .title(word("towns_classes", language))
        .description(word("towns_classes_about", language))
        .datasource(datasource())
        .with_target(Query("towns_classes", language))
        .x_field("town")
        .stacking(common_models.StackingMode.NORMAL)
        .show_value(common_models.VisibilityMode.ALWAYS)
        .decimals(0)
    )
    panel.override_by_name("town", [looks.prop("displayName", word("town", language))])
    for name, colour in zip(
        ("class_12", "class_3", "class_4", "class_5", "class_6"), looks.STATUSES, strict=True
    ):
        shown = looks.prop("displayName", word(name, language))
        panel.override_by_name(name, [shown, looks.fixed(colour)])
    return panel


def begun(language: Language) -> timeseries.Panel:
    """Warnings and alarms by when they began, by town."""
    return stacked("towns_begun", "towns_begun", language)


def capture(language: Language) -> timeseries.Panel:
    """The share of expected readings that came, by town."""
    panel = drawn("towns_capture", "towns_capture", language).unit(units.PercentUnit).min(0).max(1)
    return panel.thresholds(looks.thresholds((None, looks.RED), (0.75, looks.ORANGE), (0.9, looks.GREEN)))


BOARD = Board(
    name="areas",
    kinds=(),
    time="now-7d",
    refresh="1m",
    rows=(
        ("row_towns", ((towns, 24, 10), (where, 12, 11), (classes, 12, 11))),
        ("row_course", ((begun, 12, 9), (capture, 12, 9))),
    ),
)
