"""Where could it have come from, and when: a first trace upstream, by travel time.

What is seen at a node at time t left an upstream node between t - longest and t - shortest, where the travel
time along the quickest way is uncertain by a factor (velocities in slow canals vary by some 30 %:
../docs/detection.md tells how it is set). Travel time alone can't tell one source from another; the
likelihood only says how well a node fits the window: 1 where all of its travel times lie in it, falling to 0
where the shortest one reaches its end, and shared among the nodes so that it sums to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse.csgraph import dijkstra

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.network import Network

NOWHERE = -9999  # how csgraph says "no predecessor"


@dataclass(frozen=True, slots=True)
class Candidates:
    """Upstream nodes, nearest first, ``(n,)`` each.

    Attributes
    ----------
    node : index
    distance_m : along the quickest way [m]
    travel_s, shortest_s, longest_s : usual travel time along it, and its bounds [s]
    likelihood : fit of the travel time alone; sums to 1
    next_link : link by which the way downstream begins

    """

    node: NDArray[np.intp]
    distance_m: NDArray[np.float64]
    travel_s: NDArray[np.float64]
    shortest_s: NDArray[np.float64]
    longest_s: NDArray[np.float64]
    likelihood: NDArray[np.float64]
    next_link: NDArray[np.intp]


def upstream(network: Network, node: int, *, window_s: float, uncertainty: float = 0.3) -> Candidates:
    """Every node from which something can have reached ``node`` within a window.

    Parameters
    ----------
    network : directed along the flow
    node : where it is seen
    window_s : how far back to look [s]
    uncertainty : share by which velocities may be off, 0 ≤ uncertainty < 1

    Raises
    ------
    ValueError
        If the node is none, or the window or the uncertainty make no sense.

    Examples
    --------
    >>> from analytics.twin.network import Network
    >>> half = np.array([0.5, 0.5])
    >>> river = Network(3, np.array([0, 1]), np.array([1, 2]), np.array([900.0, 1800.0]), half)
    >>> found = upstream(river, 2, window_s=86_400)
    >>> found.node.tolist(), found.travel_s.tolist()
    ([1, 0], [3600.0, 5400.0])

    """
    if not 0 <= node < network.n_nodes:
        raise ValueError(f"node {node} is none of 0 to {network.n_nodes - 1}")
    if not (window_s > 0 and 0 <= uncertainty < 1):
        raise ValueError(f"window_s {window_s:g} must be above 0, uncertainty {uncertainty:g} in [0, 1)")
    links = network.quickest()
    (travel_s,), (before,) = dijkstra(
        network.against_the_flow(links),
        indices=[node],
        limit=window_s * (1 + uncertainty),
        return_predecessors=True,
    )
    found = np.flatnonzero(np.isfinite(travel_s) & (np.arange(network.n_nodes) != node))
    shortest_s = travel_s[found] / (1 + uncertainty)
    found = found[shortest_s <= window_s]
    found = found[np.lexsort((found, travel_s[found]))]
    shortest_s, longest_s = travel_s[found] / (1 + uncertainty), travel_s[found] / (1 - uncertainty)
    next_link = _link_between(network, links, found, before[found].astype(np.intp))
    fit = np.clip((window_s - shortest_s) / np.maximum(longest_s - shortest_s, 1e-9), 0, 1)
    return Candidates(
        node=found,
        distance_m=_distances(network, found, before, next_link),
        travel_s=travel_s[found],
        shortest_s=shortest_s,
        longest_s=longest_s,
        likelihood=fit / fit.sum() if fit.sum() > 0 else fit,
        next_link=next_link,
    )


def _link_between(
    network: Network, links: NDArray[np.intp], tail: NDArray[np.intp], head: NDArray[np.intp]
) -> NDArray[np.intp]:
    """The (quickest) link from each tail to each head."""
    keys = network.tail[links].astype(np.int64) * network.n_nodes + network.head[links]
    order = np.argsort(keys)
    wanted = tail.astype(np.int64) * network.n_nodes + head
    return links[order[np.searchsorted(keys[order], wanted)]] if len(tail) else np.empty(0, np.intp)


def _distances(
    network: Network,
    found: NDArray[np.intp],
    before: NDArray[np.int32],
    next_link: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Lengths of the ways, from the node upwards: ``found`` has every node after the one below it."""
    total = np.zeros(network.n_nodes)
    for one, link in zip(found.tolist(), next_link.tolist(), strict=True):
        total[one] = total[before[one]] + network.length_m[link]
    return total[found]
