"""Finds sites within a distance or travel time along the network, upstream or downstream (Dijkstra)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from gateway.api.problems import ProblemError, not_found

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.api.directory_cache import DirectoryIndex
    from ingest_service.storage.contract.models import Link, Node

Direction = Literal["up", "down", "both"]


def sites_within(
    directory_index: DirectoryIndex,
    near: str,
    *,
    within_m: float | None,
    within_s: float | None,
    direction: Direction,
) -> set[str]:
    """Return the ids of sites within bounds along the network from a site or node, itself included.

    Parameters
    ----------
    directory_index : sites, nodes and links visible to the principal
    near : id of a site or node
    within_m, within_s : greatest distance [m] and travel time [s], each by its own shortest path; where both
        are given, both hold. Travel times are by the usual speed of the links.
    direction : with the links (``down``), against them (``up``), or ``both``

    Raises
    ------
    ProblemError
        Where the site or node is unknown or on no network, or no bound is given.

    """
    if within_m is None and within_s is None:
        raise ProblemError(422, "near: say how far, with within_m or within_s", where="near")
    nodes = directory_index.directory.nodes
    start_nodes = [
        node_numbers for node_numbers, node in enumerate(nodes) if near in (node.node_id, node.site_id)
    ]
    if not start_nodes:
        if near in directory_index.sites:
            raise ProblemError(422, f"near: site {near!r} is on no network", where="near")
        raise not_found("site or node", near)
    is_reachable = np.ones(len(nodes), bool)
    for name, bound in (("length_m", within_m), ("travel_s", within_s)):
        if bound is not None:
            is_reachable &= _reachable(
                nodes, directory_index.directory.links, start_nodes, name, bound, direction
            )
    return {
        node.site_id
        for node, is_node_reachable in zip(nodes, is_reachable, strict=True)
        if is_node_reachable and node.site_id
    }


def _reachable(
    nodes: list[Node],
    links: list[Link],
    start_nodes: list[int],
    cost: str,
    bound: float,
    direction: Direction,
) -> NDArray[np.bool_]:
    """Return (n_nodes,) which nodes are within a bound along the links; of parallel links the shortest."""
    # Imported by the first request that needs it: 25 MB and 0.4 s.
    from scipy.sparse import coo_array  # noqa: PLC0415
    from scipy.sparse.csgraph import dijkstra  # noqa: PLC0415

    node_numbers = {node.node_id: number for number, node in enumerate(nodes)}
    shortest: dict[tuple[int, int], float] = {}
    for link in links:
        if link.from_node not in node_numbers or link.to_node not in node_numbers:
            continue
        link_ends = node_numbers[link.from_node], node_numbers[link.to_node]
        link_cost = link.length_m if cost == "length_m" else link.length_m / link.speed_m_s
        shortest[link_ends] = min(link_cost, shortest.get(link_ends, math.inf))
    from_numbers, to_numbers = np.array(list(shortest), np.intp).reshape(-1, 2).T
    down = coo_array(
        (list(shortest.values()), (from_numbers, to_numbers)), shape=(len(nodes), len(nodes))
    ).tocsr()
    graphs = {"down": [down], "up": [down.T.tocsr()], "both": [down, down.T.tocsr()]}[direction]
    distances = [dijkstra(graph, indices=start_nodes, limit=bound, min_only=True) for graph in graphs]
    within_bound: NDArray[np.bool_] = np.logical_or.reduce([np.isfinite(one) for one in distances], axis=0)
    return within_bound
