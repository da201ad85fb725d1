"""What routes work with: store, directory and settings, restricted to the request's principal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from gateway import asked
from gateway.access import visit
from gateway.access.principal import Principal, Role
from gateway.access.seen import behind_wall, seen_by
from gateway.access.visit import Visit
from gateway.cursors import Cursors
from gateway.known import Directories, Known
from gateway.problems import ProblemError
from gateway.settings import Settings
from ingest_service.storage.accounts import Accounts
from ingest_service.storage.adoptions import Adoptions
from ingest_service.storage.answers import Answers
from ingest_service.storage.postgres import PostgresStore
from ingest_service.storage.store import Reader, Store

if TYPE_CHECKING:
    from gateway.live import Hub
    from gateway.vitals import Vitals

NOBODY = Principal(who="nobody", name="nobody", role=Role.VIEWER, areas=())
"""Whoever comes to a route that is open to anybody: bound to no area at all."""


@dataclass(frozen=True, slots=True)
class Context:
    """The store, the directory, the settings and the live hub of one application, as a principal sees them.

    ``whole`` is the store without any wall: for the gateway's own work.
    """

    whole: Store
    store: Reader
    directories: Directories
    settings: Settings
    hub: Hub
    accounts: Accounts
    vitals: Vitals
    principal: Principal = NOBODY
    visit: Visit | None = None

    @property
    def known(self) -> Known:
        """The directory as it is now, as far as the principal sees it."""
        return self.directories.known(self.principal.areas)

    @property
    def name(self) -> str:
        """Who asks, for whoever reads it later."""
        return f"{self.principal.name} ({self.principal.who})"

    @property
    def database(self) -> PostgresStore:
        """The database behind its wall, for what goes beyond `Reader`. Raises `ProblemError` without one."""
        behind = behind_wall(self.whole, self.principal.seen_from)
        if not isinstance(behind, PostgresStore):
            raise ProblemError(501, "this needs a database, and the store is in memory")
        return behind

    def cursors(self, request: Request) -> Cursors:
        """Cursors in the answers to what the principal asks with a request."""
        return Cursors(self.accounts.secret, self.principal.who, request)

    def note(self, **detail: object) -> None:
        """Say more of what is done, for the audit."""
        if self.visit is not None:
            self.visit.detail.update(detail)

    @property
    def answers(self) -> Answers:
        """What the database answers, now and as of old. Raises `ProblemError` on a store in memory."""
        return Answers(self.database)

    @property
    def adoptions(self) -> Adoptions:
        """Limits that were adopted. Raises `ProblemError` on a store in memory."""
        return Adoptions(self.database)


def of(request: Request) -> Context:
    """What a route works with, as its visitor may see it."""
    context: Context = request.app.state.context
    return seen(context, request)


def seen(context: Context, request: Request) -> Context:
    """The same, of a page of another application that is mounted in ours."""
    by: Visit = request.scope[visit.KEY]
    principal = by.principal or NOBODY
    store = seen_by(context.whole, principal, context.directories)
    return replace(context, store=store, principal=principal, visit=by)


async def _checked(request: Request) -> Context:  # async: a thread would cost more than it does
    """Refuses a route that the door took for another one, with its right, and parameters without meaning."""
    by: Visit = request.scope[visit.KEY]
    if request.scope["route"].path != by.found.path:
        raise ProblemError(403, "the table of rights names another route for this path")
    if by.found.path.startswith("/v1/"):
        asked.check(request)
    return of(request)


Here = Annotated[Context, Depends(_checked)]
