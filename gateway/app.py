"""Builds the gateway's FastAPI application: middleware, routers, error handlers, and the console at ``/``."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from analytics.quality.compiled_judge_loader import CompiledJudgeLoader
from gateway.api import examples, problems, snapshots
from gateway.api.directory_cache import DirectoryCache
from gateway.api.request_context import RequestContext
from gateway.api.routes import (
    acknowledgement,
    anomalies,
    assessments,
    dead_letters,
    directory,
    documentation,
    duty,
    enrolment,
    federation,
    federation_uplink,
    feedback,
    forecasts,
    health,
    incident_reports,
    incident_requests,
    incidents,
    judging,
    keys_and_audit,
    live,
    maintenance,
    network_files,
    ngsi_ld,
    notifications,
    readings,
    scenarios,
    station_commands,
    twin,
)
from gateway.auth import login, openapi_security
from gateway.auth.authentication import Authenticator
from gateway.auth.authorization import RouteRights
from gateway.auth.member_links import MemberTeams
from gateway.auth.middleware import AccessMiddleware
from gateway.auth.request_queues import RequestQueues
from gateway.console import (
    command_pages,
    dead_letter_pages,
    device_pages,
    duty_pages,
    enrolment_pages,
    incident_pages,
    live_updates,
    network_pages,
    notification_pages,
    placement_pages,
    scenario_pages,
    series_pages,
    settings_pages,
    shift_pages,
    state_pages,
    static_files,
    wall_page,
)
from gateway.console.live_updates import PartsFeeds
from gateway.console.visitor import StateCaches
from gateway.forecast_cache import ForecastCache
from gateway.formats.upload_pool import UploadPool
from gateway.heavy_process import HeavyProcess
from gateway.live.broadcaster import EventBroadcaster
from gateway.metrics import MetricsMiddleware
from gateway.network_exchange import NetworkExchange
from gateway.platform_health import PlatformHealth
from gateway.read_replica import ReadReplica
from gateway.sensorthings import routes as sensorthings_routes
from gateway.settings import Settings
from gateway.transport.browser_error_pages import BrowserErrorPages
from gateway.transport.compression import CompressionMiddleware
from gateway.transport.forwarded_headers import ForwardedHeaders, parse_base_url, parse_networks
from gateway.transport.head_requests import HeadMiddleware
from gateway.transport.null_characters import NullCharacterFilter
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.notifications import NotificationStore
from ingest_service.storage.postgres.row_level_security import ALL_AREAS
from ingest_service.storage.postgres.store import PostgresStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import ModuleType

    from ingest_service.storage.contract.store import Store

API_DESCRIPTION = """
What is measured in a town, what is wrong, and where it came from. Areas are a tree (city > county > town);
a query for an area takes all below it. Times are RFC 3339; every error is a problem (RFC 9457).
"""

ROUTE_MODULES = (  # routes are matched in this order: the most requested ones first
    readings,
    anomalies,
    directory,
    feedback,
    judging,
    forecasts,
    twin,
    network_files,
    scenarios,
    live,
    dead_letters,
    assessments,
    maintenance,
    station_commands,
    federation,
    federation_uplink,
    ngsi_ld,
    duty,
    notifications,
    sensorthings_routes,
    incident_reports,  # before incidents, whose paths would match theirs
    incident_requests,
    incidents,
    health,
    enrolment,
    keys_and_audit,
    login,
    acknowledgement,
    documentation,
)
CONSOLE_MODULES = (
    wall_page,
    live_updates,
    static_files,
    incident_pages,
    series_pages,
    device_pages,
    command_pages,
    dead_letter_pages,
    settings_pages,
    duty_pages,
    shift_pages,
    notification_pages,
    enrolment_pages,
    network_pages,
    placement_pages,
    scenario_pages,
    state_pages,
)


def create_app(
    store: Store,
    settings: Settings | None = None,
    *,
    console: bool = True,
    accounts: ApiKeyStore | None = None,
    heavy_worker: Sequence[str] = (),
    network_worker: Sequence[str] = (),
) -> FastAPI:
    """Return the gateway's application on a store; the caller closes the store.

    ``heavy_worker`` is the command of a process that handles the heavy requests; without it this one does.
    ``network_worker`` is the command of a process that reads and writes files of networks.
    Raises TypeError if the store is no database and no ``accounts`` are given: no API key could be verified.
    Raises ValueError if the setting ``trusted_proxies`` or ``public_url`` is invalid.
    """
    settings = settings or Settings()
    trusted_networks = parse_networks(settings.trusted_proxies)
    parse_base_url(settings.public_url)  # an invalid one fails at the start, not at the first request
    accounts = accounts or _api_key_store(store)
    unscoped_store = store.for_area(ALL_AREAS)
    directories = DirectoryCache(unscoped_store)
    request_queues = RequestQueues(settings)
    platform_health = PlatformHealth(store, directories, settings)
    broadcaster = EventBroadcaster(
        unscoped_store,
        directories,
        settings,
        platform_health.tasks,
        request_queues.heavy,
        None if unscoped_store.database is None else Incidents(unscoped_store.database),
        None if unscoped_store.database is None else NotificationStore(unscoped_store.database),
    )
    upload_pool = UploadPool()
    replica = _read_replica(store, settings)
    heavy = None
    if heavy_worker and store.database is not None:
        heavy = HeavyProcess(store.database, settings, directories, heavy_worker, network_worker)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if heavy is not None:
            heavy.start()
        async with platform_health.sending_heartbeats():
            yield
            await broadcaster.close()
        upload_pool.close()
        if replica is not None:
            await asyncio.to_thread(replica.close)
        if heavy is not None:
            await asyncio.to_thread(heavy.close)

    app = _new_app(lifespan)
    _install_routes(app, CONSOLE_MODULES if console else ())
    authenticator = Authenticator(
        accounts, settings, app.state.route_rights, MemberTeams(unscoped_store, directories, settings)
    )
    app.state.authenticator = authenticator
    app.state.enrolment_failures = enrolment.new_failure_limiter()
    app.state.upload_pool = upload_pool
    app.state.judge_loader = CompiledJudgeLoader()
    app.state.forecasts = ForecastCache(settings.forecast_models, settings.forecast_renew_s)
    app.state.heavy = heavy
    app.state.request_queues = request_queues
    app.state.console_states = StateCaches()
    app.state.console_feeds = PartsFeeds()
    app.state.context = RequestContext(
        store,
        unscoped_store,
        directories,
        settings,
        broadcaster,
        accounts,
        platform_health,
        replica=replica,
        network_exchange=NetworkExchange(network_worker),
    )
    app.add_middleware(
        AccessMiddleware,
        authenticator=authenticator,
        accounts=accounts,
        settings=settings,
        request_queues=request_queues,
        heavy=heavy,
    )
    app.add_middleware(NullCharacterFilter)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type", "If-None-Match", "Last-Event-ID"],
            expose_headers=[snapshots.SNAPSHOT_HEADER, "Content-Disposition", "ETag", "Link", "Retry-After"],
        )
    app.add_middleware(BrowserErrorPages)
    app.add_middleware(MetricsMiddleware)
    app.add_middleware(ForwardedHeaders, trusted_networks=trusted_networks)
    examples.add_examples_to_openapi(app)
    openapi_security.add_security_to_openapi(app, app.state.route_rights)
    return app


def create_worker_app(
    store: PostgresStore, settings: Settings, network_worker: Sequence[str] = ()
) -> FastAPI:
    """Return the same routes for the heavy worker process, whose requests the gateway has authenticated.

    ``network_worker`` is the command of a process that reads and writes files of networks.
    """
    unscoped_store = store.for_area(ALL_AREAS)
    directories = DirectoryCache(unscoped_store)
    platform_health = PlatformHealth(store, directories, settings)  # not started: no heartbeat of its own
    broadcaster = EventBroadcaster(unscoped_store, directories, settings)
    app = _new_app(None)
    app.state.upload_pool = UploadPool()
    app.state.judge_loader = CompiledJudgeLoader()
    app.state.forecasts = ForecastCache(settings.forecast_models, settings.forecast_renew_s)
    app.state.context = RequestContext(
        store,
        unscoped_store,
        directories,
        settings,
        broadcaster,
        ApiKeyStore(store),
        platform_health,
        replica=_read_replica(store, settings),
        network_exchange=NetworkExchange(network_worker),
    )
    app.state.console_states = StateCaches()
    _install_routes(app, [placement_pages, scenario_pages, state_pages])  # these have heavy requests
    return app


def _read_replica(store: Store, settings: Settings) -> ReadReplica | None:
    """Return the replica of the settings for a database; None without one, or for a store in memory."""
    database = store.for_area(ALL_AREAS).database
    if settings.replica is None or database is None:
        return None
    return ReadReplica(database, settings.replica, settings)


def _new_app(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None) -> FastAPI:
    return FastAPI(
        title="towntwin",
        version=version("towntwin"),
        description=API_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # routes/documentation.py serves them
        redoc_url=None,
    )


def _install_routes(app: FastAPI, more_modules: Sequence[ModuleType] = ()) -> None:
    """Add the routes, the error handlers and the middleware that both processes need."""
    problems.add_error_handlers(app)
    for module in (
        *ROUTE_MODULES,
        *more_modules,
    ):  # in one list: a nested router would match each route twice
        app.router.routes.extend(module.router.routes)
    app.state.route_rights = RouteRights(app.router.routes)
    app.add_middleware(CompressionMiddleware)
    app.add_middleware(HeadMiddleware)


def _api_key_store(store: Store) -> ApiKeyStore:
    if store.database is not None:
        return ApiKeyStore(store.database)
    raise TypeError("a store in memory keeps no keys: give accounts")
