"""Dashboard that compares the towns of a county or city: anomalies, river classes, data capture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import units

from dashboards import styling
from dashboards.dashboard_builder import DashboardSpec
from dashboards.maps import map_panel
from dashboards.panels import bar_chart_panel, stacked_bars_panel, table_panel, time_series_panel
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import barchart, geomap, table, timeseries


def town_table(language: Language) -> table.Panel:
    """Table of the towns' state, worst first."""
    columns = (
        "alarm warning silent_devices town age status_colour status met_sections capture index place town_id"
    )
    return table_panel("towns", "towns_now", columns, language, link=("town", "town", "town-overview"))


def town_map(language: Language) -> geomap.Panel:
    """Map of the towns, coloured by their worst open anomaly."""
    return map_panel("towns_map", "towns_map", "town", language, more="open")


def section_classes_by_town(language: Language) -> barchart.Panel:
    """Bar chart of the number of river sections in each class, by town."""
    panel = bar_chart_panel("towns_classes", "towns_classes", "town", language)
    panel.show_value(common_models.VisibilityMode.ALWAYS)
    for name, colour in zip(
        ("class_12", "class_3", "class_4", "class_5", "class_6"), styling.STATUS_COLOURS, strict=True
    ):
        name_override = styling.override_property("displayName", translate(name, language))
        panel.override_by_name(name, [name_override, styling.fixed_colour(colour)])
    return panel


def anomalies_by_town(language: Language) -> timeseries.Panel:
    """Stacked bars of the warnings and alarms by start time and town."""
    return stacked_bars_panel("towns_begun", "towns_begun", language)


def capture_by_town(language: Language) -> timeseries.Panel:
    """Time series of the share of expected readings that were received, by town."""
    panel = (
        time_series_panel("towns_capture", "towns_capture", language).unit(units.PercentUnit).min(0).max(1)
    )
    return panel.thresholds(
        styling.threshold_config((None, styling.RED), (0.75, styling.ORANGE), (0.9, styling.GREEN))
    )


BOARD = DashboardSpec(
    name="areas",
    kinds=(),
    time="now-7d",
    refresh="1m",
    rows=(
        ("row_towns", ((town_table, 24, 10), (town_map, 12, 11), (section_classes_by_town, 12, 11))),
        ("row_course", ((anomalies_by_town, 12, 9), (capture_by_town, 12, 9))),
    ),
)
