"""Binds each open console page and its socket events to the principal that loaded it.

NiceGUI finds the page of a socket event by the event's ``client_id`` alone, without authorization. Here an
event reaches a page only from a socket that was opened by the same principal; all other events, and malformed
ones, are dropped.
"""

from __future__ import annotations

import inspect
import logging
import urllib.parse
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from nicegui import core
from starlette.exceptions import HTTPException

from gateway.auth import request_auth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from nicegui import Client

    from gateway.auth.request_auth import RequestAuth

log = structlog.get_logger()

MAX_PAGES = 40  # of one principal; each takes some 100 KB of memory, and 1 MB once it is filled
MAX_UNJOINED_PAGES = 5  # of one principal that no socket has joined yet
MAX_MESSAGE_BYTES = 100_000  # of one socket message: a user's action takes a few hundred
PAGE_EVENTS = ("handshake", "event", "javascript_response", "ack")
"""Socket events with a page id; NiceGUI's ``log``, which writes visitors' text to our log, is removed."""


class OpenPage(NamedTuple):
    """A page and the authenticated request that loaded it; ``joined`` is empty until a socket connects."""

    client: Client
    auth: RequestAuth
    joined: list[bool]

    @property
    def principal_id(self) -> str:
        """Id of the principal, as in the audit log."""
        return _principal_id_of(self.auth)


class OpenPages:
    """Open pages of this gateway by NiceGUI's client id, oldest first, with limits for each principal."""

    def __init__(self) -> None:
        self._pages_by_client: OrderedDict[str, OpenPage] = OrderedDict()

    def add(self, client: Client, auth: RequestAuth) -> None:
        """Bind a page to its principal, and close the principal's oldest pages without a socket.

        Raises
        ------
        HTTPException
            429 if the principal has too many pages open already; the new page is closed then.

        """
        client.on_delete(lambda: self._pages_by_client.pop(client.id, None))
        principal_pages = list(self._pages_of(_principal_id_of(auth)))
        unjoined = [one for one in principal_pages if not one.joined]  # NiceGUI itself closes joined pages
        for one in unjoined[: max(0, len(unjoined) + 1 - MAX_UNJOINED_PAGES)]:
            one.client.delete()
        if len(principal_pages) - len(unjoined) >= MAX_PAGES:
            client.delete()
            raise HTTPException(
                429, f"{MAX_PAGES} pages are open with this key: close some", {"Retry-After": "5"}
            )
        page = OpenPage(client, auth, [])
        client.on_connect(lambda: page.joined.append(True) if not page.joined else None)
        self._pages_by_client[client.id] = page

    def may_reach(self, sid: str, client_id: object) -> bool:
        """Whether socket ``sid`` was opened by the principal of the page of ``client_id``."""
        page = self._pages_by_client.get(client_id) if isinstance(client_id, str) else None
        auth = _auth_of_socket(sid)
        return page is not None and auth is not None and _principal_id_of(auth) == page.principal_id

    def _pages_of(self, principal_id: str) -> Iterator[OpenPage]:
        return (one for one in self._pages_by_client.values() if one.principal_id == principal_id)


def guard_socket_events(pages: OpenPages) -> None:
    """Allow socket events only for pages of the same principal and over WebSocket, and log none of them.

    Polling is off because each polling request has its own credential, and joins a socket by its id alone.
    """
    for name in ("engineio.server", "socketio.server"):  # they log a traceback for each malformed packet
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sio = core.sio
    sio.eio.cors_allowed_origins = []  # no CORS headers: `Authenticator` rejects the sockets of other origins
    sio.eio.transports = ["websocket"]
    sio.eio.max_http_buffer_size = MAX_MESSAGE_BYTES
    core.app.config.socket_io_js_transports = ["websocket"]
    handlers = sio.handlers["/"]
    handlers.pop("log", None)
    for name in PAGE_EVENTS:
        handlers[name] = _guard_handler(
            name, handlers[name], lambda sid, event_args: pages.may_reach(sid, event_args["client_id"])
        )
    handlers["connect"] = _guard_handler(
        "connect", handlers["connect"], lambda sid, environ: pages.may_reach(sid, _client_id_of(environ))
    )


def _guard_handler(
    name: str, handler: Callable[..., Any], is_allowed: Callable[[str, Any], bool]
) -> Callable[..., Awaitable[Any]]:
    # Tests may guard the one application of the process several times: unwrap the earlier guard.
    handler = getattr(handler, "unguarded", handler)

    async def guarded(sid: str, *event_args: Any) -> Any:
        try:
            if not is_allowed(sid, event_args[0]):
                return False
            result = handler(sid, *event_args)
            return await result if inspect.isawaitable(result) else result
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            log.debug("socket_event_refused", event_name=name, error=type(error).__name__)
            return False

    guarded.unguarded = handler  # type: ignore[attr-defined]
    return guarded


def _client_id_of(environ: dict[str, Any]) -> str | None:
    client_ids = urllib.parse.parse_qs(str(environ.get("QUERY_STRING", ""))).get("client_id")
    return client_ids[0] if client_ids else None


def _auth_of_socket(sid: str) -> RequestAuth | None:
    environ = core.sio.get_environ(sid) or {}
    auth: RequestAuth | None = environ.get("asgi.scope", {}).get(request_auth.AUTH_SCOPE_KEY)
    return auth


def _principal_id_of(auth: RequestAuth) -> str:
    return auth.principal.principal_id if auth.principal is not None else ""
