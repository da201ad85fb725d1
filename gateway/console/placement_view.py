"""Lays out a placement of sensors: the curve of what each further one adds, and the places on the rivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.console.map_projection import fit_projection

if TYPE_CHECKING:
    from collections.abc import Collection

    from analytics.service.placement_report import PlacementReport, PlacementRow
    from ingest_service.storage.contract.models import Directory

CURVE_WIDTH, CURVE_HEIGHT = 640, 200
MAP_WIDTH, MAP_HEIGHT, MARGIN = 720, 420, 26.0
# Of Okabe and Ito, each line with its own dashes: distinguishable with colour blindness.
LINES = (
    ("traceable", "#0072b2", ""),
    ("detected", "#d55e00", "7 4"),
    ("separated", "#009e73", "2 3"),
)
MAX_TICKS = 10


class CurveLine(NamedTuple):
    """A share by the number of sensors: name of the share, points as SVG has them, colour and dashes."""

    share: str
    points: str
    colour: str
    dashes: str


class PlacementCurve(NamedTuple):
    """Lines from the sensors that exist, at 0, to the last one, and the numbers at the axis by position."""

    lines: list[CurveLine]
    ticks: list[tuple[float, int]]


class MapPlace(NamedTuple):
    """A place in the list, in the SVG."""

    x: float
    y: float
    row: PlacementRow


class PlacementMap(NamedTuple):
    """Rivers as points of an SVG, outfalls, and the places; later places come first, below earlier ones."""

    rivers: list[str]
    outfalls: list[tuple[float, float]]
    markers: list[MapPlace]


def placement_curve(report: PlacementReport) -> PlacementCurve:
    """Return the curve; shares are of the outfalls, of the releases and of the pairs of outfalls."""
    achieved = [report.before, *report.rows]
    step = CURVE_WIDTH / max(len(achieved) - 1, 1)
    shares = {
        "traceable": [one.outfalls_traceable / report.n_outfalls for one in achieved],
        "detected": [one.detected for one in achieved],
        "separated": [one.separated for one in achieved],
    }
    lines = [
        CurveLine(
            share,
            " ".join(
                f"{at * step:.1f},{CURVE_HEIGHT * (1 - one):.1f}" for at, one in enumerate(shares[share])
            ),
            colour,
            dashes,
        )
        for share, colour, dashes in LINES
    ]
    every = -(-len(achieved) // MAX_TICKS)
    return PlacementCurve(lines, [(at * step, at) for at in range(0, len(achieved), every)])


def placement_map(
    report: PlacementReport, directory: Directory, area_ids: Collection[str] | None
) -> PlacementMap:
    """Return the map of the rivers of the areas; None for all."""
    nodes = {
        one.node_id: one
        for one in directory.nodes
        if one.network == "river" and (area_ids is None or one.area_id in area_ids)
    }
    courses = [
        one.coordinates or [(end.lon, end.lat) for end in (nodes[one.from_node], nodes[one.to_node])]
        for one in directory.links
        if one.from_node in nodes and one.to_node in nodes
    ]
    positions = [(one.lon, one.lat) for one in nodes.values()]
    projection = fit_projection(positions, width=MAP_WIDTH, height=MAP_HEIGHT, margin=MARGIN)
    return PlacementMap(
        [projection.points(one) for one in courses],
        [projection.point(one.lon, one.lat) for one in nodes.values() if one.kind == "outfall"],
        [
            MapPlace(*projection.point(nodes[row.node_id].lon, nodes[row.node_id].lat), row)
            for row in reversed(report.rows)
        ],
    )
