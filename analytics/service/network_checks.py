"""Finds what can't be right in the enrolled networks, each finding with its place.

Parts that are not connected, lengths of zero or that contradict the positions, slopes that can't be, and
sensors that are not on the network.
"""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ingest_service.storage.contract.models import Directory, Link, Node, Site

EARTH_M = 6_371_008.8
MIN_LENGTH_M = 1.0
MAX_SENSOR_DISTANCE_M = 200.0  # between a site and its node
MAX_SLOPE = {"river": 0.1, "road": 0.3}  # beyond a fall; the steepest streets have 0.35
MAX_RISE_M = 0.5  # along the flow of a reach: beds of canals are not even
STRAIGHT_SHARE = 0.9  # of the straight distance, that a length may be, for positions are inexact
DRAWN_FACTOR, DRAWN_EXTRA_M = 1.5, 200.0  # that a length may exceed its course drawn
MAX_NAMED = 5
NETWORK_ZH = {"river": "河网", "road": "路网"}
# Networks on which sensors of a kind of site have to be; rain gauges stand anywhere.
NETWORK_OF_SITE = {
    "river_section": "river",
    "lake_section": "river",
    "outfall": "river",
    "tide_gauge": "river",
    "road_section": "road",
    "junction": "road",
}
Check = Literal["not_connected", "zero_length", "impossible_length", "impossible_slope", "sensor_off_network"]


class NetworkFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can't be right, and where.

    Attributes
    ----------
    feature, feature_id : node, link or site
    en, zh, lon, lat : name and position of it [deg]; of a link those of its first node
    explanation_en, explanation_zh : what is wrong

    """

    check: Check
    network: str
    feature: Literal["node", "link", "site"]
    feature_id: str
    en: str
    zh: str
    lon: float
    lat: float
    explanation_en: str
    explanation_zh: str


def distance_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the great-circle distance of two points (longitude, latitude) [deg] on the sphere [m].

    >>> round(distance_m((120.0, 30.0), (120.0, 31.0)))
    111195
    """
    (lon_1, lat_1), (lon_2, lat_2) = ((radians(lon), radians(lat)) for lon, lat in (one, other))
    half = sin((lat_2 - lat_1) / 2) ** 2 + cos(lat_1) * cos(lat_2) * sin((lon_2 - lon_1) / 2) ** 2
    return 2 * EARTH_M * asin(sqrt(half))


def check_networks(directory: Directory) -> list[NetworkFinding]:
    """Return everything that is found, by kind of check; an empty list where the networks are consistent."""
    return [
        *_parts_not_connected(directory),
        *_lengths(directory),
        *_slopes(directory),
        *_sensors_off_network(directory),
    ]


def _parts_not_connected(directory: Directory) -> Iterator[NetworkFinding]:
    """Yield the smaller parts of an area's river or roads; those of several areas may be apart."""
    part_by_node = connected_parts(directory)
    for network in ("river", "road"):
        by_area: dict[str, dict[str, list[Node]]] = {}
        for node in directory.nodes:
            if node.network == network:
                parts = by_area.setdefault(node.area_id, {})
                parts.setdefault(part_by_node[node.node_id], []).append(node)
        for area_id, parts in by_area.items():
            largest = max(parts, key=lambda name: (len(parts[name]), name))
            for name, nodes in parts.items():
                if name != largest:
                    yield _part_finding(network, area_id, nodes, len(parts[largest]))


def _part_finding(network: str, area_id: str, nodes: Sequence[Node], n_largest: int) -> NetworkFinding:
    names = ", ".join(one.node_id for one in nodes[:MAX_NAMED]) + (", …" if len(nodes) > MAX_NAMED else "")
    subject = f"{network} node {names}" if len(nodes) == 1 else f"{len(nodes)} {network} nodes {names}"
    has = "has" if len(nodes) == 1 else "have"
    return _node_finding(
        "not_connected",
        nodes[0],
        f"the {subject} of {area_id} {has} no link to its largest part, of {n_largest} nodes",
        f"{area_id}{NETWORK_ZH[network]}有{len(nodes)}个节点（{names}）与最大部分（{n_largest}个节点）不连通",
    )


def connected_parts(directory: Directory) -> dict[str, str]:
    """Return for each node the first node of its connected part, whatever the direction of links."""
    neighbours: dict[str, list[str]] = {one.node_id: [] for one in directory.nodes}
    for link in directory.links:
        neighbours[link.from_node].append(link.to_node)
        neighbours[link.to_node].append(link.from_node)
    part_by_node: dict[str, str] = {}
    for first in sorted(neighbours):
        waiting = [first]
        while waiting:
            name = waiting.pop()
            if name not in part_by_node:
                part_by_node[name] = first
                waiting += neighbours[name]
    return part_by_node


