"""Selects a part of the networks that a principal may read: an area with those below, a network, a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gateway.api.directory_cache import DirectoryIndex
    from ingest_service.storage.contract.models import Directory


def part_of_network(
    index: DirectoryIndex, area: str | None, network: str | None, at_s: float | None
) -> Directory:
    """Return areas, sites, nodes and links; links that leave the part are left out.

    Raises `ProblemError` 404 for an area that is not visible.
    """
    directory = index.directory if at_s is None else index.directory.valid_at(at_s)
    areas = index.visible_area_ids if area is None else index.areas_below(area)
    nodes = [one for one in directory.nodes if one.area_id in areas and network in {None, one.network}]
    names = {one.node_id for one in nodes}
    used = {one.site_id for one in nodes}
    return msgspec.structs.replace(
        directory,
        sites=[
            one
            for one in directory.sites
            if one.area_id in areas and (network is None or one.site_id in used)
        ],
        nodes=nodes,
        links=[one for one in directory.links if {one.from_node, one.to_node} <= names],
        devices=[],
        series=[],
        channels=[],
        past_nodes=[],
        past_links=[],
    )
