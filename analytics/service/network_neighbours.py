"""Finds the next measured sites upstream and downstream of each site, with the travel time between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container

    from ingest_service.storage.contract.models import Directory, Link

MAX_RIVER_TRAVEL_S = 8 * 3600.0
MAX_ROAD_TRAVEL_S = 1800.0
MIN_SPEED_M_S = 0.01


class NeighbouringSite(NamedTuple):
    """A neighbouring measured site and the travel time ``lag_s`` of water [s]; 0 on a road (fast queues)."""

    site_id: str
    lag_s: float
    network: str


def upstream_sites(directory: Directory, measured: Container[str]) -> dict[str, list[NeighbouringSite]]:
    """Return the next measured sites upstream of each site, nearest first; nodes without sites are passed.

    Parameters
    ----------
    measured : ids of the sites to consider

    """
    site_by_node = {node.node_id: node.site_id for node in directory.nodes if node.site_id in measured}
    links_into_node: dict[str, list[Link]] = {}
    for link in directory.links:
        links_into_node.setdefault(link.to_node, []).append(link)
    return {
        site: _measured_sites_above(node, site_by_node, links_into_node)
        for node, site in site_by_node.items()
        if site is not None
    }


def downstream_sites(
    upstream_of_site: dict[str, list[NeighbouringSite]],
) -> dict[str, list[NeighbouringSite]]:
    """Return the next measured sites downstream of each site, by inverting the upstream relation."""
    downstream_of_site: dict[str, list[NeighbouringSite]] = {}
    for site, sites in upstream_of_site.items():
        for one in sites:
            downstream_of_site.setdefault(one.site_id, []).append(one._replace(site_id=site))
    return downstream_of_site


def _measured_sites_above(
    start: str, site_by_node: dict[str, str | None], links_into_node: dict[str, list[Link]]
) -> list[NeighbouringSite]:
    found: dict[str, NeighbouringSite] = {}
    frontier, visited = [(start, 0.0)], {start}
    while frontier:
        node, travel_s = frontier.pop()
        for link in links_into_node.get(node, []):
            travel_there_s = travel_s + link.length_m / max(link.speed_m_s, MIN_SPEED_M_S)
            reach_s = MAX_RIVER_TRAVEL_S if link.network == "river" else MAX_ROAD_TRAVEL_S
            if link.from_node in visited or travel_there_s > reach_s:
                continue
            visited.add(link.from_node)
            site = site_by_node.get(link.from_node)
            if site is None:
                frontier.append((link.from_node, travel_there_s))
            else:
                found[site] = NeighbouringSite(
                    site, travel_there_s if link.network == "river" else 0.0, link.network
                )
    return sorted(found.values(), key=lambda one: (one.lag_s, one.site_id))
