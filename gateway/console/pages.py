"""Binds each open page and its socket events to the principal that loaded it.

NiceGUI finds the page of a socket event by the `client_id` that the event names, whoever sends it. Here an
event reaches a page only from a socket whose request brought the same principal; anything else, and anything
malformed, is dropped.
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

from gateway.access import visit as visits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from nicegui import Client

    from gateway.access.visit import Visit

log = structlog.get_logger()

MOST_PAGES = 40  # of one principal; each takes some 100 KB, and a megabyte once it is filled
MOST_UNSEEN = 5  # of one principal that no socket has joined yet
MESSAGE_BYTES = 100_000  # of a socket: what a person does takes a few hundred
BY_PAGE = ("handshake", "event", "javascript_response", "ack")
"""Socket events that name a page; `log`, which writes a visitor's words into our log, is dropped."""


class Open(NamedTuple):
    """A page, and on whose behalf it shows what it shows; ``joined`` has an entry once a socket was there."""

    client: Client
    visit: Visit
    joined: list[bool]

    @property
    def who(self) -> str:
        """The principal, as the audit names it."""
        return _who(self.visit)


class Pages:
    """The open pages of one gateway, by NiceGUI's client id, oldest first."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Open] = OrderedDict()

    def add(self, client: Client, visit: Visit) -> None:
        """Bind a page to its visitor; the oldest of theirs that nobody ever looked at are closed.

        Raises
        ------
        HTTPException
            429 where the visitor has too many pages open already; the page is closed then.

        """
        client.on_delete(lambda: self._open.pop(client.id, None))
        mine = list(self._of(_who(visit)))
        unseen = [one for one in mine if not one.joined]  # those that were seen, NiceGUI closes itself
        for one in unseen[: max(0, len(unseen) + 1 - MOST_UNSEEN)]:
            one.client.delete()
        if len(mine) - len(unseen) >= MOST_PAGES:
            client.delete()
            raise HTTPException(
                429, f"{MOST_PAGES} pages are open with this key: close some", {"Retry-After": "5"}
            )
        page = Open(client, visit, [])
        client.on_connect(lambda: page.joined.append(True) if not page.joined else None)
        self._open[client.id] = page

    def may_reach(self, sid: str, client_id: object) -> bool:
        """Whether a socket was opened by the principal of a page."""
        page = self._open.get(client_id) if isinstance(client_id, str) else None
        visit = _visit_of(sid)
        return page is not None and visit is not None and _who(visit) == page.who

    def _of(self, who: str) -> Iterator[Open]:
        return (one for one in self._open.values() if one.who == who)


def guard(pages: Pages) -> None:
    """Let socket events reach pages of their own principal alone, over WebSocket alone, and log none of them.

    Polling is off because each of its requests brings a credential of its own, and joins a socket by its id.
    """
    for name in ("engineio.server", "socketio.server"):  # a traceback for each packet that is malformed
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sio = core.sio
    sio.eio.cors_allowed_origins = []  # no CORS headers: `gate` refuses the sockets of foreign pages
    sio.eio.transports = ["websocket"]
    sio.eio.max_http_buffer_size = MESSAGE_BYTES
    core.app.config.socket_io_js_transports = ["websocket"]
    handlers = sio.handlers["/"]
    handlers.pop("log", None)
    for name in BY_PAGE:
        handlers[name] = _guarded(
            name, handlers[name], lambda sid, said: pages.may_reach(sid, said["client_id"])
        )
    handlers["connect"] = _guarded(
        "connect", handlers["connect"], lambda sid, environ: pages.may_reach(sid, _client_id(environ))
    )


def _guarded(
    name: str, handler: Callable[..., Any], is_allowed: Callable[[str, Any], bool]
) -> Callable[..., Awaitable[Any]]:
    handler = getattr(
        handler, "unguarded", handler
    )  # one application a process may be guarded several times, in tests

    async def guarded(sid: str, *said: Any) -> Any:
        try:
            if not is_allowed(sid, said[0]):
                return False
            done = handler(sid, *said)
            return await done if inspect.isawaitable(done) else done
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            log.debug("socket_event_refused", event_name=name, error=type(error).__name__)
            return False

    guarded.unguarded = handler  # type: ignore[attr-defined]
    return guarded


def _client_id(environ: dict[str, Any]) -> str | None:
    named = urllib.parse.parse_qs(str(environ.get("QUERY_STRING", ""))).get("client_id")
    return named[0] if named else None


def _visit_of(sid: str) -> Visit | None:
    environ = core.sio.get_environ(sid) or {}
    visit: Visit | None = environ.get("asgi.scope", {}).get(visits.KEY)
    return visit


def _who(visit: Visit) -> str:
    return visit.principal.who if visit.principal is not None else ""
