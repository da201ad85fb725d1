"""Data classes that describe a simulated town: sites with devices, and the river and road networks."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read by msgspec

import msgspec

from edge.wire.errors import EdgeError


class TownSpecError(EdgeError, ValueError):
    """A town can't be simulated as it is described; the message states what to change."""


class SimulatedSite(msgspec.Struct, frozen=True, kw_only=True):
    """One device, its site and the quantities it measures.

    Attributes
    ----------
    device_id, site_id : as enrolled; channels are named for their quantities
    kind : kind of site (``river_section``, ``outfall``, ``rain_gauge``, ``tide_gauge``, ``road_section``)
    quantities : names of the quantity registry, in the order of the records
    node_id : node of the site in its network
    interval_s : between two readings of a channel [s]
    phase_s : offset of the device's readings within the interval, so that devices do not send all at once [s]
    """

    device_id: str
    site_id: str
    kind: str
    quantities: tuple[str, ...]
    node_id: str
    interval_s: float = 300.0
    phase_s: float = 0.0


class SimulatedLink(msgspec.Struct, frozen=True, kw_only=True):
    """A river reach, or one direction of a road.

    Attributes
    ----------
    length_m : length along the river or the lane [m]
    speed_m_s : usual water velocity, or free-flow speed [m/s]
    lanes : number of lanes of a road
    """

    from_node: str
    to_node: str
    length_m: float
    speed_m_s: float
    lanes: int = 1


class TownSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster of towns.

    Attributes
    ----------
    simulated_sites : all devices with their sites
    river, road : links in the direction of flow; the river must be a tree that ends in mouths
    node_kinds : ``source``, ``outfall``, ``mouth``, … by node
    """

    simulated_sites: tuple[SimulatedSite, ...]
    river: tuple[SimulatedLink, ...] = ()
    road: tuple[SimulatedLink, ...] = ()
    node_kinds: Mapping[str, str] = {}
