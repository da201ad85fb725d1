"""Handles HEAD requests by the GET routes, and drops the response body (RFC 9110)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadCompleteError(GatewayError):
    """Raised once the response headers are sent, to stop the route before it produces the body."""


class HeadMiddleware:
    """ASGI middleware that runs HEAD as GET, and stops an export before its first block."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; send only the headers of the response to HEAD."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        get_scope = {**scope, "method": "GET"}
        is_head_sent = False

        async def send_head(message: Message) -> None:
            nonlocal is_head_sent
            scope["route"] = get_scope.get("route")  # the metrics are labelled by route
            is_head_sent = True
            await send(message)
            if message["type"] == "http.response.start":
                await send({"type": "http.response.body", "body": b""})
                raise HeadCompleteError

        try:
            await self._app(get_scope, receive, send_head)
        except Exception:
            if not is_head_sent:
                raise
