"""Adds security headers (CSP, nosniff, …), ``Cache-Control`` and ``Vary`` to every response."""

from __future__ import annotations

import secrets
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
NONCE_SCOPE_KEY = "towntwin.nonce"
"""Key of the ASGI scope for the nonce of the scripts in the page."""
# The console compiles its templates in the browser, hence 'unsafe-eval', and sets styles on elements. Its
# scripts are our own files or bear the nonce, so that no markup injected by a name or a reason can run.
CONSOLE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'{nonce}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


PUBLIC_PATHS = ("/docs", "/openapi.json")  # the same for every principal, as long as a version runs
LIBRARY_PREFIX = "/_nicegui/"  # NiceGUI's files: the same for every principal
CREDENTIAL_HEADERS = ("Authorization", "X-API-Key", "Cookie")


def add_security_headers(scope: Scope, send: Send) -> Send:
    """Return a ``send`` that adds the headers a route has not set, and forbids shared caching."""
    added_headers = DEFAULT_HEADERS | {b"content-security-policy": _content_security_policy(scope).encode()}
    is_public = scope["path"].startswith(PUBLIC_PATHS)

    async def send_secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            route_headers = list(message.get("headers", []))
            names = {name.lower() for name, _ in route_headers}
            message["headers"] = route_headers + [
                pair for pair in added_headers.items() if pair[0] not in names
            ]
            if not is_public:
                _forbid_shared_caching(MutableHeaders(raw=message["headers"]), scope["path"])
        await send(message)

    return send_secured


def _forbid_shared_caching(headers: MutableHeaders, path: str) -> None:
    """Set ``Cache-Control`` and extend ``Vary``: no cache may return a response for another credential.

    A response with a validator (``ETag``) may be stored and must be revalidated; others must not be stored.
    The browser that got NiceGUI's files may store them.
    """
    if path.startswith(LIBRARY_PREFIX) and "cache-control" in headers:
        headers["cache-control"] = headers["cache-control"].replace("public", "private")
    elif "etag" in headers:
        headers["cache-control"] = "private, no-cache"
    else:
        headers["cache-control"] = "private, no-store"
    vary_names = [one.strip() for one in ",".join(headers.getlist("vary")).split(",") if one.strip()]
    if "*" not in vary_names:
        lower = {one.lower() for one in vary_names}
        headers["vary"] = ", ".join(
            [*vary_names, *(one for one in CREDENTIAL_HEADERS if one.lower() not in lower)]
        )


def _content_security_policy(scope: Scope) -> str:
    if scope["path"] == "/":
        scope[NONCE_SCOPE_KEY] = secrets.token_urlsafe(16)
        return CONSOLE_POLICY.format(nonce=f" 'nonce-{scope[NONCE_SCOPE_KEY]}'")
    return CONSOLE_POLICY.format(nonce="") if scope["path"].startswith("/_nicegui") else API_POLICY
