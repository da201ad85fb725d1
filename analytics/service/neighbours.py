"""Neighbouring sites along a network, with the travel time of water between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container

    from ingest_service.storage.model import Directory, Link

RIVER_REACH_S = 8 * 3600.0
ROAD_REACH_S = 1800.0
SLOWEST_M_S = 0.01


class Next(NamedTuple):
    """The next measured site upstream; travel time from there [s], 0 on a road, whose queues grow at once."""

    site_id: str
    lag_s: float
    network: str


def upstream(directory: Directory, measured: Container[str]) -> dict[str, list[Next]]:
    """The next measured sites upstream of each site, over nodes that measure nothing; nearest first."""
    site_of = {node.node_id: node.site_id for node in directory.nodes if node.site_id in measured}
    into: dict[str, list[Link]] = {}
    for link in directory.links:
        into.setdefault(link.to_node, []).append(link)
    return {site: _above(node, site_of, into) for node, site in site_of.items() if site is not None}


def downstream(above: dict[str, list[Next]]) -> dict[str, list[Next]]:
    """The same, seen from the sites above."""
    below: dict[str, list[Next]] = {}
    for site, sites in above.items():
        for one in sites:
            below.setdefault(one.site_id, []).append(one._replace(site_id=site))
    return below


def _above(start: str, site_of: dict[str, str | None], into: dict[str, list[Link]]) -> list[Next]:
    found: dict[str, Next] = {}
    front, seen = [(start, 0.0)], {start}
    while front:
        node, travel_s = front.pop()
        for link in into.get(node, []):
            there_s = travel_s + link.length_m / max(link.speed_m_s, SLOWEST_M_S)
            reach_s = RIVER_REACH_S if link.network == "river" else ROAD_REACH_S
            if link.from_node in seen or there_s > reach_s:
                continue
            seen.add(link.from_node)
            site = site_of.get(link.from_node)
            if site is None:
                front.append((link.from_node, there_s))
            else:
                found[site] = Next(site, there_s if link.network == "river" else 0.0, link.network)
    return sorted(found.values(), key=lambda one: (one.lag_s, one.site_id))
