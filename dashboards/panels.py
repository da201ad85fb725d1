"""Builds Grafana panels of each kind (stat, table, time series, bars, state timeline) from a query."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar, cast

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    geomap,
    heatmap,
    stat,
    statetimeline,
    table,
    timeseries,
    xychart,
)
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.models import common as common_models

from dashboards import styling
from dashboards.columns import column_properties
from dashboards.postgres_query import NamedQueryBuilder, datasource
from dashboards.settings import DEFAULT_CONSOLE_URL
from dashboards.translations import Language, translate
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from grafana_foundation_sdk.models import statetimeline as statetimeline_models
    from grafana_foundation_sdk.models.dashboard import ValueMap

P = TypeVar(
    "P",
    barchart.Panel,
    bargauge.Panel,
    geomap.Panel,
    heatmap.Panel,
    stat.Panel,
    statetimeline.Panel,
    table.Panel,
    timeseries.Panel,
    xychart.Panel,
)

MAX_CONNECTED_GAP_MS = 3_600_000
MAX_LABEL_CHARS = 40
FLAGGED_MARK = "△"
UNITS = sorted({one.unit for one in QUANTITIES.values()})


def with_title(panel: P, key: str, language: Language) -> P:
    """Set what every panel has: title and description (by key in `words.toml`), data source, text of nothing.

    The text of nothing is shown both by an empty and by a failed query, so it never means that all is well.
    """
    return (
        panel.title(translate(key, language))
        .description(translate(f"{key}_about", language))
        .datasource(datasource())
        .no_value(translate("no_data", language))
        .thresholds(styling.threshold_config((None, styling.GREY)))
    )


def legend(
    *calculations: str, at_right: bool = False, worst_last: bool = False
) -> common_builders.VizLegendOptions:
    """Build a legend with the given calculations of each series; ``worst_last`` sorts the smallest first."""
    made = common_builders.VizLegendOptions().show_legend(True).calcs(list(calculations))
    if at_right:
        made = made.display_mode(common_models.LegendDisplayMode.TABLE).placement(
            common_models.LegendPlacement.RIGHT
        )
    else:
        made = made.display_mode(common_models.LegendDisplayMode.LIST).placement(
            common_models.LegendPlacement.BOTTOM
        )
    return made.sort_by("Last *").sort_desc(False) if worst_last else made


def stat_panel(key: str, query: str, language: Language) -> stat.Panel:
    """Build a stat panel of the numbers in a query's single row; without a row it is red: "no data"."""
    return (
        with_title(stat.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language))
        .mappings([styling.no_data_mapping(language)])
        .color_mode(common_models.BigValueColorMode.BACKGROUND)
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    )


def table_panel(
    key: str,
    query: str,
    columns: str,
    language: Language,
    *,
    link: tuple[str, str, str] | None = None,
    to_console: str = "",
) -> table.Panel:
    """Build a table of a query.

    Parameters
    ----------
    link : the linked column, the variable it sets, the board it opens
    to_console : the column that opens the console's page of the incident in ``incident_id``
    """
    panel = with_title(table.Panel(), key, language).with_target(NamedQueryBuilder(query, language))
    panel.no_value(translate("no_rows", language))
    for name in columns.split():
        properties = column_properties(name, language)
        if link and name == link[0]:
            properties = [
                *properties,
                styling.override_property("links", [link_to_dashboard(*link[1:], language)]),
            ]
        if name == to_console:
            properties = [*properties, styling.override_property("links", [link_to_console(language)])]
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


def link_to_console(language: Language) -> dict[str, object]:
    """Return a cell's link to the console's page of the row's incident."""
    return {
        "title": translate("go_incident", language),
        "url": f"{DEFAULT_CONSOLE_URL}/console/incidents/${{__data.fields.incident_id}}",
        "targetBlank": True,
    }


def time_series_panel(key: str, query: str, language: Language, **more: str) -> timeseries.Panel:
    """Build a time series panel; ``more`` are substitutions in the query (`postgres_query.raw_sql`).

    Series whose name begins with `FLAGGED_MARK` are flagged readings, drawn as points.
    """
    panel = (
        with_title(timeseries.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language, result_format="time_series", **more))
        .span_nulls(MAX_CONNECTED_GAP_MS)
        .legend(legend("lastNotNull"))
    )
    return panel.override_by_regexp(f"/^{FLAGGED_MARK}/", flagged_points())


