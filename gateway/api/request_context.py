"""Provides routes with store, directory and settings, restricted to the request's principal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from gateway.api import fast_route
from gateway.api.directory_cache import DirectoryCache, DirectoryIndex
from gateway.api.pagination import CursorSigner
from gateway.api.problems import ProblemError
from gateway.auth import request_auth
from gateway.auth.area_scope import scoped_to
from gateway.auth.principal import Principal, Role
from gateway.auth.request_auth import RequestAuth
from gateway.network_exchange import NetworkExchange
from gateway.settings import Settings
from ingest_service.storage.contract.store import Database, Reader, Store
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.enrolments import EnrolmentStore
from ingest_service.storage.postgres.limit_changes import LimitChangeLog
from ingest_service.storage.postgres.maintenance import MaintenanceLog
from ingest_service.storage.postgres.query_api import QueryApi
from ingest_service.storage.postgres.row_level_security import ALL_AREAS
from ingest_service.storage.postgres.scenarios import ScenarioLog
from ingest_service.storage.postgres.station_commands import StationCommandLog

if TYPE_CHECKING:
    from gateway.live.broadcaster import EventBroadcaster
    from gateway.platform_health import PlatformHealth
    from gateway.read_replica import ReadReplica
    from ingest_service.storage.postgres.query_api import CaughtUpReplica

ANONYMOUS = Principal(principal_id="nobody", name="nobody", role=Role.VIEWER, areas=())
"""Principal of public routes, without access to any area."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Services of one application, restricted to a principal.

    Attributes
    ----------
    unscoped_store : the store without a scope, for the gateway's own work; row-level security conceals
        every row of an area from it: take `all_areas_store` for these
    store : the store restricted to the principal's areas
    directories : cache of the directory
    settings : settings of the gateway
    broadcaster : source of live events
    accounts : store of API keys and of the audit
    platform_health : state of the platform's processes
    principal : of the request; `ANONYMOUS` on public routes
    auth : authentication state of the request; None outside of requests
    replica : a replica of the database for queries of history; None without one
    network_exchange : reads and writes files of networks

    """

    unscoped_store: Store
    store: Reader
    directories: DirectoryCache
    settings: Settings
    broadcaster: EventBroadcaster
    accounts: ApiKeyStore
    platform_health: PlatformHealth
    principal: Principal = ANONYMOUS
    auth: RequestAuth | None = None
    replica: ReadReplica | None = None
    network_exchange: NetworkExchange = field(default_factory=lambda: NetworkExchange(()))

    @property
    def directory_index(self) -> DirectoryIndex:
        """The directory restricted to the principal's areas."""
        return self.directories.directory_index(self.principal.areas)

    @property
    def caller_name(self) -> str:
        """Name and id of the principal, for records."""
        return f"{self.principal.name} ({self.principal.principal_id})"

    @property
    def all_areas_store(self) -> Store:
        """The store with the scope of all areas, whatever the principal may read."""
        return self.unscoped_store.for_area(ALL_AREAS)

    @property
    def scoped_database(self) -> Database:
        """Store with row-level security for the principal. Raises `ProblemError` on a store in memory."""
        database = self.unscoped_store.for_area(self.principal.area_scope).database
        if database is None:
            raise ProblemError(501, "this needs a database, and the store is in memory")
        return database

    def cursor_signer(self, request: Request) -> CursorSigner:
        """Return the signer of cursors for the principal's query."""
        return CursorSigner(self.accounts.secret, self.principal.principal_id, request)

    def add_audit_detail(self, **detail: object) -> None:
        """Add fields to the detail of the request's audit entry."""
        if self.auth is not None:
            self.auth.detail.update(detail)

    @property
    def query_api(self) -> QueryApi:
        """Queries as of now or of a snapshot. Raises `ProblemError` on a store in memory."""
        return QueryApi(self.scoped_database)

    def history_api(self) -> QueryApi:
        """Return the same queries, of the replica if there is one; it waits until that has caught up."""
        return QueryApi(self.scoped_database, self._caught_up_replica())

    def history_database(self) -> Database:
        """Return the replica once it has caught up, or else `scoped_database`; for reading only."""
        replica = self._caught_up_replica()
        return self.scoped_database if replica is None else replica.database

    def _caught_up_replica(self) -> CaughtUpReplica | None:
        """Return the replica for a principal of all areas: scopes can't be signed on a read-only server."""
        if self.replica is None or self.principal.area_scope != ALL_AREAS:
            return None
        found = self.replica.catch_up()
        if found is not None:
            self.add_audit_detail(read_from="replica")
        return found

    @property
    def enrolments(self) -> EnrolmentStore:
        """Enrolments of devices of all areas. Raises `ProblemError` on a store in memory."""
        database = self.unscoped_store.database
        if database is None:
            raise ProblemError(501, "this needs a database, and the store is in memory")
        return EnrolmentStore(database)

    @property
    def limit_changes(self) -> LimitChangeLog:
        """Log of adopted limits. Raises `ProblemError` on a store in memory."""
        return LimitChangeLog(self.scoped_database)

    @property
    def maintenance(self) -> MaintenanceLog:
        """Maintenance and calibrations of probes. Raises `ProblemError` on a store in memory."""
        return MaintenanceLog(self.scoped_database)

    @property
    def scenarios(self) -> ScenarioLog:
        """Scenarios of the twin. Raises `ProblemError` on a store in memory."""
        return ScenarioLog(self.scoped_database)

    @property
    def station_commands(self) -> StationCommandLog:
        """Commands to HJ 212 stations. Raises `ProblemError` on a store in memory."""
        return StationCommandLog(self.scoped_database)


def request_context(request: Request) -> RequestContext:
    """Return the application's context, restricted to the principal of a request."""
    context: RequestContext = request.app.state.context
    return context_for(context, request)


def context_for(context: RequestContext, request: Request) -> RequestContext:
    """Restrict a context to the principal of a request, which may be one of a mounted application."""
    auth: RequestAuth = request.scope[request_auth.AUTH_SCOPE_KEY]
    principal = auth.principal or ANONYMOUS
    store = scoped_to(context.unscoped_store, principal, context.directories)
    return replace(context, store=store, principal=principal, auth=auth)


# async, because the change to a thread would cost more than the function
async def _checked_context(request: Request) -> RequestContext:
    """Return the context of a request; reject unknown parameters.

    Also reject a route that differs from the one whose right `gateway.auth.authentication` has checked.
    """
    auth: RequestAuth = request.scope[request_auth.AUTH_SCOPE_KEY]
    if request.scope["route"].path != auth.matched_route.path:
        raise ProblemError(403, "the table of rights names another route for this path")
    if auth.matched_route.path.startswith("/v1/"):
        fast_route.reject_unknown_parameters(request)
    return request_context(request)


CurrentContext = Annotated[RequestContext, Depends(_checked_context)]
