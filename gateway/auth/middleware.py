"""ASGI middleware that authenticates, limits and queues requests, and audits changes and exports.

It also cuts off responses whose credential becomes invalid, and sets security headers.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse

from gateway.api.problems import ProblemError, problem_response, store_error_response
from gateway.auth.api_keys import REFRESH_INTERVAL_S
from gateway.auth.export_audit import ExportCounter
from gateway.auth.fair_queue import QUICK_S
from gateway.auth.rejection_log import RejectionLog
from gateway.errors import GatewayError
from gateway.transport.disconnect_watcher import DisconnectWatcher, has_no_body
from gateway.transport.request_body import LimitedBodyReceiver, body_too_large_text
from gateway.transport.security_headers import add_security_headers, is_console_path
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.contract.name_rules import escape_controls, escape_controls_in
from ingest_service.storage.postgres.api_keys import AuditEntry

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.auth.authentication import Authenticator
    from gateway.auth.request_auth import RequestAuth
    from gateway.auth.request_queues import RequestQueues
    from gateway.settings import Settings
    from ingest_service.storage.postgres.api_keys import ApiKeyStore

log = structlog.get_logger()

MAX_AUDITED_TARGET_CHARS = 2000  # characters of a request target in the audit; the rest is cut off


class ResponseCutError(GatewayError):
    """The response was cut off: its audit entry failed, or its credential became invalid."""


class AccessMiddleware:
    """ASGI middleware: authenticates requests, bounds bodies, queues by key, audits changes and exports."""

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        accounts: ApiKeyStore,
        settings: Settings,
        request_queues: RequestQueues,
        heavy: ASGIApp | None = None,
    ) -> None:
        self._app = app
        self.authenticator = authenticator
        self._accounts = accounts
        self._settings = settings
        self._request_queues = request_queues
        self._heavy = heavy or app  # app that runs the heavy requests
        self._export_counter = ExportCounter()
        self._rejection_log = RejectionLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or answer it with a problem."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        send = add_security_headers(scope, self._rejection_log.recording_send(scope, send))
        try:
            auth = await self.authenticator.authenticate(scope)
            max_bytes = min(self._settings.body_bytes, auth.matched_route.right.body_bytes or sys.maxsize)
            _check_content_length(scope, max_bytes)
        except (ProblemError, StoreError) as error:
            await self._reject(scope, receive, send, error)
            return
        if scope["type"] == "http":
            receive = LimitedBodyReceiver(receive, max_bytes=max_bytes, timeout_s=self._settings.body_s)
        audited_send = _AuditedSend(self, scope, auth, receive, send)
        try:
            await self._run_when_admitted(scope, auth, receive, audited_send)
        except Exception:
            if audited_send.is_aborted:
                return
            if not audited_send.has_started:
                await audited_send.note(500)
            raise

    async def _run_when_admitted(
        self, scope: Scope, auth: RequestAuth, receive: Receive, audited_send: _AuditedSend
    ) -> None:
        """Run a request in a slot of its queue; release the slot while the client receives data."""
        request_queue = self._request_queues.queue_for(scope, auth)
        if request_queue is None or auth.principal is None:
            await self._app(scope, receive, audited_send)
            return

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                work_slot.leave_out(auth.uncharged_s)
            if not message.get("more_body", False):
                await audited_send(message)
                return
            work_slot.pause()
            try:
                await audited_send(message)
            finally:
                await work_slot.resume()

        is_heavy = request_queue is self._request_queues.heavy
        disconnect_watcher = DisconnectWatcher(receive) if is_heavy and has_no_body(scope) else None
        try:
            async with request_queue.work_slot(auth.principal.principal_id) as work_slot:
                if disconnect_watcher is not None and disconnect_watcher.is_disconnected:
                    return  # the client has gone
                app = self._heavy if is_heavy else self._app
                await app(scope, disconnect_watcher or receive, send)
                await work_slot.rest(unless_below_s=QUICK_S)
        except ProblemError as error:  # of the queue or the worker; the application answers those of routes
            await self._reject(scope, receive, audited_send, error)
        finally:
            if disconnect_watcher is not None:
                disconnect_watcher.close()

    def export_entry_due(self, method: str, auth: RequestAuth) -> bool:
        """Whether a response, with those before it, needs an audit entry; adds the counts to its detail."""
        principal_id = auth.principal.principal_id if auth.principal else auth.address
        action = f"{method} {auth.matched_route.path}"
        export_counts = self._export_counter.add(
            principal_id, action, rows=auth.rows, is_file=auth.is_export, now_s=time.monotonic()
        )
        if export_counts is not None:
            auth.detail |= export_counts
        return export_counts is not None

    async def note(self, scope: Scope, auth: RequestAuth, status: int) -> None:
        """Write an audit entry; log it where the store raises, and raise as the store does."""
        principal = auth.principal
        target = scope["path"] + (
            "?" + scope["query_string"].decode("latin-1") if scope["query_string"] else ""
        )
        audit_entry = AuditEntry(
            who=principal.principal_id if principal else "nobody",
            name=escape_controls(principal.name) if principal else "nobody",
            areas=None if principal is None or principal.areas is None else list(principal.areas),
            action=f"{scope['method']} {auth.matched_route.path}",
            # PostgreSQL rejects NUL, and terminals execute control sequences.
            target=escape_controls(target[:MAX_AUDITED_TARGET_CHARS]),
            address=auth.address,
            status=status,
            detail=escape_controls_in(auth.detail),
        )
        try:
            await run_in_threadpool(self._accounts.note, audit_entry)
        except StoreError:
            log.exception("audit_not_written", **msgspec.structs.asdict(audit_entry))
            raise

    async def _reject(self, scope: Scope, receive: Receive, send: Send, error: Exception) -> None:
        if scope["type"] == "websocket":
            self._rejection_log.note(error.status if isinstance(error, ProblemError) else 503, scope)
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "see /login"})
            return
        response = _error_response(error)
        if response.status_code == 401 and _is_console_page(scope):
            response = RedirectResponse(login_address(scope), 303)
        await response(scope, receive, send)


class _AuditedSend:
    """ASGI ``send`` that writes the audit entry before the response starts.

    It checks the credential of long responses again, and cuts them off once it is invalid.
    """

    def __init__(
        self, middleware: AccessMiddleware, scope: Scope, auth: RequestAuth, receive: Receive, send: Send
    ) -> None:
        self._middleware = middleware
        self._scope = scope
        self._auth = auth
        self._receive = receive
        self._send = send
        self._last_checked_s = time.monotonic()
        self._status = 0
        self._is_audited_export = False
        self.has_started = False
        self.is_aborted = False

    async def __call__(self, message: Message) -> None:
        """Send a part of a response. Raises `ResponseCutError` where no more may be sent."""
        message_type = message["type"]
        if message_type == "http.response.start":
            self.has_started = True
            self._status = message["status"]
            await self._audit_before_start(message["status"])
        elif message_type in {"http.response.body", "websocket.send"}:
            await self._check_still_authorized()
            if self._auth.is_export and not self._is_audited_export:
                await self._audit_late_export()
        await self._send(message)

    async def note(self, status: int) -> None:
        """Write the audit entry of a response, if it is a change or an export."""
        auth = self._auth
        auth.is_export = self._is_audited_export = auth.is_export or auth.matched_route.right.audits_export
        entry_is_due = (auth.is_export or bool(auth.rows)) and self._middleware.export_entry_due(
            self._scope["method"], auth
        )
        if entry_is_due or auth.matched_route.is_audited:
            await self._middleware.note(self._scope, self._auth, status)

    async def _audit_before_start(self, status: int) -> None:
        try:
            await self.note(status)
        except StoreError as error:
            self.is_aborted = True
            await _error_response(error)(self._scope, self._receive, self._send)
            raise ResponseCutError from error

    async def _audit_late_export(self) -> None:
        """Audit a stream that turned out to be an export after its start, before its data is sent."""
        try:
            await self.note(self._status)
        except StoreError as error:
            self.is_aborted = True
            raise ResponseCutError from error

    async def _check_still_authorized(self) -> None:
        now_s = time.monotonic()
        if self._auth.principal is None or now_s - self._last_checked_s < REFRESH_INTERVAL_S:
            return
        self._last_checked_s = now_s
        if not await self._middleware.authenticator.is_still_authenticated(self._auth):
            self.is_aborted = True
            raise ResponseCutError


def _check_content_length(scope: Scope, max_bytes: int) -> None:
    length = Headers(scope=scope).get("content-length", "0")
    if length.isdecimal() and int(length) > max_bytes:
        raise ProblemError(413, body_too_large_text(max_bytes), headers={"Connection": "close"})


def _error_response(error: Exception) -> Response:
    if isinstance(error, ProblemError):
        return problem_response(error.status, str(error), where=error.where, headers=error.headers)
    return store_error_response(error)


def login_address(scope: Scope) -> str:
    """Return the address of the login page that leads back to the page of a request."""
    path = scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
    return "/login" if path == "/" else f"/login?next={quote(path, safe='/')}"


def _is_console_page(scope: Any) -> bool:
    accept_header = Headers(scope=scope).get("accept", "")
    return is_console_path(scope["path"]) and scope["method"] == "GET" and "text/html" in accept_header
