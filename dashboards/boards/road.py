"""Dashboard of roads, for the traffic office: congestion by link, speed, flow, and a space-time diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import heatmap, xychart
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models import xychart as xychart_models

from analytics.service.forecast_inputs import HOUR_S, ROAD_HORIZON_S
from dashboards import styling
from dashboards.boards.river_section import anomaly_table, flag_states
from dashboards.boards.town_overview import congestion_table
from dashboards.dashboard_builder import DashboardSpec
from dashboards.forecasts import forecast_panel
from dashboards.panels import (
    bar_gauge_panel,
    legend,
    quantity_panel,
    state_timeline_panel,
    unit_suffix,
    with_title,
)
from dashboards.postgres_query import NamedQueryBuilder
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import bargauge, statetimeline, timeseries


def speed_over_expected(language: Language) -> bargauge.Panel:
    """Bar gauge of each site's speed divided by the speed expected at this hour."""
    limits = styling.threshold_config((None, styling.RED), (0.5, styling.ORANGE), (0.75, styling.GREEN))
    panel = bar_gauge_panel("speed", "speed_share", "share", language).unit(units.PercentUnit)
    return panel.min(0).max(1.5).thresholds(limits)


def speed_over_time(language: Language) -> timeseries.Panel:
    """Time series of the speed at the selected sites."""
    panel = quantity_panel("road_speed", "traffic_speed", language)
    return panel.min(0).legend(legend("lastNotNull", "min", at_right=True, worst_last=True))


def forecast_speed(language: Language) -> timeseries.Panel:
    """Time series of the speed at one site, the last hours and the forecast of the next one."""
    return forecast_panel(
        "road_forecast", "'traffic_speed'", language, past_h=6, ahead_h=ROAD_HORIZON_S // HOUR_S
    ).min(0)


def flow_over_time(language: Language) -> timeseries.Panel:
    """Time series of the flow at the selected sites."""
    return quantity_panel("road_flow", "traffic_flow", language).min(0)


def occupancy_over_time(language: Language) -> timeseries.Panel:
    """Time series of the occupancy at the selected sites."""
    return quantity_panel("road_occupancy", "occupancy", language).min(0)


def speed_flags(language: Language) -> statetimeline.Panel:
    """State timeline of the flags of the speed at each site."""
    return state_timeline_panel(
        "road_flags", "flags_of", flag_states(language), language, quantity="traffic_speed"
    )


def flow_over_density(language: Language) -> xychart.Panel:
    """XY chart of flow over density (fundamental diagram), one colour for each site."""
    partition = models.DataTransformerConfig(
        id_val="partitionByValues", options={"fields": ["site"], "keepFields": False}
    )
    panel = (
        with_title(xychart.Panel(), "fundamental", language)
        .with_target(NamedQueryBuilder("fundamental", language))
        .with_transformation(partition)
        .mapping(xychart_models.SeriesMapping.AUTO)
        .show(xychart_models.XYShowMode.POINTS)
        .legend(legend())
    )
    for name, unit in (("density", unit_suffix("veh/km")), ("flow", unit_suffix("veh/h"))):
        name_override = styling.override_property("custom.axisLabel", translate(name, language))
        panel.override_by_name(name, [styling.override_property("unit", unit), name_override])
    return panel


def space_time(language: Language) -> heatmap.Panel:
    """Heatmap of speed along the road over time, one row for each site; red is slow."""
    colours = (
        heatmap.HeatmapColorOptions()
        .mode(heatmap_models.HeatmapColorMode.SCHEME)
        .scheme("RdYlGn")
        .steps(32)
        .min(0)
        .reverse(True)  # Grafana reverses this scheme by itself: reversed twice, low is red
    )
    return (
        with_title(heatmap.Panel(), "space_time", language)
        .with_target(NamedQueryBuilder("space_time", language, result_format="time_series"))
        .calculate(False)
        .color(colours)
        .cell_values(heatmap.CellValues().unit(unit_suffix("km/h")).decimals(0))
        .show_legend()
    )


BOARD = DashboardSpec(
    name="road",
    kinds=("road_section", "junction"),
    rows=(
        ("row_now", ((congestion_table, 24, 9), (anomaly_table, 24, 8))),
        ("row_forecast", ((forecast_speed, 24, 9),)),
        (
            "row_course",
            (
                (space_time, 24, 9),
                (speed_flags, 24, 9),
                (speed_over_time, 24, 9),
                (speed_over_expected, 12, 14),
                (flow_over_density, 12, 14),
                (flow_over_time, 12, 9),
                (occupancy_over_time, 12, 9),
            ),
        ),
    ),
)
