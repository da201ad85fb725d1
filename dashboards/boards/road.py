"""Roads and corridors, for the traffic office: where traffic stands, since when, how the queue moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import heatmap, xychart
from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models import xychart as xychart_models

from dashboards import looks
from dashboards.board import Board
from dashboards.boards.river_section import anomalies
from dashboards.boards.town_overview import congestion
from dashboards.kinds import drawn, gauges
from dashboards.postgres_query import Query, datasource
from dashboards.words import Language, word

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import bargauge, timeseries


def share(language: Language) -> bargauge.Panel:
    """Speeds over what this hour expects."""
    limits = looks.thresholds((None, looks.RED), (0.5, looks.ORANGE), (0.75, looks.GREEN))
    panel = gauges("speed", "speed_share", "share", language).unit(units.PercentUnit)
    return panel.min(0).max(1.5).thresholds(limits)


def speed(language: Language) -> timeseries.Panel:
    """Speed at the chosen sites."""
    panel = drawn("road_speed", "values_of", language, quantity="traffic_speed")
    return panel.unit(units.KilometersPerHour).min(0)


def flow(language: Language) -> timeseries.Panel:
    """Flow at the chosen sites."""
    panel = drawn("road_flow", "values_of", language, quantity="traffic_flow")
    return panel.unit("suffix: veh/h").min(0)


def occupancy(language: Language) -> timeseries.Panel:
    """Occupancy at the chosen sites."""
    panel = drawn("road_occupancy", "values_of", language, quantity="occupancy")
    return panel.unit(units.Percent).min(0)


def fundamental(language: Language) -> xychart.Panel:
    """Flow over density, a colour a site."""
    parts = models.DataTransformerConfig(
        id_val="partitionByValues", options={"fields": ["site"], "keepFields": False}
    )
    panel = (
        xychart.Panel()
        .title(word("fundamental", language))
        .description(word("fundamental_about", language))
        .datasource(datasource())
        .with_target(Query("fundamental", language))
        .with_transformation(parts)
        .mapping(xychart_models.SeriesMapping.AUTO)
        .show(xychart_models.XYShowMode.POINTS)
        .legend(VizLegendOptions().show_legend(True))
    )
    for name, unit in (("density", "suffix: veh/km"), ("flow", "suffix: veh/h")):
        shown = looks.prop("custom.axisLabel", word(name, language))
        panel.override_by_name(name, [looks.prop("unit", unit), shown])
    return panel


def space_time(language: Language) -> heatmap.Panel:
    """Speed along the road over time: a row a site; red is slow, and the tooltip says how slow."""
    colours = (
        heatmap.HeatmapColorOptions()
        .mode(heatmap_models.HeatmapColorMode.SCHEME)
        .scheme("RdYlGn")
        .steps(32)
        .min(0)
        .reverse(True)  # Grafana turns this scheme around by itself: turned twice, low is red
    )
    return (
        heatmap.Panel()
        .title(word("space_time", language))
        .description(word("space_time_about", language))
        .datasource(datasource())
        .with_target(Query("space_time", language, shape="time_series"))
        .calculate(False)
        .color(colours)
        .cell_values(heatmap.CellValues().unit(units.KilometersPerHour).decimals(0))
        .show_legend()
    )


BOARD = Board(
    name="road",
    kinds=("road_section", "junction"),
    rows=(
        ("row_now", ((congestion, 14, 10), (share, 10, 10))),
        (
            "row_course",
            (
                (space_time, 24, 9),
                (speed, 12, 8),
                (flow, 12, 8),
                (occupancy, 12, 9),
                (fundamental, 12, 9),
                (anomalies, 24, 9),
            ),
        ),
    ),
)
