"""Lays out the plot of concentrations or queues of one or two scenarios, as points of an SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.api.models.scenario_models import RoadScenarioResult, ScenarioRoadResponse, WaterScenarioResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.api.models.scenario_models import ScenarioSiteResponse

WIDTH, HEIGHT = 720, 240
MAX_PLACES = 4
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0589b")  # of Okabe and Ito, the last one darker
DASHES = ("", "6 4")  # of the first and of the second scenario
HOUR_S = 3600.0


class PlotLine(NamedTuple):
    """Values at a place: points as SVG has them, colour, dashes, and the place in both languages.

    ``scenario`` is its number; None for the state without the changes.
    """

    points: str
    colour: str
    dashes: str
    target: ScenarioSiteResponse | ScenarioRoadResponse
    scenario: int | None


class ScenarioPlot(NamedTuple):
    """Lines, the text key of what they show, the largest value, and the end of the plot [h]."""

    lines: list[PlotLine]
    shows: str
    largest: float
    hours: float


class _Curve(NamedTuple):
    target_id: str
    time_s: list[float]
    values: list[float]
    dashes: str
    target: ScenarioSiteResponse | ScenarioRoadResponse
    scenario: int | None


def plot_of(results: Sequence[WaterScenarioResult | RoadScenarioResult]) -> ScenarioPlot | None:
    """Return the plot of concentrations, or of queues with and without; None where nothing is altered."""
    water = [one for one in results if isinstance(one, WaterScenarioResult)]
    if len(water) == len(results):
        return _plot("concentration_over_time", _concentrations(water))
    roads = [one for one in results if isinstance(one, RoadScenarioResult)]
    return _plot("queue_over_time", _queues(roads)) if len(roads) == len(results) else None


def _concentrations(results: Sequence[WaterScenarioResult]) -> list[_Curve]:
    """Return the concentrations at some places below: of one scenario with those without it, or of both."""
    first = next((one for one in results if one.sites), None)
    if first is None:
        return []
    # the place of the spill would make all others flat
    sites = first.sites[1:] or first.sites
    names = [one.node_id for one in sites[:: max(1, -(-len(sites) // MAX_PLACES))]]
    curves = [
        _Curve(site.node_id, result.time_s, site.concentration_mg_l, DASHES[number], site, number)
        for number, result in enumerate(results)
        for site in result.sites
        if site.node_id in names
    ]
    if len(results) == 1:
        curves += [
            _Curve(site.node_id, first.time_s, site.base_concentration_mg_l, DASHES[1], site, None)
            for site in first.sites
            if site.node_id in names and site.base_concentration_mg_l is not None
        ]
    return curves


def _queues(results: Sequence[RoadScenarioResult]) -> list[_Curve]:
    """Return the queues of the most delayed roads: of one scenario with those without it, or of both."""
    first = next((one for one in results if one.roads), None)
    names = [] if first is None else [one.link_id for one in first.roads[:MAX_PLACES]]
    curves = [
        _Curve(road.link_id, result.time_s, road.queue_veh, DASHES[number], road, number)
        for number, result in enumerate(results)
        for road in result.roads
        if road.link_id in names
    ]
    if len(results) == 1:
        curves += [
            _Curve(one.target_id, one.time_s, one.target.base_queue_veh, DASHES[1], one.target, None)
            for one in curves
            if isinstance(one.target, ScenarioRoadResponse)
        ]
    return curves


def _plot(shows: str, curves: Sequence[_Curve]) -> ScenarioPlot | None:
    if not curves:
        return None
    target_ids = list(dict.fromkeys(one.target_id for one in curves))
    end_s = max(one.time_s[-1] for one in curves)
    least = 1.0 if shows == "queue_over_time" else 0.0  # less than a vehicle is no queue
    largest = max(max(one.values) for one in curves)
    largest = max(largest, least) or 1.0
    lines = []
    for one in curves:
        points = " ".join(
            f"{WIDTH * at / end_s:.1f},{HEIGHT * (1 - value / largest):.1f}"
            for at, value in zip(one.time_s, one.values, strict=True)
        )
        colour = COLOURS[target_ids.index(one.target_id)]
        lines.append(PlotLine(points, colour, one.dashes, one.target, one.scenario))
    return ScenarioPlot(lines, shows, largest, end_s / HOUR_S)
