"""Compresses responses with gzip if the client accepts it and the content type is compressible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipResponder

from gateway.formats.negotiation import MEDIA_TYPES, parse_preferences

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIN_COMPRESSED_BYTES = 2000  # smaller responses are sent uncompressed
GZIP_LEVEL = 4
PMTILES_MEDIA_TYPE = "application/vnd.pmtiles"
# Events must not wait in the compressor's buffer; Parquet and map tiles are compressed already.
UNCOMPRESSED_TYPES = (*DEFAULT_EXCLUDED_CONTENT_TYPES, MEDIA_TYPES["parquet"], PMTILES_MEDIA_TYPE)


class CompressionMiddleware:
    """ASGI middleware that compresses chunk by chunk if Accept-Encoding (RFC 9110) prefers gzip."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; compress its response if the client prefers that."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_vary(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if "accept-encoding" not in headers.get("vary", "").lower():
                    headers.add_vary_header("Accept-Encoding")
            await send(message)

        app = self._app
        if accepts_gzip(",".join(Headers(scope=scope).getlist("accept-encoding"))):
            app = GZipResponder(
                app, MIN_COMPRESSED_BYTES, GZIP_LEVEL, exclude_content_types=UNCOMPRESSED_TYPES
            )
        await app(scope, receive, send_with_vary)


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header accepts gzip, with no lower quality than ``identity``.

    >>> headers = ("gzip, br", "br, *;q=0.1", "br", "gzip;q=0, *", "identity, gzip;q=0.5")
    >>> [accepts_gzip(header) for header in headers]
    [True, True, False, False, False]
    """
    qualities = dict(parse_preferences(header))
    gzip = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)
