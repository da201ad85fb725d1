"""Builds the FastAPI application: middleware, routers, error handlers, and the console at ``/``."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from gateway import examples, moments, problems
from gateway.access import described, login
from gateway.access.door import Door
from gateway.access.gate import Gate
from gateway.access.proxies import ForwardedHeaders, base_url, networks
from gateway.access.seen import behind_wall
from gateway.access.turns import Turns
from gateway.browser_errors import BrowserErrors
from gateway.compression import Compression
from gateway.context import Context
from gateway.head import Head
from gateway.heavy_process import HeavyProcess
from gateway.known import Directories
from gateway.live import Hub
from gateway.metrics import Measure
from gateway.nul import RefuseNul
from gateway.routes import (
    access,
    anomalies,
    assessments,
    directory,
    documentation,
    feedback,
    judging,
    letters,
    live,
    ngsi_ld,
    platform,
    readings,
    twin,
)
from gateway.settings import Settings
from gateway.sta import routes as sta
from gateway.upload_pool import UploadPool
from gateway.vitals import Vitals
from ingest_service.storage.accounts import Accounts
from ingest_service.storage.postgres import PostgresStore
from ingest_service.storage.wall import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from ingest_service.storage.store import Store

DESCRIPTION = """
What is measured in a town, what is wrong, and where it came from. Areas are a tree (city > county > town);
a query for an area takes all below it. Times are RFC 3339; every error is a problem (RFC 9457).
"""

ROUTES = (  # in the order of looking, so first what is asked for most
    readings,
    anomalies,
    directory,
    feedback,
    judging,
    twin,
    live,
    letters,
    assessments,
    ngsi_ld,
    sta,
    platform,
    access,
    login,
    documentation,
)


def create_app(
    store: Store,
    settings: Settings | None = None,
    *,
    console: bool = True,
    accounts: Accounts | None = None,
    heavy_worker: Sequence[str] = (),
) -> FastAPI:
    """The gateway on a store; the store is closed by whoever opened it.

    ``heavy_worker`` is the command of a process that answers the heavy requests; without it this one does.
    Raises TypeError where the store is no database and no accounts are given: nobody could come in.
    Raises ValueError where the setting ``trusted_proxies`` or ``public_url`` is wrong.
    """
    settings = settings or Settings()
    trusted = networks(settings.trusted_proxies)
    base_url(settings.public_url)  # wrong ones are refused at the start
    accounts = accounts or _accounts(store)
    whole = behind_wall(store, EVERYTHING)
    directories = Directories(whole)
    turns = Turns(settings)
    vitals = Vitals(store, whole, directories, settings)
    hub = Hub(whole, directories, settings, vitals.tasks, turns.heavy)
    uploads = UploadPool()
    heavy = None
    if heavy_worker and isinstance(store, PostgresStore):
        heavy = HeavyProcess(store, settings, directories, heavy_worker)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if heavy is not None:
            heavy.start()
        async with vitals.beating():
            yield
            await hub.close()
        uploads.close()
        if heavy is not None:
            await asyncio.to_thread(heavy.close)

    app = _application(lifespan)
    gate = Gate(accounts, settings)
    app.state.gate = gate
    app.state.uploads = uploads
    app.state.heavy = heavy
    app.state.turns = turns
    app.state.context = Context(store, whole, directories, settings, hub, accounts, vitals)
    _install_routes(app)
    app.add_middleware(Door, gate=gate, accounts=accounts, settings=settings, turns=turns, heavy=heavy)
    app.add_middleware(RefuseNul)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type", "If-None-Match", "Last-Event-ID"],
            expose_headers=[moments.HEADER, "Content-Disposition", "ETag", "Link", "Retry-After"],
        )
    app.add_middleware(BrowserErrors)
    app.add_middleware(Measure)
    app.add_middleware(ForwardedHeaders, trusted=trusted)
    examples.install(app)
    described.install(app)
    if console:
        from gateway.console import page  # noqa: PLC0415 - the API works without the console's library

        page.install(app)
    return app


def create_worker_app(store: PostgresStore, settings: Settings) -> FastAPI:
    """The same routes for the process for heavy requests: who comes was let in, and is audited, elsewhere."""
    whole = behind_wall(store, EVERYTHING)
    directories = Directories(whole)
    vitals = Vitals(store, whole, directories, settings)  # it writes no heartbeat here
    hub = Hub(whole, directories, settings)
    app = _application(None)
    app.state.uploads = UploadPool()
    app.state.context = Context(store, whole, directories, settings, hub, Accounts(store), vitals)
    _install_routes(app)
    return app


def _application(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None) -> FastAPI:
    return FastAPI(
        title="towntwin",
        version=version("towntwin"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # ours are in routes/documentation.py
        redoc_url=None,
    )


def _install_routes(app: FastAPI) -> None:
    """Routes, problems, and what every answer has in either process."""
    problems.install(app)
    for module in ROUTES:  # in one list, for a router within a router looks each route up twice
        app.router.routes.extend(module.router.routes)
    app.add_middleware(Compression)
    app.add_middleware(Head)


def _accounts(store: Store) -> Accounts:
    if isinstance(store, PostgresStore):
        return Accounts(store)
    raise TypeError("a store in memory keeps no keys: give accounts")