def _lengths(directory: Directory) -> Iterator[NetworkFinding]:
    nodes = {one.node_id: one for one in directory.nodes}
    for link in directory.links:
        begin, end = nodes[link.from_node], nodes[link.to_node]
        straight_m = distance_m((begin.lon, begin.lat), (end.lon, end.lat))
        drawn_m = sum(map(distance_m, link.coordinates, link.coordinates[1:]))
        if min(link.length_m, drawn_m if link.coordinates else link.length_m) < MIN_LENGTH_M:
            yield _link_finding(
                "zero_length",
                link,
                begin,
                f"is {link.length_m:.3g} m long, and its course {drawn_m:.3g} m: a link needs a length",
                f"长度为{link.length_m:.3g}米，走向长{drawn_m:.3g}米：须有长度",
            )
        elif link.length_m < STRAIGHT_SHARE * straight_m:
            yield _link_finding(
                "impossible_length",
                link,
                begin,
                f"is {link.length_m:.0f} m long, shorter than the {straight_m:.0f} m between its ends",
                f"长{link.length_m:.0f}米，短于两端直线距离{straight_m:.0f}米",
            )
        elif link.coordinates and link.length_m > DRAWN_FACTOR * drawn_m + DRAWN_EXTRA_M:
            yield _link_finding(
                "impossible_length",
                link,
                begin,
                f"is {link.length_m:.0f} m long, and its course {drawn_m:.0f} m",
                f"长{link.length_m:.0f}米，而走向仅长{drawn_m:.0f}米",
            )


def _slopes(directory: Directory) -> Iterator[NetworkFinding]:
    nodes = {one.node_id: one for one in directory.nodes}
    for link in directory.links:
        begin, end = nodes[link.from_node], nodes[link.to_node]
        if begin.elevation_m is None or end.elevation_m is None:
            continue
        rise_m = end.elevation_m - begin.elevation_m
        numbers = f"{begin.elevation_m:.2f} → {end.elevation_m:.2f} m, {link.length_m:.0f} m"
        if abs(rise_m) > MAX_SLOPE[link.network] * link.length_m:
            yield _link_finding(
                "impossible_slope",
                link,
                begin,
                f"has a slope of {abs(rise_m) / link.length_m:.0%} ({numbers}), which can't be",
                f"坡度{abs(rise_m) / link.length_m:.0%}（{numbers.replace(' m', '米')}），不合理",
            )
        elif (
            link.network == "river"
            and rise_m > MAX_RISE_M
            and link.direction == "forward"
            and link.structure is None
        ):
            yield _link_finding(
                "impossible_slope",
                link,
                begin,
                f"rises {rise_m:.2f} m along its flow ({numbers})",
                f"沿水流方向升高{rise_m:.2f}米（{numbers.replace(' m', '米')}）",
            )


def _sensors_off_network(directory: Directory) -> Iterator[NetworkFinding]:
    measured = {one.site_id for one in directory.series}
    node_by_site = {one.site_id: one for one in directory.nodes if one.site_id is not None}
    for site in directory.sites:
        network = NETWORK_OF_SITE.get(site.kind)
        if network is None or site.site_id not in measured:
            continue
        node = node_by_site.get(site.site_id)
        if node is None:
            nearest = _nearest(site, (one for one in directory.nodes if one.network == network))
            en, zh = ("", "") if nearest is None else nearest
            yield _site_finding(
                network,
                site,
                f"measures, but is at no node of the {network} network{en}",
                f"有监测，但不在{NETWORK_ZH[network]}的任何节点上{zh}",
            )
            continue
        apart_m = distance_m((site.lon, site.lat), (node.lon, node.lat))
        if apart_m > MAX_SENSOR_DISTANCE_M:
            yield _site_finding(
                node.network,
                site,
                f"is {apart_m:.0f} m away from its node {node.node_id}",
                f"距其节点{node.node_id}有{apart_m:.0f}米",
            )


def _nearest(site: Site, nodes: Iterable[Node]) -> tuple[str, str] | None:
    """Return the nearest node in words, English and Chinese; None without any node."""
    distances = [(distance_m((site.lon, site.lat), (one.lon, one.lat)), one.node_id) for one in nodes]
    if not distances:
        return None
    nearest_m, name = min(distances)
    return f"; the nearest, {name}, is {nearest_m:.0f} m away", f"；最近的节点{name}在{nearest_m:.0f}米外"


def _node_finding(check: Check, node: Node, en: str, zh: str) -> NetworkFinding:
    return NetworkFinding(
        check=check,
        network=node.network,
        feature="node",
        feature_id=node.node_id,
        en=node.en,
        zh=node.zh,
        lon=node.lon,
        lat=node.lat,
        explanation_en=en,
        explanation_zh=zh,
    )


def _link_finding(check: Check, link: Link, begin: Node, en: str, zh: str) -> NetworkFinding:
    return NetworkFinding(
        check=check,
        network=link.network,
        feature="link",
        feature_id=link.link_id,
        en=link.en,
        zh=link.zh,
        lon=begin.lon,
        lat=begin.lat,
        explanation_en=en,
        explanation_zh=zh,
    )


def _site_finding(network: str, site: Site, en: str, zh: str) -> NetworkFinding:
    return NetworkFinding(
        check="sensor_off_network",
        network=network,
        feature="site",
        feature_id=site.site_id,
        en=site.en,
        zh=site.zh,
        lon=site.lon,
        lat=site.lat,
        explanation_en=en,
        explanation_zh=zh,
    )
