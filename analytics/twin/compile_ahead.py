"""Computes a tiny network once, so that the models' steps are compiled, or loaded from Numba's cache."""

from __future__ import annotations

import numpy as np

from analytics.twin import compilation, compiled_traffic, sparse_inverse
from analytics.twin.fundamental_diagram import FundamentalDiagram
from analytics.twin.link_transmission import simulate
from analytics.twin.road_demand import NodeCounts, RoadLayout, link_flows
from analytics.twin.road_traffic import CapacityDrop, RoadTraffic


def is_cached() -> bool:
    """Whether all steps that `compile_traffic` calls are in Numba's cache, so that it only loads them."""
    return compilation.is_cached(compiled_traffic.advance, *sparse_inverse.COMPILED)


def compile_traffic() -> None:
    """Simulate two roads for a minute, with what a scenario has: counts, a capacity drop and a movement."""
    ones = np.ones(2)
    roads = RoadLayout(3, np.array([0, 1]), np.array([1, 2]), 0.5 * ones)
    link_flows(roads, NodeCounts(np.array([1]), np.full((2, 1), 0.1), np.full(1, 0.01)))
    traffic = RoadTraffic(
        tail=np.array([0, 1]),
        head=np.array([1, 2]),
        length_m=100.0 * ones,
        lanes=ones,
        diagram=FundamentalDiagram.of_capacity(10.0 * ones, 0.5 * ones, 5.0 * ones),
        from_link=np.array([0]),
        to_link=np.array([1]),
        shares=np.ones((1, 1)),
        demand_per_s=np.array([[0.1, 0.0]]),
        period_s=60.0,
        green_share=ones,
        drops=(CapacityDrop(link=0, from_s=0.0, to_s=30.0, factor=0.5),),
    )
    simulate(traffic, 60.0, report_s=60.0)
