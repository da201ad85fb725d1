"""Lays out one quantity on its network as points of an SVG, coloured by value; opaque is certain."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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
    positions = np.array([(nodes[one.node_id].lon, nodes[one.node_id].lat) for one in state.nodes])
    at = _project(positions)
    found = dict(zip((one.node_id for one in state.nodes), at.tolist(), strict=True))
    values = [one.estimated for one in state.nodes if one.estimated is not None]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    width = (high - low) / len(COLOURS)
    largest = max((one.deviation or 0.0 for one in state.nodes), default=0.0)
    by_link = {one.link_id: one.estimated for one in state.links}
    return StateMap(
        links=[
            MapLink(
                _points((found[one.from_node], found[one.to_node])), _colour(by_link[one.link_id], low, width)
            )
            for one in directory.links
            if one.link_id in by_link
        ],
        nodes=[
            MapNode(
                found[one.node_id][0],
                found[one.node_id][1],
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


def _points(ends: Sequence[Sequence[float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in ends)


def _project(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return longitudes and latitudes as points of the SVG, (n, 2), north up, in true proportion."""
    lon, lat = positions.T
    aspect = float(np.cos(np.deg2rad(lat.mean())))
    scale = min(
        (WIDTH - 2 * MARGIN) / max(float(np.ptp(lon)) * aspect, 1e-6),
        (HEIGHT - 2 * MARGIN) / max(float(np.ptp(lat)), 1e-6),
    )
    x = WIDTH / 2 + (lon - (lon.min() + lon.max()) / 2) * aspect * scale
    y = HEIGHT / 2 - (lat - (lat.min() + lat.max()) / 2) * scale
    return np.round(np.column_stack([x, y]), 1)