def flagged_points() -> styling.Properties:
    """Return the field override that draws flagged readings as large red points, not connected."""
    return [
        styling.override_property("custom.drawStyle", "points"),
        styling.override_property("custom.pointSize", 8),
        styling.fixed_colour(styling.RED),
    ]


def quantity_panel(key: str, quantity: str, language: Language) -> timeseries.Panel:
    """Build a time series panel of one quantity at the selected sites, in the unit of the registry."""
    panel = time_series_panel(key, "values_of", language, quantity=quantity)
    return panel.unit(unit_suffix(QUANTITIES[quantity].unit))


def unit_suffix(unit: str) -> str:
    """Return a unit in Grafana's notation, which writes one space between number and unit."""
    return f"suffix:{unit}"


def with_unit_axes(panel: timeseries.Panel, language: Language) -> timeseries.Panel:
    """Give each unit its own axis, found by the unit at the end of a series' name, for example ``[mg/L]``.

    The band between the series of the lower and the upper limit is filled, unit by unit.
    """
    for unit in UNITS:
        panel.override_by_regexp(
            f"/{_as_pattern(f'[{unit}]')}$/",
            [styling.override_property("unit", unit_suffix(unit))],
        )
    hidden = [
        styling.override_property("custom.lineWidth", 0),
        styling.override_property("custom.hideFrom", {"legend": True, "tooltip": False, "viz": False}),
    ]
    for unit in UNITS:
        upper, lower = (f"{translate(one, language)} [{unit}]" for one in ("upper", "lower"))
        panel.override_by_regexp(f"/^{_as_pattern(lower)}$/", hidden)
        panel.override_by_regexp(
            f"/^{_as_pattern(upper)}$/", [*hidden, styling.override_property("custom.fillBelowTo", lower)]
        )
    return panel


def _as_pattern(text: str) -> str:
    """Return a text as a regular expression of JavaScript between slashes."""
    return re.sub(r"([\[\]/.^$*+?(){}|\\])", r"\\\1", text)


def stacked_bars_panel(key: str, query: str, language: Language) -> timeseries.Panel:
    """Build a panel of counts over time as stacked bars."""
    return (
        with_title(timeseries.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language, result_format="time_series"))
        .draw_style(common_models.GraphDrawStyle.BARS)
        .bar_alignment(common_models.BarAlignment.AFTER)  # a row holds the beginning of its bin
        .fill_opacity(80)
        .stacking(common_builders.StackingConfig().mode(common_models.StackingMode.NORMAL))
        .legend(legend("sum"))
        .axis_label(translate("count", language))
        .min(0)
        .decimals(0)
    )


def bar_chart_panel(key: str, query: str, x: str, language: Language) -> barchart.Panel:
    """Build stacked bars of the numbers in a query's rows, named by the text in column ``x``."""
    panel = (
        with_title(barchart.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language))
        .x_field(x)
        .x_tick_label_max_length(MAX_LABEL_CHARS)
        .stacking(common_models.StackingMode.NORMAL)
        .legend(legend("sum"))
        .axis_label(translate("count", language))
        .decimals(0)
    )
    return panel.override_by_name(x, [styling.override_property("displayName", translate(x, language))])


def state_timeline_panel(
    key: str, query: str, value_texts: ValueMap, language: Language, **more: str
) -> statetimeline.Panel:
    """Build a state timeline that shows each value as its mapped text and colour."""
    panel = (
        with_title(statetimeline.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language, result_format="time_series", **more))
        .mappings([value_texts])
        .legend(legend())
        .merge_values(True)
        .show_value(common_models.VisibilityMode.AUTO)
    )
    options = cast("statetimeline_models.Options", panel.build().options)
    options.per_page = (
        0  # no pages: with any number of rows a page there is a pager; the builder refuses zero
    )
    return panel


def bar_gauge_panel(key: str, query: str, column: str, language: Language) -> bargauge.Panel:
    """Build a bar gauge with one horizontal bar for each row of a query; texts have the theme's colour."""
    reduced = common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(True).fields(f"/^{column}$/")
    return (
        with_title(bargauge.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language))
        .mappings([styling.no_data_mapping(language)])
        .reduce_options(reduced)
        .value_mode(common_models.BarGaugeValueMode.TEXT)
        .name_placement(common_models.BarGaugeNamePlacement.TOP)
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .orientation(common_models.VizOrientation.HORIZONTAL)
    )
