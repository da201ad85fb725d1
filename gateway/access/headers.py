"""What every answer tells the browser: guess no types, frame nothing, load nothing foreign."""

from __future__ import annotations

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
# The console compiles its templates in the browser.
CONSOLE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws: wss:;"
    " frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; frame-ancestors 'none'; base-uri 'self'"
)


def secured(scope: Scope, send: Send) -> Send:
    """A sender that adds what a route has not said itself."""
    wanted = ALWAYS | {b"content-security-policy": _policy(scope["path"]).encode()}
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


def _policy(path: str) -> str:
    if path.startswith("/docs"):
        return DOCS_POLICY
    return CONSOLE_POLICY if path == "/" or path.startswith("/_nicegui") else API_POLICY
