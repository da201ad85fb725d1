"""The database and the broker of a run: the named ones, or the embedded ones."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from deploy.embedded.broker import EmbeddedBroker
from deploy.embedded.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from deploy.settings import Common


class Servers:
    """Where the data and the messages live while `up` runs; embedded ones stop with it."""

    def __init__(
        self, common: Common, folder: Path, *, database: str, fresh: bool, say: Callable[[str], None]
    ) -> None:
        self._common = common
        self._folder = folder
        self._database = database
        self._fresh = fresh
        self._say = say
        self._stack = ExitStack()
        self.dsn = common.dsn or ""
        self.broker = common.broker or ""

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.push(self._stack.__exit__)
            if not self._common.dsn:
                self._say("starting the embedded PostgreSQL")
                postgres = self._stack.enter_context(EmbeddedPostgres(self._folder / "postgres"))
                self.dsn = postgres.database(self._database, fresh=self._fresh)
            if not self._common.broker:
                self._say("starting the embedded MQTT broker")
                self.broker = self._stack.enter_context(EmbeddedBroker(self._folder / "broker")).url
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
