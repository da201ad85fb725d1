"""Estimates link flows, demand and turn shares of a road network from counts at some of its nodes.

*Link flows* x of a period minimise the sum of squared, weighted residuals of

    counts          Σ x of the links that carry a node's traffic = c         σ of the count
    conservation    Σ x into a node = Σ x out of it                          `CONSERVED_SHARE` Q
    split           x of an outgoing link = its part of Σ x into the node    `SPLIT_SHARE` Q
    usual flow      x = u Q                                                  `USUAL_SHARE` Q

with x ≥ 0; Q is a capacity, parts are those of the capacities of the outgoing links, and u is the median use
of the counted links in the period (`ASSUMED_USE` without a count): least squares with a prior, as in the
estimation of trip tables from counts (E. Cascetta, Transp. Res. B 18 (4/5), 1984). The covariance of x is the
inverse of the normal matrix. The prior widths are assumptions; where nothing is counted they are the
uncertainty.

*Turn shares* of a node are the trip table of maximal entropy, without U-turns, whose row and column sums are
the flows in and out (Furness balancing). What flows out of a node beyond what flows in begins its trip there;
what flows in beyond that ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csc_array, csr_array, dia_array, vstack
from scipy.sparse.linalg import splu

from analytics.twin import compilation, sparse_inverse
from analytics.twin.sparse_inverse import SparsePattern

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

CONSERVED_SHARE, SPLIT_SHARE, USUAL_SHARE = 0.02, 0.15, 0.5  # of the capacity
ASSUMED_USE = 0.25  # of the capacity, where nothing is counted
LEAST_COUNT_SHARE = 0.03  # of a count: what detectors miss
NO_COUNT_PER_S = 1e-4  # added to that, so that a count of 0 has a spread
MAX_ROUNDS = 3  # of setting negative flows to 0
HELD = 1e9  # weight that holds a flow at 0, as a multiple of its own
BALANCING_ROUNDS = 30


class RoadLayout(NamedTuple):
    """Links between nodes 0 … n_nodes - 1: begin, end and capacity [vehicles/s] of each, (n_links,)."""

    n_nodes: int
    tail: Indices
    head: Indices
    capacity_per_s: Floats


class NodeCounts(NamedTuple):
    """Flow through counted nodes, (n_periods, n_counted), and its spread, (n_counted,) [vehicles/s]."""

    node: Indices
    flow_per_s: Floats
    spread_per_s: Floats


class LinkFlows(NamedTuple):
    """Flow of each link, (n_periods, n_links), and its standard deviation, (n_links,) [vehicles/s]."""

    flow_per_s: Floats
    spread_per_s: Floats


class TurnShares(NamedTuple):
    """Movements, their shares (n_periods, n_movements), and demand (n_periods, n_links) [vehicles/s]."""

    from_link: Indices
    to_link: Indices
    shares: Floats
    demand_per_s: Floats


def link_flows(roads: RoadLayout, counts: NodeCounts) -> LinkFlows:
    """Return the flows of all links that agree best with counts, and how uncertain they are."""
    capacity = roads.capacity_per_s
    carried = _carried(roads)[counts.node]
    use = _use(counts.flow_per_s, carried @ capacity)
    fixed, targets = _prior_rows(roads)
    least = LEAST_COUNT_SHARE * np.abs(counts.flow_per_s).mean(axis=0) + NO_COUNT_PER_S
    weight = 1 / np.maximum(counts.spread_per_s, least) ** 2
    # the same weights in all periods: one factorisation serves them all
    normal = csc_array(fixed.T @ fixed + carried.T @ csr_array(carried * weight[:, None]))
    right_side = (carried.T @ (weight * counts.flow_per_s).T).T + use[:, None] * (fixed.T @ targets)
    flow, variance = _solve(normal, right_side)
    for period in np.flatnonzero((flow < 0).any(axis=1)):
        flow[period] = _not_negative(normal, flow[period], right_side[period])
    return LinkFlows(flow, np.sqrt(variance))


def _solve(normal: csc_array, right_side: Floats) -> tuple[Floats, Floats]:
    """Solve a positive definite system, (n_periods, n); return the diagonal of its inverse, too, (n,)."""
    if not compilation.is_ready(*sparse_inverse.COMPILED):  # not compiled, its loops would take minutes
        plain = splu(normal)
        return plain.solve(right_side.T).T, np.diag(plain.solve(np.eye(normal.shape[0])))
    pattern = SparsePattern(normal)
    factor = pattern.factorise(pattern.values)
    return factor.solve(np.ascontiguousarray(right_side.T)).T, factor.inverse_diagonal()


def turn_shares(roads: RoadLayout, flow_per_s: Floats) -> TurnShares:
    """Return the movements at all nodes, the shares of maximal entropy, and the demand, of link flows."""
    from_link, to_link = movements(roads)
    n_links, n_nodes = len(roads.tail), roads.n_nodes
    into = _sums(roads.head, n_nodes)
    out_of = _sums(roads.tail, n_nodes)
    rows, columns = _sums(from_link, n_links), _sums(to_link, n_links)
    leads_on = np.bincount(from_link, minlength=n_links) > 0
    is_fed = np.bincount(to_link, minlength=n_links) > 0
    # only what can go on counts on either side of a node
    going, coming = flow_per_s * leads_on, flow_per_s * is_fed
    inflow, outflow = (into @ going.T).T, (out_of @ coming.T).T
    passing = np.minimum(inflow, outflow)
    kept = np.divide(passing, inflow, out=np.zeros_like(passing), where=inflow > 0)[:, roads.head] * going
    fed = np.divide(passing, outflow, out=np.zeros_like(passing), where=outflow > 0)[:, roads.tail] * coming
    table = np.ones((len(flow_per_s), len(from_link)))
    for _ in range(BALANCING_ROUNDS):
        table *= _ratio(fed, (columns @ table.T).T)[:, to_link]
        table *= _ratio(kept, (rows @ table.T).T)[:, from_link]
    of_link = flow_per_s[:, from_link]
    shares = np.divide(table, of_link, out=np.zeros_like(table), where=of_link > 0)
    total = (rows @ shares.T).T
    shares /= np.maximum(total, 1.0)[:, from_link]
    demand = np.maximum(flow_per_s - (columns @ table.T).T, 0)
    demand[:, is_fed] = np.where(demand < 1e-9, 0, demand)[:, is_fed]
    return TurnShares(from_link, to_link, shares, demand)


def movements(roads: RoadLayout) -> tuple[Indices, Indices]:
    """Return all pairs of links of which one ends where the other begins, without U-turns."""
    order = np.argsort(roads.tail, kind="stable")
    begin = np.searchsorted(roads.tail[order], np.arange(roads.n_nodes + 1))
    n_out = np.diff(begin)[roads.head]
    from_link = np.repeat(np.arange(len(roads.tail)), n_out)
    within = np.arange(len(from_link)) - np.repeat(np.cumsum(n_out) - n_out, n_out)
    to_link = order[begin[roads.head[from_link]] + within]
    is_no_turn = roads.head[to_link] != roads.tail[from_link]
    return from_link[is_no_turn], to_link[is_no_turn]


def _sums(index: Indices, n: int) -> csr_array:
    """Return the matrix that sums values by their index, (n, len(index))."""
    return csr_array((np.ones(len(index)), (index, np.arange(len(index)))), shape=(n, len(index)))


def _ratio(right_side: Floats, found: Floats) -> Floats:
    return np.divide(right_side, found, out=np.zeros_like(right_side), where=found > 1e-15)


def _carried(roads: RoadLayout) -> csr_array:
    """Return the links whose sum is the flow through a node: those into it, or else those out of it."""
    into, out_of = _sums(roads.head, roads.n_nodes), _sums(roads.tail, roads.n_nodes)
    is_begin = np.bincount(roads.head, minlength=roads.n_nodes) == 0
    return csr_array(into + csr_array((is_begin * 1.0)[:, None] * out_of))


def _use(flow_per_s: Floats, capacity_per_s: Floats) -> Floats:
    """Return the median use of the counted links in each period, (n_periods,)."""
    if not flow_per_s.size:
        return np.full(len(flow_per_s), ASSUMED_USE)
    use: Floats = np.median(flow_per_s / capacity_per_s, axis=1)
    return use


def _prior_rows(roads: RoadLayout) -> tuple[csr_array, Floats]:
    """Return the weighted rows of conservation, split and usual flow, and their targets at a use of 1."""
    n_links, capacity = len(roads.tail), roads.capacity_per_s
    into, out_of = _sums(roads.head, roads.n_nodes), _sums(roads.tail, roads.n_nodes)
    size_in, size_out = into @ capacity, out_of @ capacity
    inner = np.flatnonzero((size_in > 0) & (size_out > 0))
    conserved = csr_array(
        (into - out_of)[inner] * (1 / (CONSERVED_SHARE * np.maximum(size_in, size_out)[inner]))[:, None]
    )
    part = capacity / size_out[roads.tail]
    split = np.flatnonzero((size_in[roads.tail] > 0) & (part < 1))
    own = csr_array((np.ones(n_links), (np.arange(n_links), np.arange(n_links))), shape=(n_links, n_links))
    splits = csr_array(
        (own - csr_array(into[roads.tail] * part[:, None]))[split]
        * (1 / (SPLIT_SHARE * capacity[split]))[:, None]
    )
    usual = csr_array(own * (1 / (USUAL_SHARE * capacity))[:, None])
    targets = np.zeros(len(inner) + len(split) + n_links)
    targets[-n_links:] = 1 / USUAL_SHARE
    return csr_array(vstack([csc_array(conserved), csc_array(splits), csc_array(usual)])), targets


def _not_negative(normal: csc_array, flow: Floats, right_side: Floats) -> Floats:
    """Return the solution with links of negative flow set to 0 and the others solved again."""
    is_held = np.zeros(len(flow), np.bool_)
    heavy = HELD * normal.diagonal()
    for _ in range(MAX_ROUNDS):
        is_negative = flow < -NO_COUNT_PER_S
        if not is_negative.any():
            break
        is_held |= is_negative
        held = splu(csc_array(normal + dia_array((heavy * is_held, 0), shape=normal.shape)))
        flow = held.solve(np.where(is_held, 0.0, right_side))
    return np.maximum(flow, 0)
