"""What every route works with; kept on the application, handed in by FastAPI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from gateway.known import Directories, Known
from gateway.problems import ProblemError
from gateway.settings import Settings
from ingest_service.storage.answers import Answers
from ingest_service.storage.postgres import PostgresStore

if TYPE_CHECKING:
    from gateway.live import Hub
    from ingest_service.storage.store import Store


@dataclass(frozen=True, slots=True)
class Context:
    """The store, the directory, the settings and the live hub of one application."""

    store: Store
    directories: Directories
    settings: Settings
    hub: Hub

    @property
    def known(self) -> Known:
        """The directory as it is now."""
        return self.directories.known()

    @property
    def answers(self) -> Answers:
        """What the database answers, now and as of old. Raises `ProblemError` on a store in memory."""
        if not isinstance(self.store, PostgresStore):
            raise ProblemError(
                501, "this gateway has a store in memory, which keeps no past: give it a database"
            )
        return Answers(self.store)


async def _of(request: Request) -> Context:  # async: a thread would cost more than it does
    context: Context = request.app.state.context
    return context


Here = Annotated[Context, Depends(_of)]
