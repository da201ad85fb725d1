"""Lays out one quantity on its network as points of an SVG, coloured by value; opaque is certain."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.console.map_projection import fit_projection

if TYPE_CHECKING:
    from analytics.service.estimated_state import EstimatedState, NodeEstimate
    from ingest_service.storage.contract.models import Directory

WIDTH, HEIGHT = 720, 420
MARGIN = 20.0  # on each side
# From low to high: viridis without its palest end, even in lightness, distinguishable with colour blindness.
COLOURS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#c8b020")
FAINTEST = 0.35  # opacity of the least certain estimate


class MapNode(NamedTuple):
    """A node: position in the SVG, colour, opacity, and its estimate; filled where it is measured."""

    x: float
    y: float
    colour: str
    opacity: float
    estimate: NodeEstimate


class MapLink(NamedTuple):
    """A link as points of an SVG, with its colour; none where there is no estimate."""

    points: str
    colour: str | None


class StateMap(NamedTuple):
    """The network, and the lower and upper limit of the values of each colour."""

    links: list[MapLink]
    nodes: list[MapNode]
    limits: list[tuple[float, float]]


def state_map(state: EstimatedState, directory: Directory) -> StateMap:
    """Return the map of a quantity; an empty one of a network without nodes."""
    if not state.nodes:
        return StateMap([], [], [])
    nodes = {one.node_id: one for one in directory.nodes}
    positions = {one.node_id: (nodes[one.node_id].lon, nodes[one.node_id].lat) for one in state.nodes}
    projection = fit_projection(list(positions.values()), width=WIDTH, height=HEIGHT, margin=MARGIN)
    values = [one.estimated for one in state.nodes if one.estimated is not None]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    width = (high - low) / len(COLOURS)
    largest = max((one.deviation or 0.0 for one in state.nodes), default=0.0)
    by_link = {one.link_id: one.estimated for one in state.links}
    return StateMap(
        links=[
            MapLink(
                projection.points([positions[one.from_node], positions[one.to_node]]),
                _colour(by_link[one.link_id], low, width),
            )
            for one in directory.links
            if one.link_id in by_link
        ],
        nodes=[
            MapNode(
                *projection.point(*positions[one.node_id]),
                _colour(one.estimated, low, width) or "none",
                1.0 if one.source == "measured" else _opacity(one.deviation, largest),
                one,
            )
            for one in state.nodes
        ],
        limits=[(low + step * width, low + (step + 1) * width) for step in range(len(COLOURS))]
        if values
        else [],
    )


def _colour(value: float | None, low: float, width: float) -> str | None:
    if value is None:
        return None
    step = int((value - low) / width) if width > 0 else 0
    return COLOURS[min(max(step, 0), len(COLOURS) - 1)]


def _opacity(deviation: float | None, largest: float) -> float:
    return 1.0 if not deviation else round(1.0 - (1.0 - FAINTEST) * deviation / largest, 2)
