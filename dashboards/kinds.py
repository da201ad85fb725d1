"""The kinds of panels, each of one named query: figures, tables, lines, bars, states, a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from grafana_foundation_sdk.builders import bargauge, geomap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.models import common as common_models

from dashboards import looks
from dashboards.postgres_query import Query, datasource
from dashboards.words import Language, word

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import ValueMap

P = TypeVar("P", stat.Panel, table.Panel, timeseries.Panel, statetimeline.Panel, bargauge.Panel, geomap.Panel)

GAP_MS = 3_600_000


def said(panel: P, key: str, language: Language) -> P:
    """Title and description of a panel, by its key in the words, and where it asks."""
    return (
        panel.title(word(key, language)).description(word(f"{key}_about", language)).datasource(datasource())
    )


def figure(key: str, query: str, language: Language) -> stat.Panel:
    """The numbers of a query's single row."""
    return (
        said(stat.Panel(), key, language)
        .with_target(Query(query, language))
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    )


def figures(key: str, query: str, columns: str, language: Language) -> stat.Panel:
    """A number a column, each under its word."""
    panel = figure(key, query, language).thresholds(looks.thresholds((None, looks.GREY)))
    for name in columns.split():
        panel.override_by_name(name, looks.column(name, language))
    return panel


def listed(
    key: str, query: str, columns: str, language: Language, *, link: tuple[str, str] | None = None
) -> table.Panel:
    """A table of a query; ``link`` is the variable that a row sets, and the board that it opens."""
    panel = said(table.Panel(), key, language).with_target(Query(query, language))
    for name in columns.split():
        properties = looks.column(name, language)
        if link and name == link[0]:
            properties = [*properties, looks.prop("links", [opening(*link, language)])]
        panel.override_by_name(name, properties)
    return panel


def opening(variable: str, board: str, language: Language) -> dict[str, object]:
    """A link of a cell: the board for what the row is about; the selection above it and the time go along."""
    above = {"site": ("city", "county", "town"), "town": ("city", "county")}[variable]
    kept = "".join(f"&${{{name}:queryparam}}" for name in above)
    chosen = f"var-{variable}=${{__data.fields.{variable}_id}}"
    return {
        "title": word(f"go_{variable}", language),
        "url": f"/d/towntwin-{board}-{language}?{chosen}{kept}&${{__url_time_range}}",
    }


def drawn(key: str, query: str, language: Language, **more: str) -> timeseries.Panel:
    """A query over time."""
    return (
        said(timeseries.Panel(), key, language)
        .with_target(Query(query, language, shape="time_series", **more))
        .span_nulls(GAP_MS)
    )


def stacked(key: str, query: str, language: Language) -> timeseries.Panel:
    """Counts over time, one on the other."""
    return (
        said(timeseries.Panel(), key, language)
        .with_target(Query(query, language, shape="time_series"))
        .draw_style(common_models.GraphDrawStyle.BARS)
        .fill_opacity(80)
        .stacking(common_builders.StackingConfig().mode(common_models.StackingMode.NORMAL))
        .min(0)
        .decimals(0)
    )


def states(key: str, query: str, words: ValueMap, language: Language) -> statetimeline.Panel:
    """What each was, over time, in words."""
    return (
        said(statetimeline.Panel(), key, language)
        .with_target(Query(query, language, shape="time_series"))
        .mappings([words])
        .thresholds(looks.thresholds((None, looks.GREY)))
        .merge_values(True)
        .show_value(common_models.VisibilityMode.AUTO)
    )


def gauges(key: str, query: str, column: str, language: Language) -> bargauge.Panel:
    """A bar a row of a query."""
    reduced = common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(True).fields(f"/^{column}$/")
    return (
        said(bargauge.Panel(), key, language)
        .with_target(Query(query, language))
        .reduce_options(reduced)
        .orientation(common_models.VizOrientation.HORIZONTAL)
    )


def places(key: str, query: str, name: str, language: Language, *, more: str) -> geomap.Panel:
    """Places on a map, coloured and sized by severity, named by a column; the tooltip shows ``more``, too."""
    at = common_builders.FrameGeometrySource().mode(common_models.FrameGeometrySourceMode.COORDS)
    style = {
        "color": {"field": "severity", "fixed": "green"},
        "size": {"field": "severity", "fixed": 6, "min": 6, "max": 16},
        "symbol": {"fixed": "img/icons/marker/circle.svg", "mode": "fixed"},
        "text": {"field": name, "fixed": "", "mode": "field"},
    }
    markers = (
        common_builders.MapLayerOptions()
        .type("markers")
        .name(word(name, language))
        .location(at.latitude("latitude").longitude("longitude"))
        .tooltip(True)
        .config({"showLegend": True, "style": style})
    )
    panel = (
        said(geomap.Panel(), key, language)
        .with_target(Query(query, language))
        .view(geomap.MapViewConfig().id("fit").lat(31).lon(121).zoom(10).all_layers(True))
        .basemap(common_builders.MapLayerOptions().type("default").name("Layer 0"))
        .layers([markers])
        .mappings([looks.severities(language)])
        .thresholds(
            looks.thresholds(
                (None, looks.GREEN), *((n, c) for n, c in enumerate(reversed(looks.SEVERITIES.values()), 1))
            )
        )
    )
    for column in ("severity", "latitude", "longitude", name, more):
        panel.override_by_name(column, [looks.prop("displayName", word(column, language))])
    return panel
