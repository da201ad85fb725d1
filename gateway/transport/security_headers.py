"""Adds security headers (CSP, nosniff, …), ``Cache-Control`` and ``Vary`` to every response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

DEFAULT_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
}
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Nothing inline and no eval: scripts and styles are files of the console. MapLibre draws images from blobs,
# and its worker is a file, too. Pages add the tile server of the settings (`gateway.console.visitor`).
CONSOLE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self';"
    " connect-src 'self'; worker-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'self'"
)
# A report is one file: its style and its pictures are in it.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
CONSOLE_PREFIX = "/console/"
STATIC_PREFIX = "/console/static/"
# A form of a page sends its origin, by which the gateway recognises its own pages, under this policy only.
CONSOLE_REFERRER_POLICY = b"same-origin"

PUBLIC_PATHS = ("/docs", "/openapi.json", STATIC_PREFIX)  # the same for every principal while a version runs
CREDENTIAL_HEADERS = ("Authorization", "X-API-Key", "Cookie")


def is_console_path(path: str) -> bool:
    """Whether a path is a page or another route of the console."""
    return path == "/" or path.startswith(CONSOLE_PREFIX)


def add_security_headers(scope: Scope, send: Send) -> Send:
    """Return a ``send`` that adds the headers a route has not set, and forbids shared caching."""
    added_headers = DEFAULT_HEADERS | {b"content-security-policy": API_POLICY.encode()}
    if is_console_path(scope["path"]):
        added_headers |= {
            b"content-security-policy": CONSOLE_POLICY.encode(),
            b"referrer-policy": CONSOLE_REFERRER_POLICY,
        }
    is_public = scope["path"].startswith(PUBLIC_PATHS)

    async def send_secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            route_headers = list(message.get("headers", []))
            names = {name.lower() for name, _ in route_headers}
            message["headers"] = route_headers + [
                pair for pair in added_headers.items() if pair[0] not in names
            ]
            if not is_public:
                _forbid_shared_caching(MutableHeaders(raw=message["headers"]))
        await send(message)

    return send_secured


def _forbid_shared_caching(headers: MutableHeaders) -> None:
    """Set ``Cache-Control`` and extend ``Vary``: no cache may return a response for another credential.

    A response with a validator (``ETag``) may be stored and must be revalidated; others must not be stored.
    """
    headers["cache-control"] = "private, no-cache" if "etag" in headers else "private, no-store"
    vary_names = [one.strip() for one in ",".join(headers.getlist("vary")).split(",") if one.strip()]
    if "*" not in vary_names:
        lower = {one.lower() for one in vary_names}
        headers["vary"] = ", ".join(
            [*vary_names, *(one for one in CREDENTIAL_HEADERS if one.lower() not in lower)]
        )
