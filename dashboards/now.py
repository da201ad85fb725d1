"""What is wrong now: figures, the list, the map, when it began."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import geomap, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import units

from dashboards import common
from dashboards.postgres_query import Query, datasource
from dashboards.words import Language, word

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import DynamicConfigValue


def open_by_severity(language: Language) -> stat.Panel:
    """How many anomalies are open, by severity."""
    panel = figure("open", "open_by_severity", language).color_mode(
        common_models.BigValueColorMode.BACKGROUND
    )
    colours = {"alarm": common.RED, "warning": common.ORANGE, "notice": common.BLUE}
    for name, colour in colours.items():
        panel.override_by_name(
            name,
            [
                common.prop("displayName", word(name, language)),
                common.prop("thresholds", {"mode": "absolute", "steps": _from_one(colour)}),
            ],
        )
    return panel


def silent_devices(language: Language) -> stat.Panel:
    """How many devices are silent."""
    return figure("silent", "silent_devices", language).thresholds(
        common.thresholds((None, common.GREEN), (1, common.ORANGE), (5, common.RED))
    )


def newest_age(language: Language) -> stat.Panel:
    """How long ago a reading last came."""
    return (
        figure("age", "newest_age", language)
        .unit(units.Seconds)
        .thresholds(common.thresholds((None, common.GREEN), (900, common.ORANGE), (3600, common.RED)))
    )


def dead_letters(language: Language) -> stat.Panel:
    """How many messages could not be read."""
    return figure("letters", "dead_letters", language).thresholds(
        common.thresholds((None, common.GREEN), (1, common.ORANGE))
    )


def figure(key: str, query: str, language: Language) -> stat.Panel:
    """One number of a query's single row."""
    return (
        stat.Panel()
        .title(word(key, language))
        .description(word(f"{key}_about", language))
        .datasource(datasource())
        .with_target(Query(query, language))
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    )


def wrong_now(language: Language) -> table.Panel:
    """The list of what is wrong, worst first."""
    panel = (
        table.Panel()
        .title(word("wrong", language))
        .description(word("wrong_about", language))
        .datasource(datasource())
        .with_target(Query("wrong_now", language))
        .no_value(word("fine", language))
    )
    columns = dict(common.named(language, "since", "severity", "town", "site", "quantity", "reason", "score"))
    columns["severity"] += [
        common.prop("mappings", [common.severities(language)]),
        common.prop("custom.cellOptions", {"type": "color-background"}),
        common.prop("custom.width", 110),
    ]
    columns["since"] += [common.prop("unit", "dateTimeAsLocal"), common.prop("custom.width", 170)]
    columns["score"] += [common.prop("decimals", 1), common.prop("custom.width", 80)]
    columns["reason"] += [common.prop("custom.minWidth", 360)]
    return _overridden(panel, columns)


def where(language: Language) -> geomap.Panel:
    """The sites on a map, coloured by their worst open anomaly."""
    place = common_builders.FrameGeometrySource()
    place.mode(common_models.FrameGeometrySourceMode.COORDS).latitude("latitude").longitude("longitude")
    markers = (
        common_builders.MapLayerOptions()
        .type("markers")
        .name(word("site", language))
        .location(place)
        .tooltip(True)
        .config(
            {
                "showLegend": True,
                "style": {
                    "color": {"field": "severity", "fixed": "green"},
                    "size": {"field": "severity", "fixed": 6, "min": 6, "max": 16},
                    "symbol": {"fixed": "img/icons/marker/circle.svg", "mode": "fixed"},
                    "text": {"field": "site", "fixed": "", "mode": "field"},
                },
            }
        )
    )
    return (
        geomap.Panel()
        .title(word("map", language))
        .description(word("map_about", language))
        .datasource(datasource())
        .with_target(Query("map", language))
        .view(geomap.MapViewConfig().id("fit").lat(31).lon(121).zoom(10).all_layers(True))
        .basemap(common_builders.MapLayerOptions().type("default").name("Layer 0"))
        .layers([markers])
        .mappings([common.severities(language)])
        .thresholds(
            common.thresholds((None, common.GREEN), (1, common.BLUE), (2, common.ORANGE), (3, common.RED))
        )
        .override_by_name("severity", [common.prop("displayName", word("severity", language))])
    )


def begun(language: Language) -> timeseries.Panel:
    """How many anomalies began when."""
    panel = (
        timeseries.Panel()
        .title(word("begun", language))
        .description(word("begun_about", language))
        .datasource(datasource())
        .with_target(Query("anomalies_begun", language, shape="time_series"))
        .draw_style(common_models.GraphDrawStyle.BARS)
        .fill_opacity(80)
        .stacking(common_builders.StackingConfig().mode(common_models.StackingMode.NORMAL))
        .min(0)
        .decimals(0)
    )
    colours = {"alarm": common.RED, "warning": common.ORANGE, "notice": common.BLUE}
    for name, colour in colours.items():
        fixed = common.prop("color", {"mode": "fixed", "fixedColor": colour})
        panel.override_by_name(name, [common.prop("displayName", word(name, language)), fixed])
    return panel


def _overridden(panel: table.Panel, columns: dict[str, list[DynamicConfigValue]]) -> table.Panel:
    for name, properties in columns.items():
        panel.override_by_name(name, properties)
    return panel


def _from_one(colour: str) -> list[dict[str, object]]:
    return [{"value": None, "color": common.GREY}, {"value": 1, "color": colour}]
