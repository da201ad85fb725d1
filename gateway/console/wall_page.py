"""Serves the console's first page, the wall, and the map's data; choices of language and old addresses."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from gateway.api.problems import not_found
from gateway.auth.authorization import CONSOLE, PUBLIC, requires
from gateway.console.map_features import STATUSES, network_features
from gateway.console.page_parts import PageParts
from gateway.console.platform_state import PlatformState
from gateway.console.translations import Language
from gateway.console.visitor import LANGUAGE_COOKIE, PMTILES_PATH, CurrentState, CurrentVisitor, page_response
from gateway.transport.compression import PMTILES_MEDIA_TYPE

router = APIRouter(include_in_schema=False)

MAX_COOKIE_AGE_S = 31_536_000


@router.get("/")
@requires(CONSOLE)
async def wall_page(
    visitor: CurrentVisitor,
    state: CurrentState,
    series: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    anomaly: Annotated[int | None, Query(ge=1, lt=2**53)] = None,
) -> Response:
    """Serve the wall: map, what is wrong now, and the plot of one series."""
    if anomaly is not None:  # addresses of older versions
        return RedirectResponse(f"/console/anomalies/{anomaly}", 303)
    if series is not None:
        return RedirectResponse(f"/console/series/{series}", 303)
    return page_response(
        visitor,
        "wall.html",
        parts=PageParts(visitor, state),
        statuses=STATUSES,
        plotted_series_id=first_series_id(state),
    )


@router.get("/console/map.json")
@requires(CONSOLE)
async def map_features(visitor: CurrentVisitor) -> JSONResponse:
    """Serve rivers, roads and sites as GeoJSON."""
    index = await run_in_threadpool(lambda: visitor.context.directory_index)
    features: dict[str, Any] = network_features(index.directory, visitor)
    return JSONResponse(features)


@router.get(PMTILES_PATH)
@requires(CONSOLE)
async def map_tiles(visitor: CurrentVisitor) -> FileResponse:
    """Serve the PMTiles file of the settings, in the ranges that the map requests."""
    path = visitor.context.settings.map_pmtiles
    if not path:
        raise not_found("file", "map.pmtiles")
    return FileResponse(path, media_type=PMTILES_MEDIA_TYPE)


@router.get("/console/language/{language}")
@requires(PUBLIC)
async def choose_language(
    language: Language, back: Annotated[str, Query(max_length=2000)] = "/"
) -> RedirectResponse:
    """Keep a language in a cookie, and go back to the page."""
    is_own_page = back.startswith("/") and not back.startswith(("//", "/\\"))
    response = RedirectResponse(back if is_own_page else "/", 303)
    response.set_cookie(LANGUAGE_COOKIE, language, MAX_COOKIE_AGE_S, httponly=True, samesite="lax")
    return response


def first_series_id(state: PlatformState) -> int | None:
    """Return the series of the newest anomaly, else that with the newest reading; None without readings."""
    of_anomalies = (one.series_id for one in state.anomalies if one.series_id is not None)
    measured = [one for node in state.state.nodes for one in node.measured]
    newest = max(measured, key=lambda one: one.time_s).series_id if measured else None
    return next(of_anomalies, newest)
