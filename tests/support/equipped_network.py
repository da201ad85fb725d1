"""The demo's networks with sections, elevations and ids of a city information model, for tests of files."""

from __future__ import annotations

import msgspec

from deploy import demo
from ingest_service.storage.contract.models import Directory, Link, Node


def equipped_network() -> Directory:
    """Return the demo's areas, sites and networks; every reach and road has all of its attributes."""
    found = demo.directory()
    return Directory(
        areas=found.areas,
        sites=found.sites,
        nodes=[_node(at, one) for at, one in enumerate(found.nodes)],
        links=[_link(at, one) for at, one in enumerate(found.links)],
    )


def _node(at: int, node: Node) -> Node:
    return msgspec.structs.replace(node, elevation_m=1.25, external_id=f"CIM-{at}")


def _link(at: int, link: Link) -> Link:
    if link.network == "road":
        return msgspec.structs.replace(link, lane_capacity_veh_h=1650.0, external_id=f'CIM,"{at}"')
    shape = ("trapezoidal", "rectangular", "circular")[at % 3]
    return msgspec.structs.replace(
        link,
        direction="both" if at % 2 else "forward",
        section_shape=shape,
        width_m=12.5 + at if shape != "circular" else 2.0,
        depth_m=3.1 if shape != "circular" else 2.0,
        side_slope=1.5 if shape == "trapezoidal" else None,
        manning_n=0.028,
        structure={10: "sluice", 12: "weir"}.get(at),
    )
