"""Converts networks, sites and their state to GeoJSON (RFC 7946), for maps and city information models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from analytics.service.network_state import TwinState
    from ingest_service.storage.contract.models import Directory, Link


def network_geojson(
    directory: Directory, state: TwinState | None = None, *, with_areas: bool = False
) -> dict[str, Any]:
    """Return a FeatureCollection of links, nodes and sites; ``state`` is added to links and nodes.

    Areas, which have no geometry, are included on request.
    """
    nodes = {} if state is None else {one.node_id: one for one in state.nodes}
    links = {} if state is None else {one.link_id: one for one in state.links}
    node_positions = {one.node_id: (one.lon, one.lat) for one in directory.nodes}
    features = [
        _feature(
            "LineString", _line(link, node_positions), "link", link.link_id, link, links.get(link.link_id)
        )
        for link in directory.links
    ]
    features += [
        _feature("Point", (node.lon, node.lat), "node", node.node_id, node, nodes.get(node.node_id))
        for node in directory.nodes
    ]
    features += [
        _feature("Point", (site.lon, site.lat), "site", site.site_id, site, None) for site in directory.sites
    ]
    if with_areas:
        features += [_feature(None, None, "area", area.area_id, area, None) for area in directory.areas]
    return {"type": "FeatureCollection", "features": features}


def _line(link: Link, node_positions: dict[str, tuple[float, float]]) -> list[tuple[float, float]]:
    return list(link.coordinates) or [node_positions[link.from_node], node_positions[link.to_node]]


def _feature(  # noqa: PLR0917 - one parameter for each part of a feature
    shape: str | None,
    coordinates: Any,
    feature_kind: str,
    name: str,
    one: msgspec.Struct,
    state: msgspec.Struct | None,
) -> dict[str, Any]:
    properties = {"feature": feature_kind, **msgspec.to_builtins(one)}
    properties.pop("coordinates", None)
    if state is not None:
        properties["state"] = msgspec.to_builtins(state)
    return {
        "type": "Feature",
        "id": name,
        "geometry": None if shape is None else {"type": shape, "coordinates": coordinates},
        "properties": properties,
    }
