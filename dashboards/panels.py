"""Builds Grafana panels of each kind (stat, table, time series, bars, state timeline, map) from a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from grafana_foundation_sdk.builders import bargauge, geomap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.models import common as common_models

from dashboards import styling
from dashboards.postgres_query import NamedQueryBuilder, datasource
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import ValueMap

P = TypeVar("P", stat.Panel, table.Panel, timeseries.Panel, statetimeline.Panel, bargauge.Panel, geomap.Panel)

MAX_CONNECTED_GAP_MS = 3_600_000


def with_title(panel: P, key: str, language: Language) -> P:
    """Set a panel's title and description, by its key in `words.toml`, and its data source."""
    return (
        panel.title(translate(key, language))
        .description(translate(f"{key}_about", language))
        .datasource(datasource())
    )


def stat_panel(key: str, query: str, language: Language) -> stat.Panel:
    """Build a stat panel of the numbers in a query's single row."""
    return (
        with_title(stat.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language))
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    )


def stat_panel_by_column(key: str, query: str, columns: str, language: Language) -> stat.Panel:
    """Build a stat panel with one number for each column, each with its translated name."""
    panel = stat_panel(key, query, language).thresholds(styling.threshold_config((None, styling.GREY)))
    for name in columns.split():
        panel.override_by_name(name, styling.column_properties(name, language))
    return panel


def table_panel(
    key: str, query: str, columns: str, language: Language, *, link: tuple[str, str] | None = None
) -> table.Panel:
    """Build a table of a query; ``link`` is the variable that a row sets, and the dashboard it opens."""
    panel = with_title(table.Panel(), key, language).with_target(NamedQueryBuilder(query, language))
    for name in columns.split():
        properties = styling.column_properties(name, language)
        if link and name == link[0]:
            properties = [
                *properties,
                styling.override_property("links", [link_to_dashboard(*link, language)]),
            ]
        panel.override_by_name(name, properties)
    return panel


def link_to_dashboard(variable: str, board: str, language: Language) -> dict[str, object]:
    """Return a cell's link to the dashboard of the row's site or town, with parent areas and time range."""
    parent_variables = {"site": ("city", "county", "town"), "town": ("city", "county")}[variable]
    selected_areas = "".join(f"&${{{name}:queryparam}}" for name in parent_variables)
    chosen = f"var-{variable}=${{__data.fields.{variable}_id}}"
    return {
        "title": translate(f"go_{variable}", language),
        "url": f"/d/towntwin-{board}-{language}?{chosen}{selected_areas}&${{__url_time_range}}",
    }


def time_series_panel(key: str, query: str, language: Language, **more: str) -> timeseries.Panel:
    """Build a time series panel; ``more`` are substitutions in the query (`postgres_query.raw_sql`)."""
    return (
        with_title(timeseries.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language, result_format="time_series", **more))
        .span_nulls(MAX_CONNECTED_GAP_MS)
    )


def stacked_bars_panel(key: str, query: str, language: Language) -> timeseries.Panel:
    """Build a panel of counts over time as stacked bars."""
    return (
        with_title(timeseries.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language, result_format="time_series"))
        .draw_style(common_models.GraphDrawStyle.BARS)
        .bar_alignment(common_models.BarAlignment.AFTER)  # a row holds the beginning of its bin
        .fill_opacity(80)
        .stacking(common_builders.StackingConfig().mode(common_models.StackingMode.NORMAL))
        .min(0)
        .decimals(0)
    )


def state_timeline_panel(
    key: str, query: str, value_texts: ValueMap, language: Language
) -> statetimeline.Panel:
    """Build a state timeline that shows each value as its mapped text and colour."""
    return (
        with_title(statetimeline.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language, result_format="time_series"))
        .mappings([value_texts])
        .thresholds(styling.threshold_config((None, styling.GREY)))
        .merge_values(True)
        .show_value(common_models.VisibilityMode.AUTO)
    )


def bar_gauge_panel(key: str, query: str, column: str, language: Language) -> bargauge.Panel:
    """Build a bar gauge with one horizontal bar for each row of a query."""
    reduced = common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(True).fields(f"/^{column}$/")
    return (
        with_title(bargauge.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language))
        .reduce_options(reduced)
        .orientation(common_models.VizOrientation.HORIZONTAL)
    )


def map_panel(key: str, query: str, name: str, language: Language, *, more: str) -> geomap.Panel:
    """Build a map of points, coloured and sized by severity and labelled by column ``name``.

    The tooltip also shows the column ``more``.
    """
    coordinates = common_builders.FrameGeometrySource().mode(common_models.FrameGeometrySourceMode.COORDS)
    style = {
        "color": {"field": "severity", "fixed": "green"},
        "size": {"field": "severity", "fixed": 6, "min": 6, "max": 16},
        "symbol": {"fixed": "img/icons/marker/circle.svg", "mode": "fixed"},
        "text": {"field": name, "fixed": "", "mode": "field"},
    }
    markers = (
        common_builders.MapLayerOptions()
        .type("markers")
        .name(translate(name, language))
        .location(coordinates.latitude("latitude").longitude("longitude"))
        .tooltip(True)
        .config({"showLegend": True, "style": style})
    )
    panel = (
        with_title(geomap.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language))
        .view(geomap.MapViewConfig().id("fit").lat(31).lon(121).zoom(10).all_layers(True))
        .basemap(common_builders.MapLayerOptions().type("default").name("Layer 0"))
        .layers([markers])
        .mappings([styling.severity_mapping(language)])
        .thresholds(
            styling.threshold_config(
                (None, styling.GREEN),
                *((n, c) for n, c in enumerate(reversed(styling.SEVERITY_COLOURS.values()), 1)),
            )
        )
    )
    for column in ("severity", "latitude", "longitude", name, more):
        panel.override_by_name(
            column, [styling.override_property("displayName", translate(column, language))]
        )
    return panel
