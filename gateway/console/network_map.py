"""Builds the map's ECharts options: rivers and roads, status by shape and colour, flow as moving dots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.console.translations import Language, translate
from ingest_service.storage.contract.models import Directory, Node

if TYPE_CHECKING:
    from analytics.service.network_state import LinkState, NodeState, Status
    from gateway.console.platform_state import PlatformState
    from ingest_service.storage.contract.models import Link

STATUS_COLOURS: dict[Status, str] = {
    "ok": "#3ddc97",
    "suspect": "#ffc857",
    "anomaly": "#ff4d5e",
    "silent": "#9aa5b1",
    "warming": "#7ec8ff",
    "unknown": "#51606f",
}
STATUS_SHAPES: dict[Status, str] = {
    "ok": "circle",
    "suspect": "triangle",
    "anomaly": "diamond",
    "silent": "rect",
    "warming": "arrow",
    "unknown": "emptyCircle",
}
STATUS_SIZES: dict[Status, int] = {
    "ok": 11,
    "suspect": 15,
    "anomaly": 22,
    "silent": 14,
    "warming": 13,
    "unknown": 8,
}
RIVER_COLOUR, ROAD_COLOUR, TEXT_COLOUR = "#2f81f7", "#6e7b8a", "#dbe4ee"
TOOLTIP_MODE = "richText"  # drawn on the canvas: with ECharts' mode "html" markup in a name would run
ROAD_SITE_KINDS = ("junction", "road_section")
LABEL_MARGIN_PX = 150  # at the right, for the labels of the outermost nodes
LABEL_WIDTH_PX = 132  # longer names are wrapped
PHONE_WIDTH_PX = 500  # of a chart, below which its legend takes two rows
DEGREE_ASPECT = 0.86  # length of a degree of longitude over one of latitude, at 30.7° N


def with_site_nodes(directory: Directory) -> Directory:
    """Return a directory with a node for each site without one, so that the map shows every site."""
    sites_with_node = {one.site_id for one in directory.nodes}
    site_nodes = [
        Node(
            node_id=f"site/{one.site_id}",
            network="road" if one.kind in ROAD_SITE_KINDS else "river",
            kind="section",
            site_id=one.site_id,
            area_id=one.area_id,
            en=one.en,
            zh=one.zh,
            lon=one.lon,
            lat=one.lat,
        )
        for one in directory.sites
        if one.site_id not in sites_with_node
    ]
    return msgspec.structs.replace(directory, nodes=[*directory.nodes, *site_nodes])


def map_options(platform_state: PlatformState, language: Language) -> dict[str, Any]:
    """Return the ECharts options of the map."""
    nodes = {one.node_id: one for one in with_site_nodes(platform_state.directory_index.directory).nodes}
    states = {one.node_id: one for one in platform_state.state.nodes}
    links = {one.link_id: one for one in platform_state.directory_index.directory.links}
    return {
        "backgroundColor": "transparent",
        "animation": False,
        "grid": {"left": 12, "right": LABEL_MARGIN_PX, "top": 40, "bottom": 16},
        "media": [{"query": {"maxWidth": PHONE_WIDTH_PX}, "option": {"grid": {"top": 84}}}, {"option": {}}],
        "legend": _legend(language),
        "tooltip": {"trigger": "item", "confine": True, "renderMode": TOOLTIP_MODE},
        **_axes(list(nodes.values())),
        "series": [
            *(_lines(platform_state, links, nodes, network, language) for network in ("road", "river")),
            *(_points(nodes, states, status, language) for status in STATUS_COLOURS),
        ],
    }


def _axes(nodes: list[Node]) -> dict[str, Any]:
    """Return both axes, hidden, with the same margin [degrees] on each side."""
    lons, lats = [node.lon for node in nodes] or [0.0], [node.lat for node in nodes] or [0.0]
    margin = 0.06 * max(max(lons) - min(lons), max(lats) - min(lats), 0.01)

    def axis(values: list[float]) -> dict[str, Any]:
        return {"type": "value", "show": False, "min": min(values) - margin, "max": max(values) + margin}

    return {"xAxis": axis(lons), "yAxis": axis(lats)}


def _legend(language: Language) -> dict[str, Any]:
    names = [translate(f"status_{status}", language) for status in STATUS_COLOURS]
    return {
        "data": names,
        "top": 4,
        "left": 8,
        "textStyle": {"color": TEXT_COLOUR, "fontSize": 13},
        "itemGap": 18,
        "itemWidth": 14,
    }


def _lines(
    platform_state: PlatformState,
    links: dict[str, Link],
    nodes: dict[str, Node],
    network: str,
    language: Language,
) -> dict[str, Any]:
    network_links = [one for one in platform_state.state.links if one.network == network]
    return {
        "type": "lines",
        "name": translate(network, language),
        "coordinateSystem": "cartesian2d",
        "polyline": True,
        "z": 1,
        "data": [_line(one, links[one.link_id], nodes, language) for one in network_links],
        "effect": {
            "show": network == "river",
            "constantSpeed": 14,
            "trailLength": 0,
            "symbol": "circle",
            "symbolSize": 3,
            "color": "#9fd0ff",
        },
    }


def _line(state: LinkState, link: Link, nodes: dict[str, Node], language: Language) -> dict[str, Any]:
    ends = [nodes[link.from_node], nodes[link.to_node]]
    is_road = link.network == "road"
    has_anomaly = state.status == "anomaly"
    is_congested = state.congestion is not None and state.congestion < 0.5
    colour = (
        STATUS_COLOURS["anomaly"]
        if has_anomaly
        else STATUS_COLOURS["suspect"]
        if is_congested
        else ROAD_COLOUR
        if is_road
        else RIVER_COLOUR
    )
    congestion_text = f"\n{state.congestion:.0%}" if state.congestion is not None else ""
    name = escape_template(_name(link, language))
    return {
        "coords": [list(pair) for pair in link.coordinates] or [[one.lon, one.lat] for one in ends],
        "lineStyle": {
            "color": colour,
            "width": 2.5 if is_road else 4,
            "type": "dashed" if has_anomaly else "solid",
            "opacity": 0.9 if has_anomaly else 0.65,
        },
        "tooltip": {"formatter": f"{name}\n{link.length_m / 1000:.1f} km{congestion_text}"},
    }


def _points(
    nodes: dict[str, Node],
    states: dict[str, NodeState],
    status: Status,
    language: Language,
) -> dict[str, Any]:
    nodes_with_status = [one for one in states.values() if one.status == status]
    return {
        "type": "scatter",
        "name": translate(f"status_{status}", language),
        "symbol": STATUS_SHAPES[status],
        "symbolSize": STATUS_SIZES[status],
        "itemStyle": {"color": STATUS_COLOURS[status], "borderColor": "#0b1420", "borderWidth": 1},
        "z": 3 if status in ("anomaly", "silent") else 2,
        "labelLayout": {"hideOverlap": True, "moveOverlap": "shiftY"},
        "data": [_point(one, nodes[one.node_id], language) for one in nodes_with_status],
    }


def _point(state: NodeState, node: Node, language: Language) -> dict[str, Any]:
    is_labelled = state.status in ("anomaly", "silent")
    measured = "".join(f"\n{one.quantity}: {one.value + 0.0:.4g} {one.unit}" for one in state.measured)
    name = escape_template(_name(node, language))
    return {
        "name": name,
        "value": [node.lon, node.lat],
        "site": state.site_id,
        "label": {
            "show": is_labelled,
            "formatter": name,
            "position": "right",
            "width": LABEL_WIDTH_PX,
            "overflow": "break",
            "color": TEXT_COLOUR,
            "fontSize": 12,
        },
        "tooltip": {"formatter": f"{name} · {translate(f'status_{state.status}', language)}{measured}"},
    }


def escape_template(name: str) -> str:
    """Return a name without the braces of ECharts' templates ({b}) and rich text ({style|…}).

    >>> escape_template("{a|North} bridge")
    '(a|North) bridge'
    """
    return name.replace("{", "(").replace("}", ")")


def _name(one: Node | Link, language: Language) -> str:
    return one.zh if language == "zh" else one.en
