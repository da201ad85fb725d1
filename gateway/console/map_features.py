"""Builds the map's data: rivers, roads and sites as GeoJSON, and the current states of them.

The geometry is fetched once by a page. Its states, which change, are small, and are pushed (`live_updates`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ingest_service.storage.contract.models import Directory, Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.service.network_state import LinkState, Status
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor
    from ingest_service.storage.contract.models import Link

STATUSES: Sequence[Status] = ("anomaly", "silent", "suspect", "warming", "unknown", "ok")
"""From the one that needs attention most."""
ROAD_SITE_KINDS = ("junction", "road_section")
CONGESTED_BELOW = 0.5  # of the free-flow speed
MIN_MARGIN_DEG = 0.005  # around a single site


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


def network_features(directory: Directory, visitor: Visitor) -> dict[str, Any]:
    """Return links and nodes as a GeoJSON FeatureCollection with a bounding box; without states."""
    nodes = with_site_nodes(directory).nodes
    positions = {one.node_id: (one.lon, one.lat) for one in nodes}
    links = [_link_feature(one, positions, visitor) for one in directory.links]
    points = [
        _feature(
            "Point",
            [one.lon, one.lat],
            {
                "id": one.node_id,
                "kind": "node",
                "name": visitor.site_name(one, one.site_id),
                "site": one.site_id,
            },
        )
        for one in nodes
    ]
    return {"type": "FeatureCollection", "bbox": _bounding_box(nodes), "features": [*links, *points]}


def network_states(state: PlatformState) -> dict[str, Any]:
    """Return the status of each node and the look of each link, by id."""
    return {
        "nodes": {one.node_id: one.status for one in state.state.nodes},
        "links": {one.link_id: link_look(one) for one in state.state.links},
    }


def link_look(one: LinkState) -> str:
    """Return how a link is drawn: ``anomaly``, ``congested`` or ``ok``."""
    if one.status == "anomaly":
        return "anomaly"
    return "congested" if one.congestion is not None and one.congestion < CONGESTED_BELOW else "ok"


def _link_feature(one: Link, positions: dict[str, tuple[float, float]], visitor: Visitor) -> dict[str, Any]:
    coordinates = [list(pair) for pair in one.coordinates] or [
        list(positions[one.from_node]),
        list(positions[one.to_node]),
    ]
    name = f"{visitor.name(one)} · {one.length_m / 1000:.1f} km"
    return _feature(
        "LineString", coordinates, {"id": one.link_id, "kind": "link", "network": one.network, "name": name}
    )


def _feature(geometry: str, coordinates: list[Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": geometry, "coordinates": coordinates},
        "properties": properties,
    }


def _bounding_box(nodes: Sequence[Node]) -> list[float]:
    """Return west, south, east, north [deg] of nodes; of the whole world if there are none."""
    if not nodes:
        return [-180.0, -60.0, 180.0, 75.0]
    lons, lats = [one.lon for one in nodes], [one.lat for one in nodes]
    margin = MIN_MARGIN_DEG if max(lons) - min(lons) + max(lats) - min(lats) < MIN_MARGIN_DEG else 0.0
    return [min(lons) - margin, min(lats) - margin, max(lons) + margin, max(lats) + margin]
