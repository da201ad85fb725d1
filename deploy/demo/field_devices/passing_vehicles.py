"""Simulates the edges of a detector that vehicles pass, in place of the GPIO line of a pulse counter."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge.drivers.traffic_period import TrafficAggregator

EFFECTIVE_LENGTH_M = 6.0  # of a vehicle and the detector
SHORTEST_GAP_S = 0.5  # between the end of a vehicle and the front of the next
LOWEST_FLOW = 1.0  # veh/h, of an empty road
LOWEST_SPEED = 5.0  # km/h


class PassingVehicles:
    """Source of passages for `edge.drivers.traffic_counter.TrafficCounter`; gaps are exponential.

    Parameters
    ----------
    measure : returns ``traffic_flow`` [veh/h] and ``traffic_speed`` [km/h] at a time [Unix s]
    seed : of the gaps
    clock, wait : Unix time [s], and the function that waits

    """

    def __init__(
        self,
        measure: Callable[[float], Mapping[str, float]],
        *,
        seed: int,
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._measure, self._random, self._clock, self._wait = measure, Random(seed), clock, wait
        self._covers = False
        self._edge_s = clock() + self._gap_s(clock())

    def collect(self, aggregator: TrafficAggregator, timeout_s: float) -> None:
        """Add the edges of some time."""
        self._wait(timeout_s)
        now_s = self._clock()
        while self._edge_s <= now_s:
            edge_s = self._edge_s
            if self._covers:
                aggregator.uncover(edge_s)
                self._edge_s = edge_s + self._gap_s(edge_s)
            else:
                aggregator.cover(edge_s)
                speed = max(LOWEST_SPEED, self._measure(edge_s)["traffic_speed"]) / 3.6
                self._edge_s = edge_s + EFFECTIVE_LENGTH_M / speed
            self._covers = not self._covers

    def close(self) -> None:
        """Release nothing."""

    def _gap_s(self, at_s: float) -> float:
        mean_s = 3600.0 / max(LOWEST_FLOW, self._measure(at_s)["traffic_flow"])
        return SHORTEST_GAP_S + self._random.expovariate(1.0 / max(0.1, mean_s - SHORTEST_GAP_S))
