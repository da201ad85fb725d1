"""Serves the console's login page, which exchanges an API key or OIDC token for a session cookie."""

from __future__ import annotations

import base64
import hashlib
import json

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field

from gateway.auth import request_auth
from gateway.auth.authentication import SESSION_COOKIE, Authenticator
from gateway.auth.authorization import PUBLIC, requires
from gateway.auth.request_auth import RequestAuth
from gateway.transport.forwarded_headers import public_base_url

router = APIRouter(include_in_schema=False)

LOGIN_STYLE = """
body { background: #0b1420; color: #dbe4ee; font-family: system-ui, "Noto Sans CJK SC", sans-serif;
       display: grid; place-items: center; min-height: 95vh; grid-template-columns: minmax(0, 1fr); }
form { background: #121f2f; border: 1px solid #1f3147; border-radius: 10px; padding: 24px; width: 420px;
       max-width: 100%; box-sizing: border-box; overflow-wrap: anywhere; }
input, button { width: 100%; box-sizing: border-box; padding: 10px; margin-top: 10px; font-size: 15px; }
p { color: #8fa3b8; min-height: 1.4em; }
a { color: #8ccbff; }
"""
MESSAGES_BY_STATUS = {  # HTTP status of POST /login; 0 is a network failure
    0: "登录失败：网关无应答 · Not signed in: the gateway does not answer",
    401: "密钥无效、已过期或已吊销 · The key is unknown, has expired, or was revoked",
    403: "请从本网关的页面登录 · Sign in from a page of this gateway",
    422: "请输入密钥 · Enter a key",
    429: "尝试过于频繁，请稍后再试 · Too many attempts: try again in a moment",
    500: "网关故障，请查看其日志 · The gateway failed: see its log",
    503: "数据库无应答，请稍后再试 · The database does not answer: try again in a moment",
}
# A key in the fragment of the URL (/login#tt_…) is not sent by the browser: no server and no proxy logs it.
LOGIN_SCRIPT = (
    f"""
const words = {json.dumps(MESSAGES_BY_STATUS, ensure_ascii=False)};
"""
    """
const form = document.querySelector("form"), said = document.querySelector("p");
const next = new URLSearchParams(location.search).get("next") ?? "/";
const target = /^\\/(?![\\/\\\\])/.test(next) ? next : "/";  // a page of this gateway, and of no other
async function enter(key) {
  const body = JSON.stringify({key});
  const headers = {"Content-Type": "application/json"};
  const answer = await fetch("/login", {method: "POST", headers, body}).catch(() => ({status: 0}));
  if (answer.ok) location.replace(target); else said.textContent = words[answer.status] ?? words[0];
}
form.addEventListener("submit", event => { event.preventDefault(); enter(form.key.value.trim()); });
function enterByLink() {
  const brought = location.hash.slice(1);
  if (brought) { history.replaceState(null, "", "/login" + location.search); enter(brought); }
}
// A link from another site comes without the cookie (SameSite), although the browser may have one.
if (location.search && !location.hash)
  fetch("/v1/me").then(answer => { if (answer.ok) location.replace(target); });
addEventListener("hashchange", enterByLink);  // a link that is opened in a tab with this page loads nothing
enterByLink();
"""
)
LOGIN_PAGE = f"""<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>towntwin</title>
<link rel="icon" href="data:,"><style>{LOGIN_STYLE}</style></head><body><form>
<label>密钥 · Key<input name="key" type="password" autocomplete="current-password" autofocus></label>
<button>进入 · Enter</button><p></p></form><script>{LOGIN_SCRIPT}</script></body></html>"""


def csp_hash(text: str) -> str:
    """Return the source of a content security policy that admits a script or style by its hash."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


LOGIN_POLICY = (
    f"default-src 'none'; script-src {csp_hash(LOGIN_SCRIPT)}; style-src {csp_hash(LOGIN_STYLE)}; "
    "img-src data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class LoginRequest(BaseModel):
    """An API key, or a token of the OpenID provider."""

    key: str = Field(min_length=1, max_length=16_000)


@router.get("/login")
@requires(PUBLIC)
def login_page() -> HTMLResponse:
    """Serve the login page, with a policy that admits its own script and style alone."""
    return HTMLResponse(LOGIN_PAGE, headers={"Content-Security-Policy": LOGIN_POLICY})


@router.post("/login")
@requires(PUBLIC)
async def log_in(request: Request, login_request: LoginRequest) -> JSONResponse:
    """Exchange a key or token for a session cookie (HttpOnly, SameSite=strict)."""
    authenticator: Authenticator = request.app.state.authenticator
    auth: RequestAuth = request.scope[request_auth.AUTH_SCOPE_KEY]
    auth.credential = login_request.key
    session_cookie, lifetime_s = await authenticator.session(auth)
    response = JSONResponse({"next": "/"})
    response.set_cookie(
        SESSION_COOKIE,
        session_cookie,
        lifetime_s,
        httponly=True,
        samesite="strict",
        secure=_is_secure(request),
    )
    return response


@router.post("/logout")
@requires(PUBLIC)
def log_out(request: Request) -> JSONResponse:
    """Delete the session cookie of the browser."""
    response = JSONResponse({"next": "/login"})
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict", secure=_is_secure(request))
    return response


def _is_secure(request: Request) -> bool:
    """Whether the browser uses TLS, to the gateway or to a proxy in front of it."""
    return request.url.scheme == "https" or public_base_url(request).startswith("https:")
