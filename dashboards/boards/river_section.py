"""Dashboard of one river or lake section, for the water engineer: readings, flags, class and target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.service.forecast_inputs import WATER_HORIZONS_H
from dashboards import styling
from dashboards.boards.town_overview import band_panel, expected_band
from dashboards.dashboard_builder import DashboardSpec
from dashboards.forecasts import forecast_panel
from dashboards.panels import (
    state_timeline_panel,
    table_panel,
    time_series_panel,
    unit_suffix,
    with_unit_axes,
)
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import statetimeline, table, timeseries
    from grafana_foundation_sdk.models.dashboard import ValueMap


def class_and_target(language: Language) -> table.Panel:
    """Table of one row: the section's class, its target, what decided it, how many items were assessed."""
    columns = "class_colour class target_colour target met worst items month"
    return table_panel("river_class", "river_class", columns, language)


def item_table(language: Language) -> table.Panel:
    """Table of the assessed items: mean, class, and how far each exceeds its limit."""
    return table_panel("river_items", "river_items", "class_colour class quantity mean exceeds", language)


def latest_readings(language: Language) -> table.Panel:
    """Table of the newest reading of each quantity."""
    columns = "flag quantity value measured"
    return table_panel("river_latest", "river_latest", columns, language)


def values_over_time(language: Language) -> timeseries.Panel:
    """Time series of one quantity with its expected band, repeated for each selected quantity."""
    return band_panel("river_values", language).repeat("quantity").repeat_direction("h").max_per_row(2)


def forecast_of_quantity(language: Language) -> timeseries.Panel:
    """Time series of the last day of one quantity, and its forecast, repeated for each selected quantity."""
    panel = forecast_panel(
        "river_forecast", "${quantity:sqlstring}", language, past_h=24, ahead_h=WATER_HORIZONS_H[-1]
    )
    return panel.repeat("quantity").repeat_direction("h").max_per_row(2)


def flags_over_time(language: Language) -> statetimeline.Panel:
    """State timeline of the flags of each quantity."""
    return state_timeline_panel("river_flags", "river_flags", flag_states(language), language)


def flag_states(language: Language) -> ValueMap:
    """Return the mapping of the two states of a time line of flags: good, and flagged."""
    return styling.value_mapping(
        {
            "1": (translate("pass", language), styling.GREEN),
            "3": (f"△ {translate('flagged', language)}", styling.ORANGE),
        }
    )


def rain_nearby(language: Language) -> timeseries.Panel:
    """Time series of the rain at the town's gauges."""
    return time_series_panel("rain", "rain_near", language).unit(unit_suffix("mm/h")).min(0).fill_opacity(40)


def upstream_and_downstream(language: Language) -> timeseries.Panel:
    """Time series of the selected quantity at the sites upstream and downstream."""
    return with_unit_axes(time_series_panel("neighbours", "river_neighbours", language), language)


def anomaly_table(language: Language) -> table.Panel:
    """Table of the anomalies at the selected sites."""
    columns = "severity since until location reason rule site_id"
    return table_panel("listed", "anomalies_listed", columns, language)


BOARD = DashboardSpec(
    name="river_section",
    kinds=("river_section", "lake_section"),
    single_site=True,
    has_quantity_variable=True,
    rows=(
        (
            "row_class",
            (
                (class_and_target, 24, 4),
                (expected_band, 24, 9),
                (anomaly_table, 24, 8),
                (latest_readings, 12, 9),
                (item_table, 12, 9),
            ),
        ),
        (
            "row_course",
            (
                (flags_over_time, 24, 8),
                (rain_nearby, 12, 7),
                (upstream_and_downstream, 12, 7),
                (values_over_time, 12, 8),
            ),
        ),
        ("row_forecast", ((forecast_of_quantity, 12, 8),)),
    ),
)
