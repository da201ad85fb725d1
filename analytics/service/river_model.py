"""Builds the transport model of an enrolled river from lengths, usual velocities and measured discharges.

At a node, water leaves by its reaches in equal parts; sources and outfalls let in `SOURCE_M3_S` and
`OUTFALL_M3_S` by assumption, scaled to the measured discharges (the median ratio). The cross-section of a
reach is its discharge divided by its usual velocity; where a discharge was measured, and section, roughness
and a fall of the bed are enrolled, that of uniform flow by Manning's formula (`analytics.twin.normal_flow`),
unless it would be deeper than the section: then water is held up from below. Flow is steady, in the
enrolled direction: where a river reverses, the answers hold for as long as the usual direction does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from analytics.twin.water_response import FlowHistory
    from analytics.twin.water_scenario import SteadyRiver
    from ingest_service.storage.contract.models import Directory, Link, Node

    Floats = NDArray[np.float64]
    ReadSeries = Callable[[int, float, float], NDArray[np.void]]

SOURCE_M3_S, OUTFALL_M3_S, ELSEWHERE_M3_S = 2.0, 0.1, 1e-3
DISPERSION_M2_S = 5.0  # slow canals: 1 to 10 [m²/s]; its uncertainty is part of the model
DECAY_PER_S = 0.1 / 86_400  # nitrogen and oxygen demand in canals: 0.05 to 0.2 a day
STEP_S, CELL_M = 1800.0, 200.0


class RiverPart(NamedTuple):
    """Nodes and reaches of a river, or of a part of it; each node has a reach."""

    nodes: list[Node]
    links: list[Link]


def whole_river(directory: Directory) -> RiverPart:
    """Return all nodes and reaches of the river network."""
    return _part(directory, {one.node_id for one in directory.nodes})


def connected_with(directory: Directory, node_ids: Collection[str]) -> RiverPart:
    """Return the parts of the river that are connected with some of its nodes; ids of others are left out."""
    neighbours: dict[str, list[str]] = {}
    for link in directory.links:
        if link.network == "river":
            neighbours.setdefault(link.from_node, []).append(link.to_node)
            neighbours.setdefault(link.to_node, []).append(link.from_node)
    waiting = [one for one in node_ids if one in neighbours]
    reached = set(waiting)
    while waiting:
        new = [one for one in dict.fromkeys(neighbours[waiting.pop()]) if one not in reached]
        reached.update(new)
        waiting += new
    return _part(directory, reached)


def upstream_of(directory: Directory, site_ids: Collection[str]) -> RiverPart:
    """Return the nodes and reaches upstream of sites, their nodes included; none if they are on no river.

    Of an outfall, the node that it leads to is included, too: water of others may reach it there.
    """
    into: dict[str, list[str]] = {}
    for link in directory.links:
        if link.network == "river":
            into.setdefault(link.to_node, []).append(link.from_node)
    begin = [one for one in directory.nodes if one.site_id in site_ids and one.network == "river"]
    outfalls = {one.node_id for one in begin if one.kind == "outfall"}
    waiting = [one.node_id for one in begin]
    waiting += [one.to_node for one in directory.links if one.from_node in outfalls]
    reached = set(waiting)
    while waiting:
        new = [one for one in into.get(waiting.pop(), []) if one not in reached]
        reached.update(new)
        waiting += new
    return _part(directory, reached)


def _part(directory: Directory, names: set[str]) -> RiverPart:
    links = [
        one
        for one in directory.links
        if one.network == "river" and one.from_node in names and one.to_node in names
    ]
    used = {name for one in links for name in (one.from_node, one.to_node)}
    nodes = {one.node_id: one for one in directory.nodes}
    return RiverPart([nodes[name] for name in sorted(used)], links)


def downstream_sites(directory: Directory, site_id: str) -> list[Node]:
    """Return the nodes with a site that water reaches from a site, without its own and outfalls."""
    onward: dict[str, list[str]] = {}
    for link in directory.links:
        if link.network == "river":
            onward.setdefault(link.from_node, []).append(link.to_node)
    waiting = [one.node_id for one in directory.nodes if one.site_id == site_id and one.network == "river"]
    reached = set[str]()
    while waiting:
        new = [one for one in onward.get(waiting.pop(), []) if one not in reached]
        reached.update(new)
        waiting += new
    return [
        one
        for one in directory.nodes
        if one.node_id in reached and one.site_id not in {None, site_id} and one.kind != "outfall"
    ]


def flow_history(
    directory: Directory,
    part: RiverPart,
    read: ReadSeries,
    *,
    begin_s: float,
    n_steps: int,
    max_cells: int | None = None,
) -> tuple[FlowHistory, bool]:
    """Return the steady flow of a part of the river, and whether a discharge was measured in it.

    Parameters
    ----------
    part : with a reach at least
    read : returns the READING rows of a series between two Unix times [s]
    begin_s, n_steps : beginning of the first step [s], number of steps of `STEP_S`
    max_cells : of `steady_river`

    """
    from analytics.twin.water_response import FlowHistory  # noqa: PLC0415 - scipy, on the first use: 25 MB

    end_s = begin_s + n_steps * STEP_S
    river, is_measured = steady_river(directory, part, read, from_s=begin_s, to_s=end_s, max_cells=max_cells)
    grid = river.grid
    face = np.broadcast_to(river.discharge_m3_s[grid.reach], (n_steps, len(grid.reach)))
    return FlowHistory(grid, STEP_S, face, DISPERSION_M2_S, DECAY_PER_S), is_measured


def steady_river(
    directory: Directory,
    part: RiverPart,
    read: ReadSeries,
    *,
    from_s: float,
    to_s: float,
    max_cells: int | None = None,
) -> tuple[SteadyRiver, bool]:
    """Return a part of the river with its usual flow, and whether a discharge was measured in it.

    Parameters
    ----------
    part : with a reach at least
    read : returns the READING rows of a series between two Unix times [s]
    from_s, to_s : the discharges measured between these Unix times count [s]
    max_cells : makes cells longer than `CELL_M` where the reaches would have more of them; None for no limit

    """
    from analytics.twin.channel_grid import divide_reaches  # noqa: PLC0415 - see above
    from analytics.twin.water_scenario import SteadyRiver, throughflow  # noqa: PLC0415

    at = {node.node_id: number for number, node in enumerate(part.nodes)}
    tail = np.array([at[one.from_node] for one in part.links], np.intp)
    head = np.array([at[one.to_node] for one in part.links], np.intp)
    share = 1 / np.bincount(tail, minlength=len(part.nodes))[tail]
    assumed = {"source": SOURCE_M3_S, "outfall": OUTFALL_M3_S}
    inflow = np.array([assumed.get(node.kind, ELSEWHERE_M3_S) for node in part.nodes])
    through = throughflow(tail, head, share, inflow)
    measured = _measured_discharge(directory, part, read, from_s, to_s)
    ratios = [discharge / float(through[number]) for number, discharge in measured.items()]
    scale = float(np.median(ratios)) if ratios else 1.0
    discharge = share * through[tail] * scale
    length_m = np.array([one.length_m for one in part.links])
    grid = divide_reaches(
        len(part.nodes),
        tail,
        head,
        length_m=length_m,
        area_m2=_cross_section_m2(part, discharge, is_measured=bool(ratios)),
        cell_m=CELL_M if max_cells is None else max(CELL_M, float(length_m.sum()) / max_cells),
    )
    return SteadyRiver(grid, tail, head, share, inflow * scale), bool(ratios)


def _cross_section_m2(part: RiverPart, discharge: Floats, *, is_measured: bool) -> Floats:
    """Return the wetted area of each reach, (n_links,) [m²]."""
    from analytics.twin.normal_flow import normal_flow  # noqa: PLC0415 - see above

    area: Floats = discharge / np.array([one.speed_m_s for one in part.links])
    elevation = {one.node_id: one.elevation_m for one in part.nodes}
    falls = [
        (number, one, (begin - end) / one.length_m)
        for number, one in enumerate(part.links)
        if one.section_shape in {"rectangular", "trapezoidal"}
        and one.width_m is not None
        and one.manning_n is not None
        and (begin := elevation[one.from_node]) is not None
        and (end := elevation[one.to_node]) is not None
        and begin > end
        and discharge[number] > 0
    ]
    if not is_measured or not falls:
        return area
    at = np.array([number for number, _, _ in falls])
    flow = normal_flow(
        discharge[at],
        np.array([one.width_m for _, one, _ in falls], np.float64),
        np.array([one.side_slope or 0.0 for _, one, _ in falls]),
        np.array([one.manning_n for _, one, _ in falls], np.float64),
        np.array([slope for _, _, slope in falls]),
    )
    is_free = flow.depth_m <= [np.inf if one.depth_m is None else one.depth_m for _, one, _ in falls]
    area[at[is_free]] = flow.area_m2[is_free]
    return area


def _measured_discharge(
    directory: Directory, part: RiverPart, read: ReadSeries, from_s: float, to_s: float
) -> dict[int, float]:
    """Return the median discharge at each node that measures one above 0, by its number [m³/s]."""
    series = {one.site_id: one.series_id for one in directory.series if one.quantity == "discharge"}
    found = {}
    for number, node in enumerate(part.nodes):
        if node.kind == "outfall" or node.site_id not in series:
            continue  # the discharge of an outfall is not that of the river
        values = read(series[node.site_id], from_s, to_s)["value"]
        values = values[np.isfinite(values)]
        if len(values) and np.median(values) > 0:
            found[number] = float(np.median(values))
    return found
