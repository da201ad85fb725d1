"""Lays out the plot of concentrations of one or two scenarios, as points of an SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.api.models.scenario_models import ScenarioSiteResponse, WaterScenarioResult

WIDTH, HEIGHT = 720, 240
MAX_PLACES = 4
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0589b")  # of Okabe and Ito, the last one darker
DASHES = ("", "6 4")  # of the first and of the second scenario
HOUR_S = 3600.0


class PlotLine(NamedTuple):
    """Concentrations at a place: points as SVG has them, colour, dashes, and the place in both languages."""

    points: str
    colour: str
    dashes: str
    target: ScenarioSiteResponse
    scenario: int


class ScenarioPlot(NamedTuple):
    """Lines, the largest concentration [mg/L], and the end of the plot [h]."""

    lines: list[PlotLine]
    largest_mg_l: float
    hours: float


def plot_of(results: Sequence[WaterScenarioResult]) -> ScenarioPlot | None:
    """Return the plot of the places with most downstream; None where no spill reaches any."""
    if not any(one.sites for one in results):
        return None
    first = next(one for one in results if one.sites)
    # the place of the spill would make all others flat
    sites = first.sites[1:] or first.sites
    step = max(1, -(-len(sites) // MAX_PLACES))
    names = [one.node_id for one in sites[::step]]
    shown = [
        (number, site, result.time_s)
        for number, result in enumerate(results)
        for site in result.sites
        if site.node_id in names
    ]
    end_s = max(time_s[-1] for _, _, time_s in shown)
    largest = max(max(site.concentration_mg_l) for _, site, _ in shown) or 1.0
    lines = []
    for number, site, time_s in shown:
        points = " ".join(
            f"{WIDTH * at / end_s:.1f},{HEIGHT * (1 - value / largest):.1f}"
            for at, value in zip(time_s, site.concentration_mg_l, strict=True)
        )
        colour = COLOURS[names.index(site.node_id)]
        lines.append(PlotLine(points, colour, DASHES[number], site, number))
    return ScenarioPlot(lines, largest, end_s / HOUR_S)
