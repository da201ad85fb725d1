"""What every answer tells the browser: guess no types, frame nothing, load nothing foreign."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

ALWAYS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
}
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
NONCE = "towntwin.nonce"
"""Where a request's scope has the nonce of the scripts in its page."""
# The console compiles its templates in the browser, hence 'unsafe-eval', and sets styles on elements; its
# scripts are files of ours or bear the nonce, so that no markup within a name or a reason runs, whatever
# becomes of it.
CONSOLE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'{nonce}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


def secured(scope: Scope, send: Send) -> Send:
    """A sender that adds what a route has not said itself."""
    wanted = ALWAYS | {b"content-security-policy": _policy(scope).encode()}
    if scope["path"].startswith(("/v1", "/login")):
        wanted[b"cache-control"] = b"private, no-cache"
        wanted[b"vary"] = b"Authorization, X-API-Key, Cookie"

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            said = list(message.get("headers", []))
            names = {name.lower() for name, _ in said}
            message["headers"] = said + [pair for pair in wanted.items() if pair[0] not in names]
        await send(message)

    return sending


def _policy(scope: Scope) -> str:
    if scope["path"] == "/":
        scope[NONCE] = secrets.token_urlsafe(16)
        return CONSOLE_POLICY.format(nonce=f" 'nonce-{scope[NONCE]}'")
    return CONSOLE_POLICY.format(nonce="") if scope["path"].startswith("/_nicegui") else API_POLICY
