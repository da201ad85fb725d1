"""Lays out maps of the roads of one or two scenarios, coloured by congestion, as points of an SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.api.models.scenario_models import RoadScenarioResult
from gateway.console.map_projection import fit_projection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.api.models.scenario_models import ScenarioRoadResponse, WaterScenarioResult
    from ingest_service.storage.contract.models import Directory

WIDTH, HEIGHT = 360, 240
COLOURS = ("#009e73", "#8fb339", "#e69f00", "#d55e00", "#99004c")  # of the levels 1 smooth to 5 heavy
MARGIN = 0.12  # around the altered roads, as a share of the picture's height


class MapRoad(NamedTuple):
    """A road as points of an SVG, its colour, and the road of the result."""

    points: str
    colour: str
    target: ScenarioRoadResponse


class RoadMap(NamedTuple):
    """A map: the roads around, and the altered ones; ``scenario`` is None for the state without changes."""

    scenario: int | None
    around: list[str]
    roads: list[MapRoad]


def maps_of(
    results: Sequence[WaterScenarioResult | RoadScenarioResult], directory: Directory
) -> list[RoadMap]:
    """Return a map without changes and one of each scenario on the roads; none where no road is listed."""
    found = [one for one in results if isinstance(one, RoadScenarioResult) and one.roads]
    if not found or len(found) < len(results):
        return []
    coordinates = [pair for one in found for road in one.roads for pair in road.coordinates]
    project = fit_projection(coordinates, width=WIDTH, height=HEIGHT, margin=MARGIN * HEIGHT).points
    positions = {one.node_id: [one.lon, one.lat] for one in directory.nodes}
    around = [
        project(
            [list(one) for one in link.coordinates] or [positions[link.from_node], positions[link.to_node]]
        )
        for link in directory.links
        if link.network == "road" and link.from_node in positions and link.to_node in positions
    ]
    without = {road.link_id: road for one in found for road in one.roads}
    maps = [
        RoadMap(
            None,
            around,
            [
                MapRoad(project(road.coordinates), COLOURS[road.base_level - 1], road)
                for road in without.values()
            ],
        )
    ]
    for number, one in enumerate(found):
        roads = [MapRoad(project(road.coordinates), COLOURS[road.level - 1], road) for road in one.roads]
        maps.append(RoadMap(number, around, roads))
    return maps
