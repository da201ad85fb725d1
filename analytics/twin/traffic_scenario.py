"""Applies what-if scenarios to road traffic: lanes closed, shares diverted, signals retimed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.twin.link_transmission import TrafficRun, simulate
from analytics.twin.road_traffic import CapacityDrop, RoadTraffic, TrafficError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class LaneClosure(NamedTuple):
    """Lanes of a link that are closed for a time [s]; capacity falls in proportion."""

    link: int
    lanes: float
    from_s: float
    to_s: float


class Diversion(NamedTuple):
    """A share of the vehicles that went from a link to one link goes to another instead, for a time [s].

    It applies in the periods of demand and shares whose middle it holds.
    """

    from_link: int
    to_link: int
    instead_to: int
    share: float
    from_s: float = 0.0
    to_s: float = float("inf")


class GreenShare(NamedTuple):
    """A new green share of the signal at a link's end."""

    link: int
    green_share: float


@dataclass(frozen=True, slots=True)
class TrafficScenario:
    """Changes to road traffic; they apply together."""

    closures: tuple[LaneClosure, ...] = ()
    diversions: tuple[Diversion, ...] = ()
    green_shares: tuple[GreenShare, ...] = ()
    drops: tuple[CapacityDrop, ...] = ()

    def applied_to(self, traffic: RoadTraffic) -> RoadTraffic:
        """Return the traffic with all changes. Raises `TrafficError` naming the change that can't be."""
        green_share = traffic.green_share.copy()
        for change in self.green_shares:
            _check_link(change.link, traffic, "green share")
            if not 0 < change.green_share <= 1:
                raise TrafficError(
                    f"green share {change.green_share:g} of link {change.link}: above 0, and 1 at most; close its "  # noqa: E501
                    "lanes to stop it"
                )
            green_share[change.link] = change.green_share
        shares = traffic.shares.copy()
        for diversion in self.diversions:
            _divert(shares, diversion, traffic)
        drops = tuple(_capacity_drop(closure, traffic) for closure in self.closures)
        return replace(
            traffic, green_share=green_share, shares=shares, drops=(*traffic.drops, *self.drops, *drops)
        )


class Comparison(NamedTuple):
    """Results without and with a scenario.

    Attributes
    ----------
    base, changed : both runs
    extra_vehicle_hours : of each link with the scenario, (n_links,)
    extra_waiting_hours : outside the network

    """

    base: TrafficRun
    changed: TrafficRun
    extra_vehicle_hours: Floats
    extra_waiting_hours: float


def compare(
    traffic: RoadTraffic,
    scenario: TrafficScenario,
    duration_s: float,
    *,
    step_s: float = 10.0,
    report_s: float = 300.0,
) -> Comparison:
    """Simulate traffic without and with a scenario. Raises `TrafficError` where either can't be."""
    changed_traffic = scenario.applied_to(traffic)
    base = simulate(traffic, duration_s, step_s=step_s, report_s=report_s)
    changed = simulate(changed_traffic, duration_s, step_s=step_s, report_s=report_s)
    return Comparison(
        base, changed, changed.vehicle_hours - base.vehicle_hours, changed.waiting_hours - base.waiting_hours
    )


def _check_link(link: int, traffic: RoadTraffic, change: str) -> None:
    if not 0 <= link < traffic.n_links:
        raise TrafficError(f"{change} of link {link}: links are 0 to {traffic.n_links - 1}")


def _capacity_drop(closure: LaneClosure, traffic: RoadTraffic) -> CapacityDrop:
    _check_link(closure.link, traffic, "closure")
    lanes = float(traffic.lanes[closure.link])
    if not 0 < closure.lanes <= lanes:
        raise TrafficError(f"closure of {closure.lanes:g} lanes of link {closure.link}: it has {lanes:g}")
    if not closure.from_s < closure.to_s:
        raise TrafficError(
            f"closure of link {closure.link}: ends at {closure.to_s:g} s, not after {closure.from_s:g} s"
        )
    return CapacityDrop(closure.link, closure.from_s, closure.to_s, 1 - closure.lanes / lanes)


def _divert(shares: Floats, diversion: Diversion, traffic: RoadTraffic) -> None:
    """Move a share between two movements, in place."""
    if not 0 < diversion.share <= 1:
        raise TrafficError(
            f"diversion from link {diversion.from_link}: share {diversion.share:g} must be in (0, 1]"
        )
    columns = list[int]()
    for target in (diversion.to_link, diversion.instead_to):
        found = np.flatnonzero((traffic.from_link == diversion.from_link) & (traffic.to_link == target))
        if len(found) != 1:
            raise TrafficError(
                f"diversion: there is no movement from link {diversion.from_link} to link {target}"
            )
        columns.append(int(found[0]))
    middle_s = (np.arange(len(shares)) + 0.5) * traffic.period_s
    is_on = (diversion.from_s <= middle_s) & (middle_s < diversion.to_s)
    moved = shares[:, columns[0]] * diversion.share * is_on
    shares[:, columns[0]] -= moved
    shares[:, columns[1]] += moved
