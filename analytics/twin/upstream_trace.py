"""Finds the upstream nodes from which an anomaly may have come, by the travel times of the network.

Water that arrives at a node at time t left an upstream node between t - longest and t - shortest. With
velocities uncertain by a share u in either direction, the travel time T along the quickest path lies within

    shortest = T / (1 + u)  ≤  T  ≤  T / (1 - u) = longest

and the *fit* of a node to a window of length W is the share of that range that lies in the window,

    fit = clip((W - shortest) / (longest - shortest), 0, 1);    likelihood = fit / sum of fits.

Travel time alone can't distinguish sources: as long as both lie well within the window, near and far nodes
are equally likely. A distinction would take concentrations and a hydraulic model.

u = 0.3 is a choice: travel times that no tracer study has calibrated can't be used with
confidence (H. E. Jobson, "Prediction of traveltime and longitudinal dispersion in rivers and streams", USGS
WRIR 96-4013, 1996). It is wide enough for the front of a plume, which arrives after 89 % of the travel time
of its peak on average (Jobson, J. Hydraul. Eng. 123 (11), 1997).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.network import FlowNetwork

UNCERTAINTY = 0.3


@dataclass(frozen=True, slots=True)
class UpstreamCandidates:
    """Upstream nodes, nearest in time first, ``(n,)`` each; a node follows all nodes on its path downstream.

    Attributes
    ----------
    node : index
    distance_m : along the quickest path [m]
    travel_s, shortest_s, longest_s : usual travel time along it, and its bounds [s]
    likelihood : normalised fit of the travel time; sums to 1
    next_link : first link of the path downstream

    """

    node: NDArray[np.intp]
    distance_m: NDArray[np.float64]
    travel_s: NDArray[np.float64]
    shortest_s: NDArray[np.float64]
    longest_s: NDArray[np.float64]
    likelihood: NDArray[np.float64]
    next_link: NDArray[np.intp]


def trace_upstream(
    network: FlowNetwork, node: int, *, window_s: float, uncertainty: float = UNCERTAINTY
) -> UpstreamCandidates:
    """Return every node from which water (or traffic) can have reached ``node`` within a window.

    Parameters
    ----------
    network : directed along the flow; paths may split, join and form cycles
    node : of the anomaly
    window_s : how far back to search [s]
    uncertainty : relative uncertainty of the velocities, 0 ≤ uncertainty < 1

    Raises
    ------
    ValueError
        If the node does not exist, or the window or the uncertainty is out of range.

    Examples
    --------
    >>> from analytics.twin.network import FlowNetwork
    >>> half = np.array([0.5, 0.5])
    >>> river = FlowNetwork(3, np.array([0, 1]), np.array([1, 2]), np.array([900.0, 1800.0]), half)
    >>> found = trace_upstream(river, 2, window_s=86_400)
    >>> found.node.tolist(), found.travel_s.tolist()
    ([1, 0], [3600.0, 5400.0])

    """
    if not 0 <= node < network.n_nodes:
        raise ValueError(f"node {node} is none of 0 to {network.n_nodes - 1}")
    if not (window_s > 0 and 0 <= uncertainty < 1):
        raise ValueError(f"window_s {window_s:g} must be above 0, uncertainty {uncertainty:g} in [0, 1)")
    from scipy.sparse.csgraph import dijkstra  # noqa: PLC0415 - imported on the first trace: 25 MB

    links = network.quickest_links()
    (travel_s,), (predecessor,) = dijkstra(
        network.upstream_travel_times(links),
        indices=[node],
        limit=window_s * (1 + uncertainty),
        return_predecessors=True,
    )
    reached = np.flatnonzero(np.isfinite(travel_s) & (np.arange(network.n_nodes) != node))
    fit = _fit(travel_s[reached], window_s, uncertainty)
    candidates, fit = reached[fit > 0], fit[fit > 0]
    next_node: NDArray[np.intp] = predecessor[candidates].astype(np.intp)
    next_link = _link_between(network, links, candidates, next_node)
    steps, distance_m = (
        _sum_downstream(values, candidates, next_node, network.n_nodes)
        for values in (np.ones(len(candidates)), network.length_m[next_link])
    )
    order = np.lexsort((candidates, steps, travel_s[candidates]))
    candidates, fit = candidates[order], fit[order]
    return UpstreamCandidates(
        node=candidates,
        distance_m=distance_m[order],
        travel_s=travel_s[candidates],
        shortest_s=travel_s[candidates] / (1 + uncertainty),
        longest_s=travel_s[candidates] / (1 - uncertainty),
        likelihood=fit / fit.sum(),
        next_link=next_link[order],
    )


def _fit(travel_s: NDArray[np.float64], window_s: float, uncertainty: float) -> NDArray[np.float64]:
    """Return the share of each range of travel times that lies within the window, (n,)."""
    shortest_s, longest_s = travel_s / (1 + uncertainty), travel_s / (1 - uncertainty)
    fit = (longest_s <= window_s).astype(np.float64)
    is_partly_inside = (shortest_s < window_s) & (longest_s > window_s)
    np.divide(window_s - shortest_s, longest_s - shortest_s, out=fit, where=is_partly_inside)
    return fit


def _link_between(
    network: FlowNetwork, links: NDArray[np.intp], tail: NDArray[np.intp], head: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the one of ``links`` (sorted by tail and head, unique) from each tail to each head."""
    keys = network.tail[links].astype(np.int64) * network.n_nodes + network.head[links]
    return links[np.searchsorted(keys, tail.astype(np.int64) * network.n_nodes + head)]


def _sum_downstream(
    values: NDArray[np.float64], candidates: NDArray[np.intp], next_node: NDArray[np.intp], n_nodes: int
) -> NDArray[np.float64]:
    """Return the sum of the values of each node found and of all nodes after it on its path, (n,).

    By pointer doubling: each round adds the partial sum of the node at the end of the path summed so far.
    """
    total, end = np.zeros(n_nodes), np.arange(n_nodes)
    total[candidates], end[candidates] = values, next_node
    while (end != end[end]).any():
        total += np.where(end == np.arange(n_nodes), 0, total[end])
        end = end[end]
    return total[candidates]
