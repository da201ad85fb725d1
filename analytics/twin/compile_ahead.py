"""Computes a tiny network once, so that the models' steps are compiled, or loaded from Numba's cache.

The models themselves don't wait for the compiler: until it is done they compute by NumPy and SciPy.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_array

from analytics.twin import compilation, compiled_traffic, sparse_inverse
from analytics.twin.fundamental_diagram import FundamentalDiagram
from analytics.twin.link_transmission import Simulation
from analytics.twin.road_traffic import CapacityDrop, RoadTraffic
from analytics.twin.sparse_inverse import SparsePattern


def is_cached() -> bool:
    """Whether all steps that `compile_traffic` calls are in Numba's cache, so that it only loads them."""
    return compilation.is_cached(compiled_traffic.advance, *sparse_inverse.COMPILED)


def compile_traffic() -> None:
    """Call each compiled step of a scenario on roads, with arguments of the types that a scenario has."""
    normal = SparsePattern(csc_array(np.array([[2.0, -1.0], [-1.0, 2.0]])))
    factor = normal.factorise(normal.values)
    factor.solve(np.ones((2, 1)))
    factor.inverse_diagonal()
    ones = np.ones(2)
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
    Simulation(traffic, 10.0).run_compiled(1, 6, np.zeros((4, 2, 2)))
