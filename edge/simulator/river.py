"""The river as a tree of reaches: where water goes, how long it takes, and what a release becomes.

A release is carried and spread by the instantaneous solution of the advection-dispersion equation,
``C = M / (A sqrt(4 pi D t)) exp(-(x - u t)^2 / (4 D t) - k t)``, with x the length of the way,
u its mean velocity and ``A = Q / u`` the cross-section at the place that is asked for.
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
REACH_SIGMAS = 6.0  # a cloud is felt so many standard deviations from its middle
SEWAGE_AMMONIA_G_M3 = 25.0
PUFF_S = 600.0  # a discharge is a row of releases so far apart


class Release(msgspec.Struct, frozen=True):
    """Ammonia nitrogen let into the river at once.

    Attributes
    ----------
    node : where
    at_s : after the present [s]
    mass_g : how much [g]
    """

    node: str
    at_s: float
    mass_g: float


class Cloud(msgspec.Struct, frozen=True):
    """A release as it passes one place.

    Attributes
    ----------
    at_s : of the release, after the present [s]
    mass_g : released [g]
    way_m : from there to here [m]
    velocity_m_s : mean on the way [m/s]
    flow_m3_s : of the river here [m3/s]
    """

    at_s: float
    mass_g: float
    way_m: float
    velocity_m_s: float
    flow_m3_s: float

    def concentration(self, since_s: float) -> float:
        """What it adds here so long after the present [g/m3 = mg/L]."""
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
    """All rivers of the towns.

    Parameters
    ----------
    spec : of the towns; raises `SpecError` where its river is no tree
    seed : outfalls differ by it in their usual flow
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
        """The reaches from a node down to the mouth."""
        links: list[Link] = []
        while (link := self._down.get(node)) is not None:
            links.append(link)
            node = link.to_node
        return links

    def to_mouth_m(self, node: str) -> float:
        """Length of the way to the mouth [m]."""
        return sum(link.length_m for link in self.way(node))

    def flow_m3_s(self, node: str) -> float:
        """Usual flow past a node: all sources and outfalls above it [m3/s]."""
        return self._flow[node]

    def joins_m3_s(self, node: str) -> float:
        """Usual flow that joins the river at a node: of a source or outfall, else none [m3/s]."""
        return self._joins[node]

    def travel_s(self, origin: str, node: str) -> float | None:
        """Travel time from one node down to another [s]; None where no water goes that way."""
        gone_s = 0.0
        if origin == node:
            return gone_s
        for link in self.way(origin):
            gone_s += link.length_m / link.speed_m_s
            if link.to_node == node:
                return gone_s
        return None

    def clouds(self, node: str, releases: Iterable[Release]) -> list[Cloud]:
        """What of some releases passes a node that lies below them."""
        clouds = []
        for release in releases:
            travel_s = self.travel_s(release.node, node)
            if not travel_s:
                continue
            way_m = self.to_mouth_m(release.node) - self.to_mouth_m(node)
            clouds.append(Cloud(release.at_s, release.mass_g, way_m, way_m / travel_s, self._flow[node]))
        return clouds

    def releases(self, plan: Iterable[Fault]) -> list[Release]:
        """What the faults of a plan let into the river."""
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
    """The one reach that leaves each node."""
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
    """What joins the river at a node [m3/s]."""
    kind = kinds.get(node)
    if kind == "source":
        return SOURCE_M3_S
    if kind == "outfall":
        return Random(f"{seed}/{node}/flow").uniform(*OUTFALL_M3_S)
    return 0.0
