"""Correlates departures at the nodes of a network: Gaussian Markov random fields of unit variance.

A field is a sparse precision matrix whose inverse has a unit diagonal. On a river, a node given its
upstream nodes is independent of all that lies above: x = sum of s r x_upstream + e, where s is the share
of the flow that comes by a link and r the correlation along it, so the precision is (I - B)' D^-1 (I -
B). On a road, neighbours are correlated by their closeness, without direction: I + the Laplacian of the
weights. Either is scaled to unit variance by the exact diagonal of its inverse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array, csc_array, csr_array, diags_array, eye_array
from scipy.sparse.csgraph import dijkstra

from analytics.twin.sparse_inverse import SparsePattern

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

MAX_CORRELATION = 0.9999  # of neighbours: at 1 the precision has no finite entries


def field_along_flow(
    n_nodes: int, tail: Indices, head: Indices, correlation: Floats, share: Floats
) -> SparsePattern:
    """Return the field of a river.

    Parameters
    ----------
    n_nodes : number of nodes
    tail, head : (n_links,) node upstream and downstream of each link
    correlation : (n_links,) along each link, from 0 to 1
    share : (n_links,) of the flow into the head, summing to 1 at each head

    """
    along = np.minimum(correlation, MAX_CORRELATION) * share
    mixing = coo_array((along, (head, tail)), shape=(n_nodes, n_nodes)).tocsc()
    explained = np.bincount(head, weights=along**2, minlength=n_nodes)
    downstream = (eye_array(n_nodes) - mixing).tocsc()
    precision = downstream.T @ diags_array(1 / (1 - explained)) @ downstream
    return _of_unit_variance(precision.tocsc())


def field_of_neighbours(n_nodes: int, one: Indices, other: Indices, weight: Floats) -> SparsePattern:
    """Return the field of a road network.

    Parameters
    ----------
    n_nodes : number of nodes
    one, other : (n_pairs,) neighbouring nodes, each pair once
    weight : (n_pairs,) above 0: the larger, the more alike are both nodes

    """
    rows, columns = np.concatenate([one, other]), np.concatenate([other, one])
    weights = coo_array((np.concatenate([weight, weight]), (rows, columns)), shape=(n_nodes, n_nodes)).tocsc()
    precision = eye_array(n_nodes) + diags_array(weights.sum(axis=0)) - weights
    return _of_unit_variance(precision.tocsc())


def travel_to_mouth(n_nodes: int, tail: Indices, head: Indices, travel_s: Floats) -> Floats:
    """Return the shortest travel time from each node to where its water leaves the network, (n_nodes,) [s].

    A node on a circle that nothing leaves has 0.
    """
    is_mouth = np.bincount(tail, minlength=n_nodes) == 0
    order = np.lexsort((travel_s, tail, head))  # of links between the same nodes, the quickest
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(head[order]) != 0) | (np.diff(tail[order]) != 0)
    quickest = order[first]
    upward = csr_array((travel_s[quickest], (head[quickest], tail[quickest])), shape=(n_nodes, n_nodes))
    mouths = np.flatnonzero(is_mouth)
    if not len(mouths):
        return np.zeros(n_nodes)
    times: Floats = dijkstra(upward, indices=mouths, min_only=True)
    return np.where(np.isfinite(times), times, 0.0)


def weight_of_correlation(correlation: Floats) -> Floats:
    """Return the weight at which two nodes without other neighbours have this correlation, r / (1 - r)."""
    bounded = np.clip(correlation, 0, MAX_CORRELATION)
    return bounded / (1 - bounded)


def shares_of_inflow(head: Indices, inflow: Floats) -> Floats:
    """Return the share of each link in the inflow of its head, (n_links,), from a discharge or 1 each."""
    total = np.bincount(head, weights=inflow)
    return inflow / total[head]


def _of_unit_variance(precision: csc_array) -> SparsePattern:
    pattern = SparsePattern(precision)
    deviation = np.sqrt(pattern.factorise(pattern.values).inverse_diagonal())
    pattern.values = pattern.values * deviation[pattern.row] * deviation[pattern.column]
    return pattern
