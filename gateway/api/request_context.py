"""What routes work with: store, directory and settings, restricted to the request's principal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from gateway.api import fast_route
from gateway.api.directory_cache import DirectoryCache, DirectoryIndex
from gateway.api.pagination import CursorSigner
from gateway.api.problems import ProblemError
from gateway.auth import request_auth
from gateway.auth.area_scope import scoped_to, with_row_level_security
from gateway.auth.principal import Principal, Role
from gateway.auth.request_auth import RequestAuth
from gateway.settings import Settings
from ingest_service.storage.contract.store import Reader, Store
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.limit_changes import LimitChangeLog
from ingest_service.storage.postgres.query_api import QueryApi
from ingest_service.storage.postgres.store import PostgresStore

if TYPE_CHECKING:
    from gateway.live.broadcaster import EventBroadcaster
    from gateway.platform_health import PlatformHealth

ANONYMOUS = Principal(principal_id="nobody", name="nobody", role=Role.VIEWER, areas=())
"""Whoever comes to a route that is open to anybody: bound to no area at all."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The store, the directory, the settings and the live hub of one application, as a principal sees them.

    ``whole`` is the store without any wall: for the gateway's own work.
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

    @property
    def directory_index(self) -> DirectoryIndex:
        """The directory as it is now, as far as the principal sees it."""
        return self.directories.directory_index(self.principal.areas)

    @property
    def caller_name(self) -> str:
        """Who asks, for whoever reads it later."""
        return f"{self.principal.name} ({self.principal.principal_id})"

    @property
    def scoped_database(self) -> PostgresStore:
        """The database behind its wall, for what goes beyond `Reader`. Raises `ProblemError` without one."""
        scoped = with_row_level_security(self.unscoped_store, self.principal.area_scope)
        if not isinstance(scoped, PostgresStore):
            raise ProblemError(501, "this needs a database, and the store is in memory")
        return scoped

    def cursor_signer(self, request: Request) -> CursorSigner:
        """Cursors in the answers to what the principal asks with a request."""
        return CursorSigner(self.accounts.secret, self.principal.principal_id, request)

    def add_audit_detail(self, **detail: object) -> None:
        """Say more of what is done, for the audit."""
        if self.auth is not None:
            self.auth.detail.update(detail)

    @property
    def query_api(self) -> QueryApi:
        """What the database answers, now and as of old. Raises `ProblemError` on a store in memory."""
        return QueryApi(self.scoped_database)

    @property
    def limit_changes(self) -> LimitChangeLog:
        """Limits that were adopted. Raises `ProblemError` on a store in memory."""
        return LimitChangeLog(self.scoped_database)


def request_context(request: Request) -> RequestContext:
    """What a route works with, as its visitor may see it."""
    context: RequestContext = request.app.state.context
    return context_for(context, request)


def context_for(context: RequestContext, request: Request) -> RequestContext:
    """The same, of a page of another application that is mounted in ours."""
    auth: RequestAuth = request.scope[request_auth.AUTH_SCOPE_KEY]
    principal = auth.principal or ANONYMOUS
    store = scoped_to(context.unscoped_store, principal, context.directories)
    return replace(context, store=store, principal=principal, auth=auth)


async def _checked_context(
    request: Request,
) -> RequestContext:  # async: a thread would cost more than it does
    """Refuses a route that the door took for another one, with its right, and parameters without meaning."""
    auth: RequestAuth = request.scope[request_auth.AUTH_SCOPE_KEY]
    if request.scope["route"].path != auth.matched_route.path:
        raise ProblemError(403, "the table of rights names another route for this path")
    if auth.matched_route.path.startswith("/v1/"):
        fast_route.reject_unknown_parameters(request)
    return request_context(request)


CurrentContext = Annotated[RequestContext, Depends(_checked_context)]
