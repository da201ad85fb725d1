"""ASGI middleware around the whole application: authentication, limits, audit and security headers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse

from gateway.access.body import Body, too_large
from gateway.access.exports import ExportLedger
from gateway.access.headers import secured
from gateway.access.keys import FRESH_S
from gateway.access.refusals import Refusals
from gateway.access.watched import WatchedReceive, has_no_body
from gateway.problems import ProblemError, answer, away
from ingest_service.storage.accounts import AuditLine
from ingest_service.storage.errors import StoreError
from ingest_service.storage.names import printable, printable_values

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.access.gate import Gate
    from gateway.access.turns import Turns
    from gateway.access.visit import Visit
    from gateway.settings import Settings
    from ingest_service.storage.accounts import Accounts

log = structlog.get_logger()

LONGEST = 2000  # characters of a target that the audit keeps


class CutError(Exception):
    """The answer ends here: nobody may have more of it."""


class Door:
    """ASGI middleware: who comes is asked, bodies are bounded, what is done is written down."""

    def __init__(
        self,
        app: ASGIApp,
        gate: Gate,
        accounts: Accounts,
        settings: Settings,
        turns: Turns,
        heavy: ASGIApp | None = None,
    ) -> None:
        self._app = app
        self.gate = gate
        self._accounts = accounts
        self._settings = settings
        self._turns = turns
        self._heavy = heavy or app  # answers the requests of the queue of heavy ones
        self._ledger = ExportLedger()
        self._refusals = Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a problem."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        send = secured(scope, self._refusals.noted(scope, send))
        try:
            visit = await self.gate.admit(scope)
            self._check_size(scope)
        except (ProblemError, StoreError) as error:
            await self._refuse(scope, receive, send, error)
            return
        if scope["type"] == "http":
            settings = self._settings
            receive = Body(receive, most_bytes=settings.body_bytes, within_s=settings.body_s)
        out = _Out(self, scope, visit, receive, send)
        try:
            await self._in_turn(scope, visit, receive, out)
        except Exception:
            if out.is_cut:
                return
            if not out.has_begun:
                await out.note(500)
            raise

    async def _in_turn(self, scope: Scope, visit: Visit, receive: Receive, out: _Out) -> None:
        """Pass a request on when it is its key's turn; while a reader is waited for, it is another's."""
        queue = self._turns.of(scope, visit)
        if queue is None or visit.principal is None:
            await self._app(scope, receive, out)
            return

        async def send(message: Message) -> None:
            if not message.get("more_body", False):
                await out(message)
                return
            turn.pause()
            try:
                await out(message)
            finally:
                await turn.resume()

        is_heavy = queue is self._turns.heavy
        watched = WatchedReceive(receive) if is_heavy and has_no_body(scope) else None
        try:
            async with queue.turn(visit.principal.who) as turn:
                if watched is not None and watched.is_gone:
                    return  # nobody waits for the answer any more
                app = self._heavy if is_heavy else self._app
                await app(scope, watched or receive, send)
        except ProblemError as error:  # of the queue or of the process: those of routes are answered within
            await self._refuse(scope, receive, out, error)
        finally:
            if watched is not None:
                watched.close()

    def export_due(self, method: str, visit: Visit) -> bool:
        """Whether an answer, with those before it, is an export that gets a line, with its counts."""
        who = visit.principal.who if visit.principal else visit.address
        action = f"{method} {visit.found.path}"
        counts = self._ledger.add(
            who, action, rows=visit.rows, is_file=visit.is_export, now_s=time.monotonic()
        )
        if counts is not None:
            visit.detail |= counts
        return counts is not None

    async def note(self, scope: Scope, visit: Visit, status: int) -> None:
        """Write a line of the audit. Raises as the store does, and then the log has the line."""
        who = visit.principal
        target = scope["path"] + (
            "?" + scope["query_string"].decode("latin-1") if scope["query_string"] else ""
        )
        line = AuditLine(
            who=who.who if who else "nobody",
            name=printable(who.name) if who else "nobody",
            areas=None if who is None or who.areas is None else list(who.areas),
            action=f"{scope['method']} {visit.found.path}",
            target=printable(target[:LONGEST]),  # PostgreSQL takes no NUL, and a terminal too much else
            address=visit.address,
            status=status,
            detail=printable_values(visit.detail),
        )
        try:
            await run_in_threadpool(self._accounts.note, line)
        except StoreError:
            log.exception("audit_not_written", **msgspec.structs.asdict(line))
            raise

    def _check_size(self, scope: Scope) -> None:
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > self._settings.body_bytes:
            raise ProblemError(413, too_large(self._settings.body_bytes), headers={"Connection": "close"})

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, error: Exception) -> None:
        if scope["type"] == "websocket":
            self._refusals.note(error.status if isinstance(error, ProblemError) else 503, scope)
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "see /login"})
            return
        response = _problem(error)
        if response.status_code == 401 and _is_page(scope):
            response = RedirectResponse("/login", 303)
        await response(scope, receive, send)


class _Out:
    """What goes out: the audit comes first, and an answer that lasts ends with the right to it."""

    def __init__(self, door: Door, scope: Scope, visit: Visit, receive: Receive, send: Send) -> None:
        self._door = door
        self._scope = scope
        self._visit = visit
        self._receive = receive
        self._send = send
        self._checked_s = time.monotonic()
        self._status = 0
        self._is_noted_export = False
        self.has_begun = False
        self.is_cut = False

    async def __call__(self, message: Message) -> None:
        """Send a part of an answer. Raises `CutError` where there must be no more."""
        kind = message["type"]
        if kind == "http.response.start":
            self.has_begun = True
            self._status = message["status"]
            await self._begin(message["status"])
        elif kind in {"http.response.body", "websocket.send"}:
            await self._check()
            if self._visit.is_export and not self._is_noted_export:
                await self._became_export()
        await self._send(message)

    async def note(self, status: int) -> None:
        """Write what came of it."""
        visit = self._visit
        visit.is_export = self._is_noted_export = visit.is_export or visit.found.right.exports
        due = (visit.is_export or bool(visit.rows)) and self._door.export_due(self._scope["method"], visit)
        if due or visit.found.audited:
            await self._door.note(self._scope, self._visit, status)

    async def _begin(self, status: int) -> None:
        try:
            await self.note(status)
        except StoreError as error:
            self.is_cut = True
            await _problem(error)(self._scope, self._receive, self._send)
            raise CutError from error

    async def _became_export(self) -> None:
        """Write what a stream became after its begin, before that leaves."""
        try:
            await self.note(self._status)
        except StoreError as error:
            self.is_cut = True
            raise CutError from error

    async def _check(self) -> None:
        now_s = time.monotonic()
        if self._visit.principal is None or now_s - self._checked_s < FRESH_S:
            return
        self._checked_s = now_s
        if not await self._door.gate.still_known(self._visit):
            self.is_cut = True
            raise CutError


def _problem(error: Exception) -> Response:
    if isinstance(error, ProblemError):
        return answer(error.status, str(error), where=error.where, headers=error.headers)
    return away(error)


def _is_page(scope: Any) -> bool:
    accepts = Headers(scope=scope).get("accept", "")
    return scope["path"] == "/" and scope["method"] == "GET" and "text/html" in accepts
