"""Link flows, turn shares and demand from counts at nodes: exact where counted, honest where not."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.twin import compile_ahead, road_demand
from analytics.twin.road_demand import NodeCounts, RoadLayout, link_flows, turn_shares

# 0 → 1 → {2, 3} → 4, all links with 1 vehicle/s, that over node 3 with half of it.
TAIL, HEAD = np.array([0, 1, 1, 2, 3]), np.array([1, 2, 3, 4, 4])
ROADS = RoadLayout(5, TAIL, HEAD, np.array([1.0, 1.0, 0.5, 1.0, 0.5]))


def test_counts_are_met_and_a_split_that_is_not_counted_is_uncertain() -> None:
    counts = NodeCounts(np.array([1, 4]), np.array([[0.6, 0.6], [0.3, 0.3]]), np.array([0.001, 0.001]))
    flows = link_flows(ROADS, counts)
    np.testing.assert_allclose(flows.flow_per_s[:, 0], [0.6, 0.3], rtol=0.01)
    np.testing.assert_allclose(flows.flow_per_s[:, 3:].sum(axis=1), [0.6, 0.3], rtol=0.01)
    # by the capacities of the two ways
    np.testing.assert_allclose(flows.flow_per_s[0, 1:3], [0.4, 0.2], rtol=0.05)
    assert flows.spread_per_s[0] < 0.02
    assert flows.spread_per_s[1] > 0.04
    counted = NodeCounts(np.array([1, 2]), np.array([[0.6, 0.2]]), np.array([0.01, 0.01]))
    sure = link_flows(ROADS, counted)
    assert sure.flow_per_s[0, 1] == pytest.approx(0.2, rel=0.05)
    assert abs(sure.flow_per_s[0, 2] - 0.4) < 2 * sure.spread_per_s[2]
    assert sure.spread_per_s[1] < 0.3 * flows.spread_per_s[1]


def test_turn_shares_and_demand_bring_the_flows_back() -> None:
    flow = np.array([[0.6, 0.4, 0.3, 0.35, 0.3]])  # 0.1 begin at node 1, 0.05 end at node 2
    turns = turn_shares(ROADS, flow)
    assert (turns.from_link.tolist(), turns.to_link.tolist()) == ([0, 0, 1, 2], [1, 2, 3, 4])
    brought = np.bincount(turns.to_link, flow[0, turns.from_link] * turns.shares[0], 5)
    np.testing.assert_allclose(brought + turns.demand_per_s[0], flow[0], atol=1e-9)
    np.testing.assert_allclose(turns.demand_per_s[0], [0.6, 0.1 * 4 / 7, 0.1 * 3 / 7, 0, 0], atol=1e-9)
    assert turns.shares[0].tolist() == pytest.approx([4 / 7, 3 / 7, 0.35 / 0.4, 1])


def test_a_two_way_crossing_has_no_u_turns_and_no_flow_is_negative() -> None:
    tail, head = np.array([0, 4, 1, 4, 2, 4, 3, 4]), np.array([4, 0, 4, 1, 4, 2, 4, 3])
    roads = RoadLayout(5, tail, head, np.full(8, 0.5))
    counts = NodeCounts(np.array([4, 0]), np.array([[0.9, 0.0]]), np.array([0.01, 0.01]))
    flows = link_flows(roads, counts)
    assert (flows.flow_per_s >= 0).all()
    assert flows.flow_per_s[0, head == 4].sum() == pytest.approx(0.9, rel=0.02)
    turns = turn_shares(roads, flows.flow_per_s)
    assert (tail[turns.from_link] != head[turns.to_link]).all()
    assert len(turns.from_link) == 12
    assert (np.bincount(turns.from_link, turns.shares[0], 8) <= 1 + 1e-9).all()


def test_spreads_are_those_of_the_dense_inverse() -> None:
    """On a lattice in both directions; the dense inverse of 500 junctions took 5 s of processor time."""
    compile_ahead.compile_traffic()
    number = np.arange(36).reshape(6, 6)
    pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    tail = np.concatenate([one.ravel() for begin, end in pairs for one in (begin, end)])
    head = np.concatenate([one.ravel() for begin, end in pairs for one in (end, begin)])
    roads = RoadLayout(36, tail, head, np.random.default_rng(2).uniform(0.4, 1.2, len(tail)))
    counts = NodeCounts(np.array([7, 28]), np.array([[0.9, 0.5]]), np.array([0.05, 0.02]))
    rows = [road_demand._prior_rows(roads)[0].toarray()]
    rows += [(head == node)[None] / spread for node, spread in ((7, 0.05), (28, 0.02))]
    inverse = np.linalg.inv(sum(one.T @ one for one in rows))
    found = link_flows(roads, counts).spread_per_s
    np.testing.assert_allclose(found, np.sqrt(np.diag(inverse)), rtol=1e-9)
