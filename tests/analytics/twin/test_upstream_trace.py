"""Compares the upstream trace with a hand-written walk over every path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.twin.network import FlowNetwork
from analytics.twin.upstream_trace import trace_upstream


def network(n: int, links: list[tuple[int, int, float, float]]) -> FlowNetwork:
    tail, head, length_m, speed_m_s = (
        (np.array(column) for column in zip(*links, strict=True)) if links else ([],) * 4
    )
    return FlowNetwork(
        n,
        np.array(tail, np.intp),
        np.array(head, np.intp),
        np.array(length_m, float),
        np.array(speed_m_s, float),
    )


#  0 ──900 m──▶ 1 ──1800 m──▶ 3 ──600 m──▶ 4
#  2 ──────────600 m──────────▲
RIVER = [(0, 1, 900.0, 0.5), (1, 3, 1800.0, 0.5), (2, 3, 600.0, 0.2), (3, 4, 600.0, 0.3)]


def test_the_nodes_upstream_nearest_first() -> None:
    found = trace_upstream(network(5, RIVER), 4, window_s=86_400, uncertainty=0.25)
    assert found.node.tolist() == [3, 2, 1, 0]
    assert found.travel_s.tolist() == [2000, 5000, 5600, 7400]
    assert found.distance_m.tolist() == [600, 1200, 2400, 3300]
    assert found.next_link.tolist() == [3, 2, 1, 0]
    np.testing.assert_allclose(found.shortest_s, found.travel_s / 1.25)
    np.testing.assert_allclose(found.longest_s, found.travel_s / 0.75)
    assert found.likelihood.sum() == pytest.approx(1)


def test_what_is_too_far_is_left_out_and_what_is_at_the_edge_is_less_likely() -> None:
    found = trace_upstream(network(5, RIVER), 4, window_s=5000, uncertainty=0.3)
    assert found.node.tolist() == [3, 2, 1]
    assert found.likelihood[0] > found.likelihood[1] > found.likelihood[2] > 0


def test_nothing_flows_up() -> None:
    assert len(trace_upstream(network(5, RIVER), 0, window_s=1e6).node) == 0


def test_of_two_links_between_the_same_nodes_the_quicker_one_counts() -> None:
    found = trace_upstream(network(2, [(0, 1, 900.0, 0.1), (0, 1, 1000.0, 1.0)]), 1, window_s=1e6)
    assert (found.travel_s.tolist(), found.distance_m.tolist(), found.next_link.tolist()) == (
        [1000],
        [1000],
        [1],
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 7), st.floats(1, 1e4), st.floats(0.05, 2)).filter(
            lambda link: link[0] != link[1]
        ),
        max_size=20,
    ),
    st.integers(0, 7),
)
def test_travel_times_are_those_of_the_quickest_way(
    links: list[tuple[int, int, float, float]], node: int
) -> None:
    best = {node: 0.0}
    for _ in range(8):  # Bellman and Ford, against the flow
        for tail, head, length_m, speed_m_s in links:
            if head in best and best[head] + length_m / speed_m_s < best.get(tail, np.inf):
                best[tail] = best[head] + length_m / speed_m_s
    del best[node]
    found = trace_upstream(network(8, links), node, window_s=1e9)
    assert dict(zip(found.node.tolist(), found.travel_s.tolist(), strict=True)) == pytest.approx(best)
    assert found.travel_s.tolist() == sorted(found.travel_s.tolist())


@pytest.mark.parametrize(
    ("links", "says"),
    [
        ([(0, 9, 1.0, 1.0)], "joins nodes"),
        ([(1, 1, 1.0, 1.0)], "to itself"),
        ([(0, 1, 0.0, 1.0)], "length_m 0"),
        ([(0, 1, 1.0, float("nan"))], "speed_m_s nan"),
    ],
)
def test_a_wrong_network_is_a_sentence(links: list[tuple[int, int, float, float]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        network(3, links)


def test_a_wrong_question_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="node 7 is none"):
        trace_upstream(network(5, RIVER), 7, window_s=1)
    with pytest.raises(ValueError, match="uncertainty"):
        trace_upstream(network(5, RIVER), 1, window_s=1, uncertainty=1)
