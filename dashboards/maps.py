"""Builds maps of sites and towns over the town's own rivers and roads; a tile server is a setting.

Grafana's built-in base layers load tiles from the internet. Without a setting the base layer is one
transparent tile that is part of the dashboard, so a map makes no request to any host. Rivers and roads are
drawn as dots along their lines: markers are the only layer of all versions from 9.4 that draws a query's rows
in any number of lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import geomap
from grafana_foundation_sdk.models import common as common_models

from dashboards import styling
from dashboards.panels import with_title
from dashboards.postgres_query import NamedQueryBuilder
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.models import dashboard as models

TRANSPARENT_TILE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
RIVER_COLOUR, ROAD_COLOUR = "#4C8FD6", "#9A9A9A"
MARKER_PX, DOT_PX = 8, 1.5
POINTS, LINES = "A", "B"


def map_panel(key: str, query: str, name: str, language: Language, *, more: str) -> geomap.Panel:
    """Build a map of points, coloured by severity; the title is the legend, and the labels do not overlap.

    Column ``label`` of the query is the text beside a point; the tooltip also shows ``name`` and ``more``.
    """
    panel = (
        _points_and_lines(key, query, _markers("severity"), name, language)
        .title(f"{translate(key, language)}: {severity_legend(language)}")
        .mappings([styling.severity_mapping(language)])
        .thresholds(
            styling.threshold_config(
                (None, styling.GREY),
                (0, styling.GREEN),
                *((n, c) for n, c in enumerate(reversed(styling.SEVERITY_COLOURS.values()), 1)),
            )
        )
    )
    for column in ("severity", more):
        panel.override_by_name(
            column, [styling.override_property("displayName", translate(column, language))]
        )
    return panel


def state_map_panel(key: str, query: str, language: Language) -> geomap.Panel:
    """Build a map of the nodes of a network, coloured by where their values come from; values are labels."""
    signs = {"measured": "🟢", "estimated": "🔵"}
    legend = "  ".join(f"{sign} {translate(name, language)}" for name, sign in signs.items())
    panel = (
        _points_and_lines(key, query, _markers("is_measured"), "node", language)
        .title(f"{translate(key, language)}: {legend}")
        .thresholds(styling.threshold_config((None, styling.BLUE), (1, styling.GREEN)))
    )
    sources = {
        "0": (translate("estimated", language), styling.BLUE),
        "1": (translate("measured", language), styling.GREEN),
    }
    return panel.override_by_name(
        "is_measured",
        [
            styling.override_property("displayName", translate("source", language)),
            styling.override_property("mappings", [styling.value_mapping(sources)]),
        ],
    )


def _points_and_lines(
    key: str, query: str, markers: dict[str, Any], name: str, language: Language
) -> geomap.Panel:
    """Build a map of a query's points over the lines of the networks, before title and colours."""
    panel = (
        with_title(geomap.Panel(), key, language)
        .with_target(NamedQueryBuilder(query, language, ref_id=POINTS))
        .with_target(NamedQueryBuilder(f"{query}_lines", language, ref_id=LINES))
        .view(geomap.MapViewConfig().id("fit").lat(31).lon(121).zoom(10).all_layers(True))
        .basemap(_no_base_layer())
        .layers(
            [
                _layer(translate("network", language), LINES, _dots()),
                _layer(translate(name, language), POINTS, markers, has_tooltip=True),
            ]
        )
    )
    for column in ("latitude", "longitude", "label", name):
        panel.override_by_name(
            column, [styling.override_property("displayName", translate(column, language))]
        )
    network = {
        "0": (translate("road", language), ROAD_COLOUR),
        "1": (translate("river", language), RIVER_COLOUR),
    }
    properties = [
        styling.override_property("displayName", translate("network", language)),
        styling.threshold_property((None, ROAD_COLOUR), (1, RIVER_COLOUR)),
        styling.override_property("mappings", [styling.value_mapping(network)]),
    ]
    return panel.override_by_name("network", properties)


def severity_legend(language: Language) -> str:
    """Return the colours of the markers with their words."""
    names = {"🔴": "alarm", "🟠": "warning", "🔵": "notice", "🟢": "fine", "⚪": "no_data"}
    return "  ".join(f"{sign} {translate(key, language)}" for sign, key in names.items())


def set_base_layer(dashboard: models.Dashboard, tiles: str, attribution: str) -> None:
    """Draw the tiles of an own server below every map of a dashboard.

    Parameters
    ----------
    dashboard : is changed
    tiles : template of the addresses, with ``{z}``, ``{x}`` and ``{y}``, of any server of raster tiles
    attribution : written in the corner of the map

    """
    for panel in dashboard.panels or []:
        options = getattr(panel, "options", None)
        if getattr(panel, "type_val", "") == "geomap" and options is not None:
            options.basemap = _tiles(tiles, attribution).build()


def _no_base_layer() -> common_builders.MapLayerOptions:
    return _tiles(TRANSPARENT_TILE, "")


def _tiles(url: str, attribution: str) -> common_builders.MapLayerOptions:
    return (
        common_builders.MapLayerOptions()
        .type("xyz")
        .name("base")
        .config({"url": url, "attribution": attribution})
    )


def _layer(
    name: str, query: str, style: dict[str, Any], *, has_tooltip: bool = False
) -> common_builders.MapLayerOptions:
    coordinates = common_builders.FrameGeometrySource().mode(common_models.FrameGeometrySourceMode.COORDS)
    return (
        common_builders.MapLayerOptions()
        .type("markers")
        .name(name)
        .location(coordinates.latitude("latitude").longitude("longitude"))
        .filter_data({"id": "byRefId", "options": query})
        .tooltip(has_tooltip)
        .config({"showLegend": False, "style": style})
    )


def _markers(colour_field: str) -> dict[str, Any]:
    return {
        **_circle(colour_field, MARKER_PX, opacity=1.0),
        "text": {"field": "label", "fixed": "", "mode": "field"},
        "textConfig": {
            "fontSize": 12, "offsetX": 0, "offsetY": -14, "textAlign": "center", "textBaseline": "middle",
        },
    }  # fmt: skip


def _dots() -> dict[str, Any]:
    return _circle("network", DOT_PX, opacity=0.9)


def _circle(colour_field: str, radius_px: float, *, opacity: float) -> dict[str, Any]:
    """Return the style of circles of one size, coloured by a field's thresholds."""
    return {
        "color": {"field": colour_field, "fixed": styling.GREY},
        "opacity": opacity,
        "size": {"fixed": radius_px, "min": radius_px, "max": radius_px},
        "symbol": {"fixed": "img/icons/marker/circle.svg", "mode": "fixed"},
    }
