"""The application: routes, problems, metrics, and the console at ``/``."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI

from gateway import problems
from gateway.context import Context
from gateway.known import Directories
from gateway.live import Hub
from gateway.metrics import Measure
from gateway.problems import ProblemError
from gateway.routes import (
    anomalies,
    assessments,
    directory,
    feedback,
    letters,
    live,
    platform,
    readings,
    twin,
)
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ingest_service.storage.store import Store

DESCRIPTION = """
What is measured in a town, what is wrong, and where it came from. Areas are a tree (city > county > town);
a query for an area takes all below it. Times are RFC 3339; every error is a problem (RFC 9457).
"""


def create_app(store: Store, settings: Settings | None = None, *, console: bool = True) -> FastAPI:
    """The gateway on a store; the store is closed by whoever opened it."""
    settings = settings or Settings()
    hub = Hub(store, settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await hub.close()

    app = FastAPI(
        title="towntwin",
        version=version("towntwin"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.context = Context(store, Directories(store), settings, hub)
    app.add_middleware(Measure)
    problems.install(app)
    for module in (directory, readings, anomalies, feedback, twin, live, letters, assessments, platform):
        app.include_router(module.router)
    app.add_api_route("/v1/{path:path}", _nothing, include_in_schema=False)
    if console:
        from gateway.console import page  # noqa: PLC0415 - the API works without the console's library

        page.install(app)
    return app


def _nothing(path: str) -> None:
    raise ProblemError(404, f"there is no /v1/{path}: see /docs")
