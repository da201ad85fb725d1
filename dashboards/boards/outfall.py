"""Dashboard of outfalls, for the control of illicit discharges: dry-weather flow, rain, water quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards import styling
from dashboards.boards.river_section import anomaly_table, rain_nearby
from dashboards.dashboard_builder import DashboardSpec
from dashboards.panels import quantity_panel, stat_panel, table_panel

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import stat, table, timeseries

    from dashboards.translations import Language


def outfalls_with_anomaly(language: Language) -> stat.Panel:
    """Stat panel of the number of outfalls with an open anomaly."""
    return stat_panel("outfalls_wrong", "outfalls_wrong", language).thresholds(
        styling.threshold_config((None, styling.GREEN), (1, styling.ORANGE), (3, styling.RED))
    )


def outfall_table(language: Language) -> table.Panel:
    """Table of each outfall's current state, worst first."""
    return table_panel(
        "outfalls",
        "outfalls_now",
        "severity since location reason action discharge site_id",
        language,
    )


def dry_weather_flow(language: Language) -> table.Panel:
    """Table of each outfall's flow in dry weather: hours, volume, largest discharge."""
    return table_panel("dry", "dry_weather", "flowing_hours dry_hours volume most location site_id", language)


def discharge_over_time(language: Language) -> timeseries.Panel:
    """Time series of the discharge of the selected outfalls."""
    return quantity_panel("discharge_rain", "discharge", language).min(0)


def ammonia_over_time(language: Language) -> timeseries.Panel:
    """Time series of ammonia nitrogen, with the limits of GB 3838 classes III and V."""
    panel = quantity_panel("outfall_ammonia", "ammonia_nitrogen", language)
    limits = styling.threshold_config(
        (None, styling.GREY), (1, styling.CLASS_COLOURS[3]), (2, styling.CLASS_COLOURS[5])
    )
    return panel.min(0).thresholds(limits).thresholds_style(styling.dashed_threshold_lines())


def conductivity_over_time(language: Language) -> timeseries.Panel:
    """Time series of the conductivity of the selected outfalls."""
    return quantity_panel("outfall_conductivity", "conductivity", language).min(0)


BOARD = DashboardSpec(
    name="outfall",
    kinds=("outfall",),
    time="now-7d",
    rows=(
        ("row_now", ((outfalls_with_anomaly, 24, 3), (outfall_table, 24, 9))),
        (
            "row_course",
            (
                (dry_weather_flow, 24, 8),
                (discharge_over_time, 24, 8),
                (rain_nearby, 24, 6),
                (ammonia_over_time, 12, 8),
                (conductivity_over_time, 12, 8),
                (anomaly_table, 24, 9),
            ),
        ),
    ),
)
