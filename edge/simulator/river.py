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

from edge.simulator.faults import Fault, Kind
from edge.simulator.rhythm import DAY_S
from edge.simulator.spec import Link, Spec, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SOURCE_M3_S = 5.0
OUTFALL_M3_S = (0.05, 0.12)
DISPERSION_M2_S = 8.0  # slow canals: 1-10 m2/s
DECAY_PER_S = 0.1 / DAY_S  # nitrification
REACH_SIGMAS = 6.0  # the concentration is 0 beyond this many standard deviations from the centre
SEWAGE_AMMONIA_G_M3 = 25.0
PUFF_S = 600.0  # a discharge is a sequence of releases at this interval


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


class Cloud(msgspec.Struct, frozen=True):
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
        gone_s = since_s - self.at_s
        if gone_s <= 0:
            return 0.0
        off_m = self.way_m - self.velocity_m_s * gone_s
        spread_m2 = 2 * DISPERSION_M2_S * gone_s
        if off_m * off_m > REACH_SIGMAS**2 * spread_m2:
            return 0.0
        area_m2 = self.flow_m3_s / self.velocity_m_s
        peak = self.mass_g / (area_m2 * sqrt(2 * pi * spread_m2))
        return peak * exp(-off_m * off_m / (2 * spread_m2) - DECAY_PER_S * gone_s)


class River:
    """River network of the towns.

    Parameters
    ----------
    spec : of the towns; raises `SpecError` if its river is not a tree
    seed : determines the usual flows of the outfalls
    """

    def __init__(self, spec: Spec, seed: int) -> None:
        self._down = _tree(spec.river)
        nodes = {node for link in spec.river for node in (link.from_node, link.to_node)}
        self._joins = {node: _joins(node, spec.node_kinds, seed) for node in sorted(nodes)}
        self._flow = dict.fromkeys(self._joins, 0.0)
        for node, own_m3_s in self._joins.items():
            for passed in (node, *(link.to_node for link in self.way(node))):
                self._flow[passed] += own_m3_s

    def way(self, node: str) -> list[Link]:
        """Return the reaches from a node down to the mouth."""
        links: list[Link] = []
        while (link := self._down.get(node)) is not None:
            links.append(link)
            node = link.to_node
        return links

    def to_mouth_m(self, node: str) -> float:
        """Return the distance along the river to the mouth [m]."""
        return sum(link.length_m for link in self.way(node))

    def flow_m3_s(self, node: str) -> float:
        """Return the usual flow at a node: the sum of all sources and outfalls upstream [m3/s]."""
        return self._flow[node]

    def joins_m3_s(self, node: str) -> float:
        """Return the usual inflow at a node: of a source or outfall, else 0 [m3/s]."""
        return self._joins[node]

    def travel_s(self, origin: str, node: str) -> float | None:
        """Return the travel time from one node down to another [s]; None if the other is not downstream."""
        gone_s = 0.0
        if origin == node:
            return gone_s
        for link in self.way(origin):
            gone_s += link.length_m / link.speed_m_s
            if link.to_node == node:
                return gone_s
        return None

    def clouds(self, node: str, releases: Iterable[Release]) -> list[Cloud]:
        """Return the releases that pass a node, that is, those upstream of it."""
        clouds = []
        for release in releases:
            travel_s = self.travel_s(release.node, node)
            if not travel_s:
                continue
            way_m = self.to_mouth_m(release.node) - self.to_mouth_m(node)
            clouds.append(Cloud(release.at_s, release.mass_g, way_m, way_m / travel_s, self._flow[node]))
        return clouds

    def releases(self, plan: Iterable[Fault]) -> list[Release]:
        """Return the releases that the faults of a plan cause. Raises `SpecError` on an unknown origin."""
        releases: list[Release] = []
        for fault in plan:
            if fault.kind not in {Kind.SLUG, Kind.DISCHARGE}:
                continue
            if fault.origin not in self._flow:
                raise SpecError(
                    f"fault {fault.fault_id!r} begins at {fault.origin!r}: name a node of the river in origin"
                )
            if fault.kind is Kind.SLUG:
                releases.append(Release(fault.origin, fault.start_s, 1000 * fault.size))
            else:
                mass_g = fault.size * self._joins[fault.origin] * SEWAGE_AMMONIA_G_M3 * PUFF_S
                puffs = int((fault.end_s - fault.start_s) // PUFF_S)
                releases += [
                    Release(fault.origin, fault.start_s + (i + 0.5) * PUFF_S, mass_g) for i in range(puffs)
                ]
        return releases


def _tree(links: Iterable[Link]) -> dict[str, Link]:
    """Return the reach that leaves each node. Raises `SpecError` unless the links form a tree."""
    down: dict[str, Link] = {}
    for link in links:
        if link.from_node in down:
            raise SpecError(
                f"the river parts at node {link.from_node!r}: the simulator plays trees, leave one reach"
            )
        down[link.from_node] = link
    for start in down:
        seen = {start}
        node = start
        while node in down:
            node = down[node].to_node
            if node in seen:
                raise SpecError(f"the river runs in a circle through node {node!r}: turn one of its reaches")
            seen.add(node)
    return down


def _joins(node: str, kinds: Mapping[str, str], seed: int) -> float:
    """Return the usual inflow at a node [m3/s]."""
    kind = kinds.get(node)
    if kind == "source":
        return SOURCE_M3_S
    if kind == "outfall":
        return Random(f"{seed}/{node}/flow").uniform(*OUTFALL_M3_S)
    return 0.0
