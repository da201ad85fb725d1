"""Dashboard of the monthly assessments of towns: river class against target, data capture, ranking, trend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from dashboards import styling
from dashboards.dashboard_builder import DashboardSpec
from dashboards.panels import state_timeline_panel, table_panel, time_series_panel
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import statetimeline, table, timeseries


def class_against_target(language: Language) -> table.Panel:
    """Table of each section's class and target in the newest month."""
    columns = "class_colour class target_colour target met location main items month site_id"
    link = ("location", "site", "river-section")
    return table_panel("classes_month", "classes_month", columns, language, link=link)


def months_within_target(language: Language) -> table.Panel:
    """Table of the number of months in which each section met its target."""
    columns = "class_colour class met_months location site_id"
    link = ("location", "site", "river-section")
    return table_panel("classes_year", "classes_year", columns, language, link=link)


def class_over_time(language: Language) -> statetimeline.Panel:
    """State timeline of the class of each section, by month."""
    return state_timeline_panel(
        "classes_time",
        "classes_time",
        styling.class_mapping("class", styling.CLASS_COLOURS, language),
        language,
    )


def town_ranking(language: Language) -> table.Panel:
    """Table of the towns ranked by their index."""
    return table_panel("ranking", "ranking", "place index town items month", language)


def index_over_time(language: Language) -> timeseries.Panel:
    """Time series of the towns' index, by month."""
    return (
        time_series_panel("index_time", "assessed_time", language, kind="index")
        .min(0)
        .max(100)
        .axis_label(translate("index", language))
    )


def capture_over_time(language: Language) -> timeseries.Panel:
    """Time series of the towns' capture rate, by month."""
    return (
        time_series_panel("capture_time", "assessed_time", language, kind="capture")
        .unit(units.PercentUnit)
        .min(0)
        .max(1)
    )


def congestion_by_link(language: Language) -> table.Panel:
    """Table of the road links' congestion in the newest month."""
    return table_panel(
        "congestion_month", "congestion_month", "level_colour level tti link town kmh free delay", language
    )


BOARD = DashboardSpec(
    name="assessment",
    kinds=(),
    time="now-1y",
    refresh="15m",
    rows=(
        (
            "row_month",
            (
                (class_against_target, 24, 9),
                (congestion_by_link, 24, 8),
                (town_ranking, 12, 8),
                (months_within_target, 12, 8),
            ),
        ),
        (
            "row_year",
            (
                (class_over_time, 24, 12),
                (index_over_time, 12, 9),
                (capture_over_time, 12, 9),
            ),
        ),
    ),
)
