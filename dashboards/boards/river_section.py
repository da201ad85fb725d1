"""Dashboard of one river or lake section, for the water engineer: readings, flags, class and target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards import styling
from dashboards.boards.town_overview import expected_band
from dashboards.dashboard_builder import DashboardSpec
from dashboards.panels import stat_panel_by_column, state_timeline_panel, table_panel, time_series_panel
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries


def class_and_target(language: Language) -> stat.Panel:
    """Stat panel of the section's class, its target, and the number of items assessed."""
    return stat_panel_by_column("river_class", "river_class", "class target met items", language)


def item_table(language: Language) -> table.Panel:
    """Table of the assessed items: mean, class, and how far each exceeds its limit."""
    return table_panel("river_items", "river_items", "quantity mean class exceeds readings", language)


def latest_readings(language: Language) -> table.Panel:
    """Table of the newest reading of each quantity."""
    columns = "quantity value flag expected lower upper measured"
    return table_panel("river_latest", "river_latest", columns, language)


def values_over_time(language: Language) -> timeseries.Panel:
    """Time series of the selected quantities."""
    return time_series_panel("river_values", "river_values", language)


def flags_over_time(language: Language) -> statetimeline.Panel:
    """State timeline of the flags of each quantity."""
    value_texts = styling.value_mapping(
        {
            "1": (translate("good", language), styling.GREEN),
            "3": (f"△ {translate('flagged', language)}", styling.ORANGE),
        }
    )
    return state_timeline_panel("river_flags", "river_flags", value_texts, language)


def rain_nearby(language: Language) -> timeseries.Panel:
    """Time series of the rain at the town's gauges."""
    return time_series_panel("rain", "rain_near", language).unit("suffix: mm/h").min(0).fill_opacity(40)


def upstream_and_downstream(language: Language) -> timeseries.Panel:
    """Time series of the selected quantity at the sites upstream and downstream."""
    return time_series_panel("neighbours", "river_neighbours", language)


def anomaly_table(language: Language) -> table.Panel:
    """Table of the anomalies at the selected sites."""
    columns = "since until severity state site_id site quantity rule reason score"
    return table_panel("listed", "anomalies_listed", columns, language).no_value(translate("fine", language))


BOARD = DashboardSpec(
    name="river_section",
    kinds=("river_section", "lake_section"),
    single_site=True,
    has_quantity_variable=True,
    rows=(
        ("row_class", ((class_and_target, 8, 9), (item_table, 8, 9), (latest_readings, 8, 9))),
        (
            "row_course",
            (
                (expected_band, 24, 9),
                (values_over_time, 24, 9),
                (flags_over_time, 24, 8),
                (rain_nearby, 12, 7),
                (upstream_and_downstream, 12, 7),
                (anomaly_table, 24, 9),
            ),
        ),
    ),
)
