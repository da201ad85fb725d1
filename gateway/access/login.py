"""The console's login page, which exchanges an API key for a session cookie."""

from __future__ import annotations

import base64
import hashlib
import json

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field

from gateway.access import visit
from gateway.access.gate import COOKIE, Gate
from gateway.access.proxies import public_base_url
from gateway.access.visit import Visit

router = APIRouter(include_in_schema=False)

STYLE = """
body { background: #0b1420; color: #dbe4ee; font-family: system-ui, "Noto Sans CJK SC", sans-serif;
       display: grid; place-items: center; min-height: 95vh; }
form { background: #121f2f; border: 1px solid #1f3147; border-radius: 10px; padding: 24px; width: 420px;
       max-width: 100%; box-sizing: border-box; }
input, button { width: 100%; box-sizing: border-box; padding: 10px; margin-top: 10px; font-size: 15px; }
p { color: #8fa3b8; min-height: 1.4em; }
"""
# The key in the fragment of an address never leaves the browser by itself: no server and no proxy logs it.
WORDS = {  # by the status of the answer
    0: "登录失败：网关无应答 · Not signed in: the gateway does not answer",
    401: "密钥无效、已过期或已吊销 · The key is unknown, has expired, or was revoked",
    403: "请从本网关的页面登录 · Sign in from a page of this gateway",
    422: "请输入密钥 · Enter a key",
    429: "尝试过于频繁，请稍后再试 · Too many attempts: try again in a moment",
    500: "网关故障，请查看其日志 · The gateway failed: see its log",
    503: "数据库无应答，请稍后再试 · The database does not answer: try again in a moment",
}
SCRIPT = (
    f"""
const words = {json.dumps(WORDS, ensure_ascii=False)};
"""
    """
const form = document.querySelector("form"), said = document.querySelector("p");
async function enter(key) {
  const body = JSON.stringify({key});
  const headers = {"Content-Type": "application/json"};
  const answer = await fetch("/login", {method: "POST", headers, body}).catch(() => ({status: 0}));
  if (answer.ok) location.replace("/"); else said.textContent = words[answer.status] ?? words[0];
}
form.addEventListener("submit", event => { event.preventDefault(); enter(form.key.value.trim()); });
const brought = location.hash.slice(1);
if (brought) { history.replaceState(null, "", "/login"); enter(brought); }
"""
)
PAGE = f"""<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>towntwin</title>
<link rel="icon" href="data:,"><style>{STYLE}</style></head><body><form>
<label>密钥 · Key<input name="key" type="password" autocomplete="current-password" autofocus></label>
<button>进入 · Enter</button><p></p></form><script>{SCRIPT}</script></body></html>"""


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


POLICY = (
    f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)}; img-src data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Credential(BaseModel):
    """A key, or a token of the OpenID provider."""

    key: str = Field(min_length=1, max_length=16_000)


@router.get("/login")
def page() -> HTMLResponse:
    """The page that asks for a key."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.post("/login")
async def enter(request: Request, given: Credential) -> JSONResponse:
    """Take a key for a session, which no script of the browser reads and no other site sends."""
    gate: Gate = request.app.state.gate
    by: Visit = request.scope[visit.KEY]
    by.credential = given.key
    word, lasts_s = await gate.session(by)
    done = JSONResponse({"next": "/"})
    done.set_cookie(COOKIE, word, lasts_s, httponly=True, samesite="strict", secure=_is_secure(request))
    return done


@router.post("/logout")
def leave(request: Request) -> JSONResponse:
    """Have the browser forget the session."""
    done = JSONResponse({"next": "/login"})
    done.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=_is_secure(request))
    return done


def _is_secure(request: Request) -> bool:
    """Whether the browser came by TLS, to the gateway or to a proxy in front of it."""
    return request.url.scheme == "https" or public_base_url(request).startswith("https:")
