"""Represents roads, junctions, signals and demand as arrays, and checks them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.errors import AnalyticsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.twin.fundamental_diagram import FundamentalDiagram

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

SHARE_TOLERANCE = 1e-9
MIN_SPEED_FACTOR = 0.1  # of drops that overlap, too: the record of counts is as long as that takes


class TrafficError(AnalyticsError):
    """Roads, demand or a scenario contradict themselves; the message names the link."""


class CapacityDrop(NamedTuple):
    """An incident, roadworks or rain: a link's capacity is multiplied by a factor for a time [s].

    So is its free speed by ``speed_factor``.
    """

    link: int
    from_s: float
    to_s: float
    factor: float
    speed_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class RoadTraffic:
    """Road links, the movements between them, and the vehicles that want to enter.

    Attributes
    ----------
    tail, head : (n_links,) node at which a link begins, at which it ends
    length_m : (n_links,) [m]
    lanes : (n_links,)
    diagram : fundamental diagram of each link
    from_link, to_link : (n_movements,) movements at junctions; a link ends where the other begins
    shares : (n_periods, n_movements) of a link's vehicles that take a movement; what is left ends its trip
        there
    demand_per_s : (n_periods, n_links) vehicles that want to enter each link where it begins [vehicles/s]
    period_s : length of a period of shares and demand [s]; the last one lasts
    green_share : (n_links,) of the time that the signal at a link's end is green; 1 without signal
    drops : incidents and roadworks
    priority_per_s : (n_links,) priority of a link at the junction at its end, where capacity is scarce: as if
        its capacity were so much [vehicles/s]; the capacity if None

    Raises
    ------
    TrafficError
        If sizes, links, shares or values don't fit together.

    """

    tail: Indices
    head: Indices
    length_m: Floats
    lanes: Floats
    diagram: FundamentalDiagram
    from_link: Indices
    to_link: Indices
    shares: Floats
    demand_per_s: Floats
    period_s: float
    green_share: Floats
    drops: tuple[CapacityDrop, ...] = field(default=())
    priority_per_s: Floats | None = None

    def __post_init__(self) -> None:
        self._check_links()
        self._check_movements()
        self._check_demand()
        for drop in self.drops:
            if not 0 <= drop.link < self.n_links:
                raise TrafficError(f"capacity drop of link {drop.link}: links are 0 to {self.n_links - 1}")
            if not (0 <= drop.factor <= 1 and drop.from_s < drop.to_s):
                raise TrafficError(
                    f"capacity drop of link {drop.link}: factor {drop.factor:g} must be in [0, 1], and "
                    f"{drop.from_s:g} s before {drop.to_s:g} s"
                )
            if not MIN_SPEED_FACTOR <= drop.speed_factor <= 1:
                raise TrafficError(
                    f"capacity drop of link {drop.link}: speed_factor {drop.speed_factor:g} must be in "
                    f"[{MIN_SPEED_FACTOR:g}, 1]"
                )

    @property
    def n_links(self) -> int:
        """Number of links."""
        return len(self.tail)

    def speed_factor(self, now_s: float | None = None) -> Floats:
        """Return the factors of the free speeds at a time [s], of all drops together if None, (n_links,)."""
        factor = np.ones(self.n_links)
        for drop in self.drops:
            if now_s is None or drop.from_s <= now_s < drop.to_s:
                factor[drop.link] *= drop.speed_factor
        slowest: Floats = np.maximum(factor, MIN_SPEED_FACTOR)
        return slowest

    @property
    def priority_or_capacity(self) -> Floats:
        """Priorities of links at the junctions at their ends, (n_links,) [vehicles/s]."""
        return self.diagram.capacity_per_s if self.priority_per_s is None else self.priority_per_s

    @property
    def n_nodes(self) -> int:
        """Number of nodes: one above the highest index."""
        return int(max(self.tail.max(), self.head.max())) + 1

    def _check_links(self) -> None:
        per_link = {
            "head": self.head,
            "length_m": self.length_m,
            "lanes": self.lanes,
            "free_speed_m_s": self.diagram.free_speed_m_s,
            "wave_speed_m_s": self.diagram.wave_speed_m_s,
            "jam_density_per_m": self.diagram.jam_density_per_m,
            "green_share": self.green_share,
            "priority_per_s": self.priority_or_capacity,
        }
        for name, values in per_link.items():
            if values.shape != self.tail.shape:
                raise TrafficError(
                    f"{name} has shape {values.shape}, tail {self.tail.shape}: each link needs all"
                )
            wrong = ~(np.isfinite(values) & (values > 0)) if name != "head" else values < 0
            if wrong.any():
                link = int(np.flatnonzero(wrong)[0])
                raise TrafficError(f"link {link} has {name} {values[link]:g}: it must be finite and above 0")
        if (self.green_share > 1).any():
            link = int(np.flatnonzero(self.green_share > 1)[0])
            raise TrafficError(f"link {link} has green_share {self.green_share[link]:g}: 1 is always green")

    def _check_movements(self) -> None:
        if self.from_link.shape != self.to_link.shape or self.shares.shape[1:] != self.from_link.shape:
            raise TrafficError("from_link, to_link and shares have different numbers of movements")
        both = np.concatenate([self.from_link, self.to_link])
        if len(both) and not (both.min() >= 0 and both.max() < self.n_links):
            raise TrafficError(
                f"a movement names link {both.min()} or {both.max()}: links are 0 to {self.n_links - 1}"
            )
        is_apart = self.head[self.from_link] != self.tail[self.to_link]
        if is_apart.any():
            movement = int(np.flatnonzero(is_apart)[0])
            raise TrafficError(
                f"movement from link {self.from_link[movement]} to {self.to_link[movement]}: "
                f"the one ends at node {self.head[self.from_link[movement]]}, the other begins at node "
                f"{self.tail[self.to_link[movement]]}"
            )
        if not (self.shares >= 0).all():
            raise TrafficError("a share of a movement is below 0 or not a number")
        for period, shares in enumerate(self.shares):
            total = np.bincount(self.from_link, shares, self.n_links)
            if (total > 1 + SHARE_TOLERANCE).any():
                link = int(total.argmax())
                raise TrafficError(
                    f"shares of link {link} sum to {total[link]:g} in period {period}: 1 at most"
                )

    def _check_demand(self) -> None:
        if self.demand_per_s.shape != (len(self.shares), self.n_links):
            raise TrafficError(
                f"demand_per_s has shape {self.demand_per_s.shape}: {(len(self.shares), self.n_links)} is needed"  # noqa: E501
            )
        if not (np.isfinite(self.demand_per_s) & (self.demand_per_s >= 0)).all():
            raise TrafficError("a demand is below 0 or not a number")
        if not self.period_s > 0:
            raise TrafficError(f"period_s {self.period_s:g} must be above 0")
