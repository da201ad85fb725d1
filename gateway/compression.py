"""Compresses responses with gzip where the client accepts it and the content gains from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipResponder

from gateway.forms import MEDIA, liked

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST_BYTES = 2000  # smaller answers are sent as they are
LEVEL = 4
AS_THEY_ARE = (*DEFAULT_EXCLUDED_CONTENT_TYPES, MEDIA["parquet"])  # events have to go out; zstd is in Parquet


class Compression:
    """ASGI middleware: gzip, piece by piece, where Accept-Encoding (RFC 9110) likes it best."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def varied(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if "accept-encoding" not in headers.get("vary", "").lower():
                    headers.add_vary_header("Accept-Encoding")
            await send(message)

        app = self._app
        if takes_gzip(",".join(Headers(scope=scope).getlist("accept-encoding"))):
            app = GZipResponder(app, LEAST_BYTES, LEVEL, exclude_content_types=AS_THEY_ARE)
        await app(scope, receive, varied)


def takes_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header takes gzip, and likes it no less than nothing at all.

    >>> [takes_gzip(one) for one in ("gzip, br", "br, *;q=0.1", "br", "gzip;q=0, *", "identity, gzip;q=0.5")]
    [True, True, False, False, False]
    """
    codings = dict(liked(header))
    gzip = codings.get("gzip", codings.get("x-gzip", codings.get("*", 0.0)))
    return gzip > 0 and gzip >= codings.get("identity", 0.0)
