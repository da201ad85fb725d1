"""Reads the forecast of a series for a page: from the process for heavy requests, or from this one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway.api.models import forecast_models
from gateway.auth import request_auth
from gateway.auth.request_auth import RequestAuth

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.types import Message

    from gateway.api.models.forecast_models import ForecastResponse
    from gateway.console.visitor import Visitor
    from gateway.forecast_cache import ForecastCache
    from gateway.heavy_process import HeavyProcess
    from ingest_service.storage.contract.models import Series

log = structlog.get_logger()

WAIT_S: Final = 0.2
"""A page does not wait longer for a forecast: it loads its plot again when there may be one."""
REQUEST_S: Final = 30.0  # after which a request that no page waits for any more is given up
_READINGS = set[asyncio.Future[Any]]()  # the event loop alone would not keep those that outlast their page


async def page_forecast(
    request: Request, visitor: Visitor, series: Series
) -> tuple[ForecastResponse | None, bool]:
    """Return the forecast of a series if it is there in time, and whether it is still being computed."""
    app: FastAPI = request.app
    reading = asyncio.ensure_future(
        _computed_here(app, visitor, series)
        if app.state.heavy is None
        else _requested(app.state.heavy, request, visitor, series)
    )
    _READINGS.add(reading)
    reading.add_done_callback(_forget)
    done, _ = await asyncio.wait({reading}, timeout=WAIT_S)
    if not done:
        return None, True
    return (reading.result() if reading.exception() is None else None), False


def _forget(reading: asyncio.Future[Any]) -> None:
    _READINGS.discard(reading)
    error = None if reading.cancelled() else reading.exception()
    if error is not None:
        log.warning("forecast_failed", error=str(error))


async def _computed_here(app: FastAPI, visitor: Visitor, series: Series) -> ForecastResponse | None:
    forecasts: ForecastCache = app.state.forecasts
    made = await asyncio.to_thread(forecasts.forecast, visitor.context, series)
    return forecast_models.forecast_response(series, made)


async def _requested(
    heavy: HeavyProcess, request: Request, visitor: Visitor, series: Series
) -> ForecastResponse | None:
    """Request the forecast from the other process as the visitor, with the rights that he has."""
    path = f"/v1/series/{series.series_id}/forecast"
    matched_route = request.app.state.route_rights.match("GET", path)
    auth = RequestAuth(matched_route, "console", principal=visitor.context.principal)
    scope = {
        **request.scope,
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        request_auth.AUTH_SCOPE_KEY: auth,
    }
    status, body = 0, bytearray()

    async def receive() -> Message:
        message: Message = await asyncio.Future[Any]()
        return message  # there is no body, and the page waits until the end

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        body.extend(message.get("body", b""))

    async with asyncio.timeout(REQUEST_S):
        await heavy(scope, receive, send)
    return forecast_models.ForecastResponse.model_validate_json(bytes(body)) if status == 200 else None
