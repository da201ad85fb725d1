"""Serves the pages of a series, an anomaly and a site, and the list of open anomalies."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from analytics.service import network_state
from gateway.api.models.conversion import sensor_verdict_response, verdict_missing_response
from gateway.api.problems import not_found
from gateway.api.routes import anomalies
from gateway.auth.authorization import CONSOLE, requires
from gateway.console import forecast_source, forecast_view, plot_range, series_chart
from gateway.console.page_parts import PageParts, anomaly_row
from gateway.console.plot_range import DEFAULT_RANGE_H, RANGE_CHOICES_H, PlotRange, range_around
from gateway.console.sensor_verdict_row import sensor_verdict_row
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gateway.console.forecast_view import ForecastView
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor
    from ingest_service.storage.contract.models import Anomaly, Series

router = APIRouter(include_in_schema=False)

MAX_LISTED_ANOMALIES = 500  # a browser draws more rows slowly; the number of the others is shown
N_TABLE_READINGS = 24
PLOT_ID = "plot"  # of the element that links of the console replace
MAX_TRACED = 8  # candidates of a source

SeriesId = Annotated[int, Path(ge=1, lt=2**31)]
AnomalyId = Annotated[int, Path(ge=1, lt=2**53)]
SiteId = Annotated[str, Path(max_length=200)]
Hours = Annotated[int, Query(ge=1, le=RANGE_CHOICES_H[-1])]


class TableReading(NamedTuple):
    """A reading in the table below a plot; times are Unix seconds [s]."""

    measured_s: float
    received_s: float
    value: float
    expected: float | None
    quality: int


@router.get("/console/series/{series_id}")
@requires(CONSOLE)
async def series_page(
    request: Request,
    visitor: CurrentVisitor,
    state: CurrentState,
    series_id: SeriesId,
    hours: Hours = DEFAULT_RANGE_H,
) -> HTMLResponse:
    """Serve the plot of a series over the last hours, and its forecast."""
    series = state.directory_index.series.get(series_id)
    if series is None:
        raise not_found("series", series_id)
    time_range = PlotRange(hours)
    rows, (made, is_pending) = await asyncio.gather(
        _plot_rows(visitor, series, time_range), forecast_source.page_forecast(request, visitor, series)
    )
    shown = forecast_view.forecast_view(visitor, made, is_pending=is_pending)
    plot = _plot_values(visitor, state, series, rows, time_range, forecast=shown)
    return _plot_response(request, visitor, state, {"anomaly": None, **plot})


@router.get("/console/anomalies/{anomaly_id}")
@requires(CONSOLE)
async def anomaly_page(
    request: Request, visitor: CurrentVisitor, state: CurrentState, anomaly_id: AnomalyId
) -> HTMLResponse:
    """Serve an anomaly: why, where from, and the plot of its series around it."""
    one = await run_in_threadpool(visitor.context.store.anomaly, anomaly_id)
    if one is None or one.site_id not in state.directory_index.sites:
        raise not_found("anomaly", anomaly_id)
    values = await anomaly_values(visitor, state, one)
    return _plot_response(request, visitor, state, values)


@router.get("/console/anomalies")
@requires(CONSOLE)
async def anomalies_page(visitor: CurrentVisitor, state: CurrentState) -> HTMLResponse:
    """Serve the list of all open anomalies."""
    shown = state.anomalies[:MAX_LISTED_ANOMALIES]
    return page_response(
        visitor,
        "anomalies.html",
        parts=PageParts(visitor, state),
        rows=[anomaly_row(one, visitor, state) for one in shown],
        unlisted=len(state.anomalies) - len(shown),
    )


@router.get("/console/sites")
@requires(CONSOLE)
async def sites_page(visitor: CurrentVisitor, state: CurrentState) -> HTMLResponse:
    """Serve the list of all sites with their states."""
    statuses = {one.site_id: one.status for one in state.state.nodes if one.site_id}
    index = state.directory_index
    areas = {one.area_id: one for one in index.directory.areas}
    return page_response(
        visitor,
        "sites.html",
        parts=PageParts(visitor, state),
        rows=[
            (one, statuses.get(one.site_id, "unknown"), areas.get(one.area_id))
            for one in sorted(index.directory.sites, key=visitor.name)
        ],
    )


@router.get("/console/sites/{site_id}")
@requires(CONSOLE)
async def site_page(visitor: CurrentVisitor, state: CurrentState, site_id: SiteId) -> HTMLResponse:
    """Serve a site: its quantities with measured, received and now apart, its neighbours and anomalies."""
    index = state.directory_index
    site = index.sites.get(site_id)
    if site is None:
        raise not_found("site", site_id)
    latest = await run_in_threadpool(
        visitor.context.store.latest, [one.series_id for one in index.series_of(site=site_id)]
    )
    node = next((one for one in state.state.nodes if one.site_id == site_id), None)
    return page_response(
        visitor,
        "site.html",
        parts=PageParts(visitor, state),
        site=site,
        area=next((one for one in index.directory.areas if one.area_id == site.area_id), None),
        status=node.status if node else "unknown",
        series=index.series_of(site=site_id),
        latest={one.series_id: one for one in latest},
        stale_intervals=network_state.STALE_INTERVALS,
        neighbours=neighbours(state, site_id),
        rows=[anomaly_row(one, visitor, state) for one in state.anomalies if one.site_id == site_id],
        devices=sorted({one.device_id for one in index.directory.channels if one.site_id == site_id}),
    )


def _plot_response(
    request: Request, visitor: Visitor, state: PlatformState, values: dict[str, Any]
) -> HTMLResponse:
    """Return the page of a plot; to a page that replaces its own plot, the plot alone."""
    is_part = request.headers.get("HX-Target") == PLOT_ID
    template = "parts/plot.html" if is_part else "series.html"
    response = page_response(visitor, template, parts=PageParts(visitor, state), **values)
    response.headers["Vary"] = "HX-Target"
    return response


async def plot_values(
    visitor: Visitor,
    state: PlatformState,
    series: Series,
    time_range: PlotRange,
    shaded_range: tuple[float, float] | None,
) -> dict[str, Any]:
    """Return what the template of a plot without a forecast needs. Raises as the store does."""
    rows = await _plot_rows(visitor, series, time_range)
    return _plot_values(visitor, state, series, rows, time_range, shaded_range)


async def _plot_rows(visitor: Visitor, series: Series, time_range: PlotRange) -> NDArray[np.void]:
    from_s, to_s = time_range.bounds(time.time())
    return await run_in_threadpool(plot_range.read_plot_rows, visitor.context, series, from_s, to_s)


def _plot_values(
    visitor: Visitor,
    state: PlatformState,
    series: Series,
    rows: NDArray[np.void],
    time_range: PlotRange,
    shaded_range: tuple[float, float] | None = None,
    *,
    forecast: ForecastView | None = None,
) -> dict[str, Any]:
    zone = visitor.context.unscoped_store.zone
    return {
        "site": state.directory_index.sites[series.site_id],
        "series": series,
        "tabs": state.directory_index.series_of(site=series.site_id),
        "hours": time_range.hours if time_range.fixed_range is None else None,
        "range_choices": RANGE_CHOICES_H,
        "chart": series_chart.lay_out(
            series, rows, zone, shaded_range=shaded_range, forecast=forecast.line if forecast else None
        ),
        "forecast": forecast,
        "table": table_readings(rows[-N_TABLE_READINGS:][::-1]),
    }


async def anomaly_values(visitor: Visitor, state: PlatformState, one: Anomaly) -> dict[str, Any]:
    """Return what the templates of an anomaly need: its plot, evidence, verdict and trace."""
    index = state.directory_index
    site_series = [series.series_id for series in index.series_of(site=one.site_id)]
    series = index.series.get(one.series_id or next(iter(site_series), 0))
    trace = None
    stored = await run_in_threadpool(anomalies.stored_verdict, visitor.context, one.anomaly_id)
    verdict = sensor_verdict_response(stored, index)
    if index.sites[one.site_id].kind.startswith(("river", "lake", "outfall")):
        trace = await run_in_threadpool(network_state.trace_anomaly, index.directory, one)
    values: dict[str, Any] = {
        "anomaly": one,
        "reason": one.reason_zh if visitor.language == "zh" else one.reason_en,
        "evidence": json.dumps(one.evidence, ensure_ascii=False, indent=1, default=str),
        "verdict": sensor_verdict_row(verdict, visitor, index),
        "verdict_missing": None if verdict else verdict_missing_response(one, stored, index),
        "trace": trace,
        "candidates": [] if trace is None else trace.candidates[:MAX_TRACED],
    }
    if series is None:
        return values | {"series": None, "site": index.sites[one.site_id]}
    shaded = (one.start_s, time.time() if one.end_s is None else one.end_s)
    return values | await plot_values(visitor, state, series, range_around(one, time.time()), shaded)


def table_readings(rows: NDArray[np.void]) -> list[TableReading]:
    """Return READING rows for a table."""
    return [
        TableReading(
            measured_s=time_us / 1e6,
            received_s=received_us / 1e6,
            value=value,
            expected=None if expected != expected else expected,  # noqa: PLR0124 - NaN
            quality=quality,
        )
        for _, time_us, received_us, value, expected, _, quality, _ in rows.tolist()
    ]


def neighbours(state: PlatformState, site_id: str) -> dict[str, list[tuple[Any, str]]]:
    """Return the nearest monitored nodes up- and downstream of a site, each with its status."""
    directory = state.directory_index.directory
    nodes = {one.node_id: one for one in directory.nodes}
    statuses = {one.node_id: one.status for one in state.state.nodes}
    own = {one.node_id for one in directory.nodes if one.site_id == site_id}
    steps: dict[str, dict[str, set[str]]] = {"upstream": {}, "downstream": {}}
    for link in directory.links:
        steps["upstream"].setdefault(link.to_node, set()).add(link.from_node)
        steps["downstream"].setdefault(link.from_node, set()).add(link.to_node)
    found: dict[str, list[tuple[Any, str]]] = {}
    for direction, of_node in steps.items():
        monitored: list[tuple[Any, str]] = []
        visited, waiting = set(own), list(own)
        while waiting:
            for other in sorted(of_node.get(waiting.pop(), set()) - visited):
                visited.add(other)
                if nodes[other].site_id is None:
                    waiting.append(other)
                else:
                    monitored.append((nodes[other], statuses.get(other, "unknown")))
        found[direction] = monitored
    return found
