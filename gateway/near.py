"""Sites within a distance or a travel time along the network, upstream or downstream."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from gateway.problems import ProblemError, not_found

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.known import Known
    from ingest_service.storage.model import Link, Node

Direction = Literal["up", "down", "both"]


def sites(
    known: Known, near: str, *, within_m: float | None, within_s: float | None, direction: Direction
) -> set[str]:
    """Sites along the network from a site or node, itself included; both bounds hold where both are given.

    Each bound is held by its own shortest way; travel takes the usual speed of the links.
    Raises `ProblemError` where there is no such site or node, or no bound.
    """
    if within_m is None and within_s is None:
        raise ProblemError(422, "near: say how far, with within_m or within_s", where="near")
    nodes = known.directory.nodes
    begins = [at for at, node in enumerate(nodes) if near in (node.node_id, node.site_id)]
    if not begins:
        if near in known.sites:
            raise ProblemError(422, f"near: site {near!r} is on no network", where="near")
        raise not_found("site or node", near)
    reached = np.ones(len(nodes), bool)
    for name, bound in (("length_m", within_m), ("travel_s", within_s)):
        if bound is not None:
            reached &= _reached(nodes, known.directory.links, begins, name, bound, direction)
    return {node.site_id for node, is_in in zip(nodes, reached, strict=True) if is_in and node.site_id}


def _reached(
    nodes: list[Node], links: list[Link], begins: list[int], cost: str, bound: float, direction: Direction
) -> NDArray[np.bool_]:
    """(n_nodes,) which nodes are within a bound along the links; the shortest of parallel links counts."""
    # Loaded by the first request that needs it: 25 MB and 0.4 s.
    from scipy.sparse import coo_array  # noqa: PLC0415
    from scipy.sparse.csgraph import dijkstra  # noqa: PLC0415

    at = {node.node_id: number for number, node in enumerate(nodes)}
    shortest: dict[tuple[int, int], float] = {}
    for link in links:
        if link.from_node not in at or link.to_node not in at:
            continue
        ends = at[link.from_node], at[link.to_node]
        along = link.length_m if cost == "length_m" else link.length_m / link.speed_m_s
        shortest[ends] = min(along, shortest.get(ends, math.inf))
    tail, head = np.array(list(shortest), np.intp).reshape(-1, 2).T
    down = coo_array((list(shortest.values()), (tail, head)), shape=(len(nodes), len(nodes))).tocsr()
    ways = {"down": [down], "up": [down.T.tocsr()], "both": [down, down.T.tocsr()]}[direction]
    found = [dijkstra(way, indices=begins, limit=bound, min_only=True) for way in ways]
    within: NDArray[np.bool_] = np.logical_or.reduce([np.isfinite(one) for one in found], axis=0)
    return within
