"""River network as a tree of reaches: flows, travel times, and concentrations from releases.

The concentration of a release follows the advection-dispersion equation for an instantaneous release,
``C = M / (A sqrt(4 pi D t)) exp(-(x - u t)^2 / (4 D t) - k t)``, with x the distance along the river, u the
mean velocity on it and ``A = Q / u`` the cross-section at the point in question.
"""

from __future__ import annotations

from math import exp, pi, sqrt
from random import Random
from typing import TYPE_CHECKING

import msgspec

from edge.simulator.fault_plan import FaultKind, PlannedFault
from edge.simulator.time_cycles import DAY_S
from edge.simulator.town_spec import SimulatedLink, TownSpec, TownSpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SOURCE_M3_S = 5.0
OUTFALL_M3_S = (0.05, 0.12)
DISPERSION_M2_S = 8.0  # slow canals: 1-10 m2/s
DECAY_PER_S = 0.1 / DAY_S  # nitrification
CUTOFF_SIGMAS = 6.0  # the concentration is 0 beyond this many standard deviations from the centre
SEWAGE_AMMONIA_G_M3 = 25.0
RELEASE_INTERVAL_S = 600.0  # a discharge is a sequence of releases at this interval


class Release(msgspec.Struct, frozen=True):
    """An instantaneous release of ammonia nitrogen into the river.

    Attributes
    ----------
    node : node of the release
    at_s : time relative to the present [s]
    mass_g : mass released [g]
    """

    node: str
    at_s: float
    mass_g: float


class PassingRelease(msgspec.Struct, frozen=True):
    """A release as it passes a node downstream.

    Attributes
    ----------
    at_s : time of the release, relative to the present [s]
    mass_g : mass released [g]
    way_m : distance along the river from the release to the node [m]
    velocity_m_s : mean velocity on that distance [m/s]
    flow_m3_s : flow of the river at the node [m3/s]
    """

    at_s: float
    mass_g: float
    way_m: float
    velocity_m_s: float
    flow_m3_s: float

    def concentration(self, since_s: float) -> float:
        """Return the concentration it adds at a time relative to the present [g/m3 = mg/L]."""
        elapsed_s = since_s - self.at_s
        if elapsed_s <= 0:
            return 0.0
        distance_m = self.way_m - self.velocity_m_s * elapsed_s
        spread_m2 = 2 * DISPERSION_M2_S * elapsed_s
        if distance_m * distance_m > CUTOFF_SIGMAS**2 * spread_m2:
            return 0.0
        area_m2 = self.flow_m3_s / self.velocity_m_s
        peak = self.mass_g / (area_m2 * sqrt(2 * pi * spread_m2))
        return peak * exp(-distance_m * distance_m / (2 * spread_m2) - DECAY_PER_S * elapsed_s)


class River:
    """River network of the towns.

    Parameters
    ----------
    spec : of the towns; raises `TownSpecError` if its river is not a tree
    seed : determines the usual flows of the outfalls
    """

    def __init__(self, spec: TownSpec, seed: int) -> None:
        self._downstream = _downstream_reaches(spec.river)
        nodes = {node for link in spec.river for node in (link.from_node, link.to_node)}
        self._inflows = {node: _inflow_m3_s(node, spec.node_kinds, seed) for node in sorted(nodes)}
        self._flow = dict.fromkeys(self._inflows, 0.0)
        for node, local_inflow_m3_s in self._inflows.items():
            for downstream_node in (node, *(link.to_node for link in self.reaches_to_mouth(node))):
                self._flow[downstream_node] += local_inflow_m3_s

    def reaches_to_mouth(self, node: str) -> list[SimulatedLink]:
        """Return the reaches from a node down to the mouth."""
        links: list[SimulatedLink] = []
        while (link := self._downstream.get(node)) is not None:
            links.append(link)
            node = link.to_node
        return links

    def to_mouth_m(self, node: str) -> float:
        """Return the distance along the river to the mouth [m]."""
        return sum(link.length_m for link in self.reaches_to_mouth(node))

    def flow_m3_s(self, node: str) -> float:
        """Return the usual flow at a node: the sum of all sources and outfalls upstream [m3/s]."""
        return self._flow[node]

    def inflow_m3_s(self, node: str) -> float:
        """Return the usual inflow at a node: of a source or outfall, else 0 [m3/s]."""
        return self._inflows[node]

    def travel_s(self, origin: str, node: str) -> float | None:
        """Return the travel time from one node down to another [s]; None if the other is not downstream."""
        elapsed_s = 0.0
        if origin == node:
            return elapsed_s
        for link in self.reaches_to_mouth(origin):
            elapsed_s += link.length_m / link.speed_m_s
            if link.to_node == node:
                return elapsed_s
        return None

    def passing_releases(self, node: str, releases: Iterable[Release]) -> list[PassingRelease]:
        """Return the releases that pass a node, that is, those upstream of it."""
        passing_releases = []
        for release in releases:
            travel_s = self.travel_s(release.node, node)
            if not travel_s:
                continue
            way_m = self.to_mouth_m(release.node) - self.to_mouth_m(node)
            passing_releases.append(
                PassingRelease(release.at_s, release.mass_g, way_m, way_m / travel_s, self._flow[node])
            )
        return passing_releases

    def releases(self, plan: Iterable[PlannedFault]) -> list[Release]:
        """Return the releases that a plan's faults cause. Raises `TownSpecError` on an unknown origin."""
        releases: list[Release] = []
        for fault in plan:
            if fault.kind not in {FaultKind.SLUG, FaultKind.DISCHARGE}:
                continue
            if fault.origin not in self._flow:
                raise TownSpecError(
                    f"fault {fault.fault_id!r} begins at {fault.origin!r}: name a node of the river in origin"
                )
            if fault.kind is FaultKind.SLUG:
                releases.append(Release(fault.origin, fault.start_s, 1000 * fault.size))
            else:
                mass_g = fault.size * self._inflows[fault.origin] * SEWAGE_AMMONIA_G_M3 * RELEASE_INTERVAL_S
                release_count = int((fault.end_s - fault.start_s) // RELEASE_INTERVAL_S)
                releases += [
                    Release(fault.origin, fault.start_s + (i + 0.5) * RELEASE_INTERVAL_S, mass_g)
                    for i in range(release_count)
                ]
        return releases


def _downstream_reaches(links: Iterable[SimulatedLink]) -> dict[str, SimulatedLink]:
    """Return the reach that leaves each node. Raises `TownSpecError` unless the links form a tree."""
    downstream: dict[str, SimulatedLink] = {}
    for link in links:
        if link.from_node in downstream:
            raise TownSpecError(
                f"the river parts at node {link.from_node!r}: the simulator plays trees, leave one reach"
            )
        downstream[link.from_node] = link
    for start in downstream:
        visited = {start}
        node = start
        while node in downstream:
            node = downstream[node].to_node
            if node in visited:
                raise TownSpecError(
                    f"the river runs in a circle through node {node!r}: turn one of its reaches"
                )
            visited.add(node)
    return downstream


def _inflow_m3_s(node: str, kinds: Mapping[str, str], seed: int) -> float:
    """Return the usual inflow at a node [m3/s]."""
    kind = kinds.get(node)
    if kind == "source":
        return SOURCE_M3_S
    if kind == "outfall":
        return Random(f"{seed}/{node}/flow").uniform(*OUTFALL_M3_S)
    return 0.0
